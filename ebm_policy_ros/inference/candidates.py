"""Common parts of all searches: candidates, their energies, and selection among them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Energy = Callable[[Tensor], Tensor]
"""Function from candidates (B, N, D) to their energies (B, N)."""

# Per requested local minimum: number of cells whose lowest candidate is examined (several, since
# the cells around a minimum are low too), and number of these compared with all candidates.
_LOOKS, _COMPARED = 16, 4
# An odd number near 2^64 / golden ratio, as a signed integer: spreads cells over all integers.
_HASH = -7046029254386353131
# Steps of the bisection of a factor on energies.
_BISECTIONS = 24


def check_box(low: Tensor, high: Tensor) -> None:
    """Refuse corners that do not form a box.

    On a GPU only types and shapes are checked.

    Raises:
        ValueError: If they are not two finite floating-point vectors of one size with low <= high.
    """
    if low.ndim != 1 or low.shape != high.shape or not low.is_floating_point():
        raise ValueError(
            f"low and high: got shapes {tuple(low.shape)} and {tuple(high.shape)} of {low.dtype}, "
            "expected (D,) of a floating type for both"
        )
    if low.device.type != "cpu":
        return
    # On a GPU these comparisons would make every decision wait for the device.
    if not bool(torch.isfinite(torch.cat((low, high))).all()):
        raise ValueError(f"low and high: got {low.tolist()} and {high.tolist()}, expected numbers")
    if not bool((low <= high).all()):
        raise ValueError(f"low: got {low.tolist()}, expected at most high, {high.tolist()}")


def evaluate(energy: Energy, actions: Tensor) -> Tensor:
    """Evaluate the energies of candidates; a failed energy (not finite) becomes infinity.

    Args:
        energy: Function from candidates (B, N, D) to energies (B, N).
        actions: Candidates in one or several groups, shape (B, ..., D).

    Returns:
        Energies, shape (B, ...).

    Raises:
        ValueError: If `energy` returns another shape.
    """
    candidates = actions.flatten(1, -2)
    energies = energy(candidates)
    if energies.shape != candidates.shape[:2]:
        raise ValueError(
            f"energy: got shape {tuple(energies.shape)} for candidates {tuple(candidates.shape)}, "
            f"expected {tuple(candidates.shape[:2])}"
        )
    return finite(energies).reshape(actions.shape[:-1])


def finite(energies: Tensor) -> Tensor:
    """Replace failed (not finite) energies by infinity, the worst energy."""
    worst = float("inf")
    return torch.nan_to_num(energies, nan=worst, posinf=worst, neginf=worst)


def uniform(
    batch: int, count: int, low: Tensor, high: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Draw candidates uniformly from the box, shape (batch, count, D)."""
    shape = (batch, count, low.shape[0])
    draws = torch.rand(shape, generator=generator, device=low.device, dtype=low.dtype)
    return low + (high - low) * draws


def normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard normal numbers with the shape, device and precision of `like`."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def clip(actions: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Clip actions to the box."""
    return torch.minimum(torch.maximum(actions, low), high)


def reflect(actions: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Reflect actions (B, N, D) at the faces of the box until they are inside.

    Returns:
        Actions in the box, and the mask of the values whose direction has changed its sign.
    """
    width = (high - low).clamp_min(torch.finfo(low.dtype).tiny)
    there_and_back = torch.remainder(actions - low, 2 * width)
    inside = torch.where(high > low, low + width - (there_and_back - width).abs(), low)
    return clip(inside, low, high), there_and_back > width


def take(actions: Tensor, index: Tensor) -> Tensor:
    """Select candidates of `actions`, (B, N, D), by `index`, (B, M); the result is (B, M, D)."""
    return actions.gather(1, index[..., None].expand(-1, -1, actions.shape[2]))


def resample(
    energies: Tensor, generator: torch.Generator | None, count: int | None = None
) -> Tensor:
    """Resample candidates: draw indices with probabilities softmax(-E), row by row.

    Systematic resampling takes the M quantiles (i + offset) / M of the distribution (Kitagawa
    1996, appendix). It has less noise than independent draws and does not wait for the device.

    Args:
        energies: Energies, shape (B, N). A candidate whose energy is not finite is drawn only if
            no energy is finite.
        generator: Source of the random offset of each row.
        count: Number of indices M; by default N.

    Returns:
        Indices, shape (B, M), in ascending order.
    """
    shape = (len(energies), 1)
    offsets = torch.rand(shape, generator=generator, device=energies.device, dtype=energies.dtype)
    return quantiles(energies, offsets, count)


def quantiles(energies: Tensor, offsets: Tensor, count: int | None = None) -> Tensor:
    """Indices of the candidates at the quantiles (i + offset) / M of softmax(-E).

    Args:
        energies: Energies, shape (B, N).
        offsets: Offsets from 0 to 1, shape (B, 1).
        count: Number of quantiles M; by default N.

    Returns:
        Indices, shape (B, M), in ascending order.
    """
    count = energies.shape[1] if count is None else count
    lowest = torch.finfo(energies.dtype).min
    weights = torch.softmax(torch.nan_to_num(-energies, nan=lowest, neginf=lowest), dim=1)
    cumulative = weights.cumsum(dim=1)
    places = (torch.arange(count, device=offsets.device, dtype=offsets.dtype) + offsets) / count
    # Due to rounding, the last sum may be below 1 and a quantile above it.
    places = places.to(cumulative.dtype) * cumulative[:, -1:]
    found = torch.searchsorted(cumulative, places, right=True)
    return found.clamp_(max=energies.shape[1] - 1)


def anneal(
    energies: Tensor,
    fewest: int,
    count: int,
    generator: torch.Generator | None,
    largest: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Resample candidates by exp(-b E), with the largest b that leaves many of them a chance.

    The effective sample size of the weights, (sum w)^2 / sum w^2, falls as b grows. So the b at
    which it is `fewest` is found by bisection.

    Args:
        energies: Energies, shape (B, N).
        fewest: Smallest effective sample size.
        count: Number of indices M.
        generator: Source of randomness.
        largest: Largest b, at least 0, shape (B, 1); by default 1.

    Returns:
        Indices, shape (B, M), in ascending order, and factors b, shape (B, 1).
    """
    upper = torch.ones_like(energies[:, :1]) if largest is None else largest
    lower, factor = torch.zeros_like(upper), upper
    above = finite(energies - energies.amin(dim=1, keepdim=True))
    for _ in range(_BISECTIONS):
        weights = torch.nan_to_num((-factor * above).exp())
        size = weights.sum(dim=1, keepdim=True).square() / weights.square().sum(1, keepdim=True)
        lower = torch.where(size >= fewest, factor, lower)
        upper = torch.where(size >= fewest, upper, factor)
        factor = (lower + upper) / 2
    return resample(lower * energies, generator, count), lower


def local_minima(
    actions: Tensor, energies: Tensor, count: int, radius: float, half_width: Tensor
) -> Tensor:
    """Find candidates with no lower candidate near them, lowest first.

    Of candidates with equal energies the first counts as lower. No step waits for the device.

    Args:
        actions: Candidates, shape (B, N, D).
        energies: Energies, shape (B, N).
        count: Number of candidates to return.
        radius: Largest difference in every dimension between near candidates, in half-widths of
            the box.
        half_width: Half-widths of the box, shape (D,).

    Returns:
        Indices, shape (B, count). If there are fewer local minima, the rest is the index of the
        lowest candidate.
    """
    # A dimension without width has the same value in all candidates.
    scaled = actions / half_width.where(half_width > 0, torch.ones_like(half_width))
    order = energies.argsort(dim=1, stable=True)
    # A local minimum is the lowest candidate in its cell, and no lowest candidate of another cell
    # near it is lower. There are far fewer cells than candidates. Only the candidates that pass
    # this test are compared with all candidates.
    first = _first_of_each(_cells(scaled / radius).gather(1, order))
    looked = _true_ones(first, _LOOKS * count)
    places = take(scaled, order.gather(1, looked))
    near = torch.cdist(places, places, p=math.inf) <= radius
    alone = ~near.tril(-1).any(dim=2) & first.gather(1, looked)
    looked = looked.gather(1, _true_ones(alone, _COMPARED * count))
    places = order.gather(1, looked)
    near = torch.cdist(take(scaled, places), scaled, p=math.inf) <= radius
    position = torch.arange(energies.shape[1], device=order.device).expand_as(order)
    rank = torch.zeros_like(order).scatter_(1, order, position)
    lower = (near & (rank[:, None] < looked[..., None])).any(dim=2)
    minimum = ~lower & first.gather(1, looked) & torch.isfinite(energies.gather(1, places))
    chosen = _true_ones(minimum, count)
    found = torch.where(minimum.gather(1, chosen), places.gather(1, chosen), order[:, :1])
    missing = order[:, :1].expand(-1, count - found.shape[1])
    return torch.cat((found, missing), dim=1)


def _cells(scaled: Tensor) -> Tensor:
    """Hash of the unit cell of each candidate, (B, N, D), as an integer, shape (B, N)."""
    # Powers of the hash factor: multiples of it would give the same number to many cells.
    factors = torch.full((scaled.shape[2],), _HASH, device=scaled.device).cumprod(dim=0)
    return (scaled.floor().long() * factors).sum(dim=2)


def _true_ones(mask: Tensor, count: int) -> Tensor:
    """Indices of the first `count` true values in each row (B, N), followed by false values."""
    return (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, :count]


def _first_of_each(values: Tensor) -> Tensor:
    """Mask of the values, (B, N), that are the first occurrence in their row."""
    order = values.argsort(dim=1, stable=True)
    together = values.gather(1, order)
    new = torch.ones_like(values, dtype=torch.bool)
    new[:, 1:] = together[:, 1:] != together[:, :-1]
    return torch.zeros_like(new).scatter_(1, order, new)
