"""What every search over actions shares: candidates, their energies, and picking among them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Energy = Callable[[Tensor], Tensor]
"""Candidates (B, N, D) to their energies (B, N)."""


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
    remaining = energies
    first = energies.argmin(dim=1)
    looked_at, is_minimum = [], []
    # The slopes around a minimum take looks too. On a GPU asking whether to go on would wait.
    waits = actions.device.type != "cpu"
    for _ in range((4 if waits else 32) * count):
        none_left = torch.isinf(remaining).all(dim=1)
        index = torch.where(none_left, first, remaining.argmin(dim=1))[:, None]
        near = (scaled - take(scaled, index)).abs().amax(dim=2) <= radius
        lower = (near & (energies < energies.gather(1, index))).any(dim=1)
        looked_at.append(index)
        is_minimum.append(~lower & ~none_left)
        remaining = remaining.masked_fill(near, float("inf"))
        if not waits:
            enough = bool((torch.stack(is_minimum).sum(dim=0) >= count).all())
            if enough or bool(torch.isinf(remaining).all()):
                break
    looks = len(looked_at)
    if looks < count:  # fewer than asked for: the first one fills up
        looked_at += [first[:, None]] * (count - looks)
        is_minimum += [torch.zeros_like(is_minimum[0])] * (count - looks)
    indices, minimum = torch.cat(looked_at, dim=1), torch.stack(is_minimum, dim=1)
    order = (~minimum).to(torch.uint8).argsort(dim=1, stable=True)[:, :count]
    chosen = indices.gather(1, order)
    return torch.where(minimum.gather(1, order), chosen, first[:, None])
