"""What every search over actions shares: candidates, their energies, and picking among them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Energy = Callable[[Tensor], Tensor]
"""Candidates (B, N, D) to their energies (B, N)."""

# Places looked at for each local minimum wanted, since the slopes around a minimum take looks too,
# and those of them that are compared with all candidates.
_LOOKS, _COMPARED = 16, 4
# An odd number near 2^64 over the golden ratio, as a signed one: spreads cells over all integers.
_HASH = -7046029254386353131


def check_box(low: Tensor, high: Tensor) -> None:
    """Refuse corners that don't make a box.

    Raises:
        ValueError: If they are not two floating vectors of one size, the lower one first.
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
    """Energies of candidates; a failed one (not a finite number) is the worst.

    Args:
        energy: Candidates (B, N, D) to energies (B, N).
        actions: Shape (B, ..., D), with candidates in one or several groups.

    Returns:
        Shape (B, ...).

    Raises:
        ValueError: If `energy` gives another shape.
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
    """Energies, of which a failed one (not a finite number) is the worst."""
    worst = float("inf")
    return torch.nan_to_num(energies, nan=worst, posinf=worst, neginf=worst)


def uniform(
    batch: int, count: int, low: Tensor, high: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Candidates drawn evenly from the box, shape (batch, count, D)."""
    shape = (batch, count, low.shape[0])
    draws = torch.rand(shape, generator=generator, device=low.device, dtype=low.dtype)
    return low + (high - low) * draws


def first_candidates(
    batch: int,
    count: int,
    low: Tensor,
    high: Tensor,
    generator: torch.Generator | None,
    starts: Tensor | None,
) -> Tensor:
    """Candidates drawn evenly from the box, the first replaced by `starts` where there are some.

    Args:
        batch: Rows B.
        count: Candidates N of a row.
        low: Lower corner of the box, shape (D,).
        high: Upper corner.
        generator: Source of randomness; what it draws doesn't depend on `starts`.
        starts: Shape (B, M, D), M at most N.

    Returns:
        Shape (B, N, D).

    Raises:
        ValueError: If the starts have another shape.
    """
    drawn = uniform(batch, count, low, high, generator)
    if starts is None:
        return drawn
    return torch.cat((fit_starts(starts, batch, count, low, high), drawn[:, starts.shape[1] :]), 1)


def fit_starts(starts: Tensor, batch: int, count: int, low: Tensor, high: Tensor) -> Tensor:
    """The starts, shape (B, M, D), clipped to the box, in its precision.

    Raises:
        ValueError: If they are not (B, M, D), with M at most `count`.
    """
    size = low.shape[0]
    shape = tuple(starts.shape)
    if starts.ndim != 3 or shape[::2] != (batch, size) or shape[1] > count:
        raise ValueError(
            f"starts: got shape {shape}, expected ({batch}, M, {size}) with M at most {count}"
        )
    return clip(starts.to(low), low, high)


def normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers with shape, device and precision of `like`."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def clip(actions: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The nearest actions in the box."""
    return torch.minimum(torch.maximum(actions, low), high)


def take(actions: Tensor, index: Tensor) -> Tensor:
    """Rows of `actions`, shape (B, N, D), by `index`, shape (B, M): shape (B, M, D)."""
    return actions.gather(1, index[..., None].expand(-1, -1, actions.shape[2]))


def resample(energies: Tensor, generator: torch.Generator | None) -> Tensor:
    """Which candidates survive, each drawn with probability softmax(-E), row by row.

    Systematic resampling takes the N quantiles (i + offset) / N of the distribution (Kitagawa
    1996, appendix): less noise than independent draws, and no wait for the device.

    Args:
        energies: Shape (B, N); a candidate whose energy is not finite is drawn only if all are so.
        generator: Source of the offset of each row.

    Returns:
        Indices, shape (B, N), in rising order.
    """
    shape = (len(energies), 1)
    offsets = torch.rand(shape, generator=generator, device=energies.device, dtype=energies.dtype)
    return quantiles(energies, offsets)


def quantiles(energies: Tensor, offsets: Tensor) -> Tensor:
    """Which candidates are at the quantiles (i + offset) / N of softmax(-E).

    Args:
        energies: Shape (B, N).
        offsets: From 0 to 1, shape (B, 1).

    Returns:
        Indices, shape (B, N), in rising order.
    """
    count = energies.shape[1]
    lowest = torch.finfo(energies.dtype).min
    weights = torch.softmax(torch.nan_to_num(-energies, nan=lowest, neginf=lowest), dim=1)
    cumulative = weights.cumsum(dim=1)
    places = (torch.arange(count, device=offsets.device, dtype=offsets.dtype) + offsets) / count
    # Rounding may leave the last sum below 1, and a quantile above it.
    places = places.to(cumulative.dtype) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, places, right=True).clamp_(max=count - 1)


def local_minima(
    actions: Tensor, energies: Tensor, count: int, radius: float, half_width: Tensor
) -> Tensor:
    """Candidates with no lower one near them, lowest first.

    Of equal ones the first counts as lower. No step waits for the device.

    Args:
        actions: Shape (B, N, D).
        energies: Shape (B, N).
        count: How many.
        radius: Near is a difference of at most so many half-widths in every dimension.
        half_width: Of the box, shape (D,).

    Returns:
        Indices, shape (B, count); the lowest candidate again where there are no more.
    """
    # A dimension without width is the same for all.
    scaled = actions / half_width.where(half_width > 0, torch.ones_like(half_width))
    order = energies.argsort(dim=1, stable=True)
    # A minimum is the lowest in its cell, of which there are far fewer than candidates, and has no
    # lower one of these near it. What is left is compared with all candidates.
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
    """A number for the unit cell that each candidate, (B, N, D), is in: (B, N)."""
    # Its powers: multiples of it would give the same number to many cells.
    factors = torch.full((scaled.shape[2],), _HASH, device=scaled.device).cumprod(dim=0)
    return (scaled.floor().long() * factors).sum(dim=2)


def _true_ones(mask: Tensor, count: int) -> Tensor:
    """Indices of at most `count` true values in each row, (B, N), and of others after them."""
    return (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, :count]


def _first_of_each(values: Tensor) -> Tensor:
    """Whether a value, (B, N), is the first of its kind in its row."""
    order = values.argsort(dim=1, stable=True)
    together = values.gather(1, order)
    new = torch.ones_like(values, dtype=torch.bool)
    new[:, 1:] = together[:, 1:] != together[:, :-1]
    return torch.zeros_like(new).scatter_(1, order, new)
