"""Ancestral sampling from one energy per dimension, one value after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, evaluate

# First, _GRID values of a dimension are evaluated. Then, in each of _ROUNDS rounds, _FINER more
# values are evaluated between the neighbours of each of the _PLACES lowest local minima. This
# finds minima that are narrower than the grid.
_GRID, _ROUNDS, _PLACES, _FINER = 512, 3, 64, 8
# At the end, the _DIVIDED intervals with the largest probability are divided into _PIECES each.
_DIVIDED, _PIECES = 256, 4


def draw_ancestral(
    energies: Sequence[Energy],
    low: Tensor,
    high: Tensor,
    batch: int = 1,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw from prod_j p_j, p_j ~ exp(-E_j(a_j | a_1..a_{j-1}) / temperature), row by row.

    Each normalised p_j is approximated as linear between values. The values are closer together
    where the energy is low. A minimum with a width of 1e-4 half-widths of the box is still
    resolved if the energy decreases towards it on a grid of spacing 0.004, and if there are at
    most 64 minima.

    Args:
        energies: For each dimension j, a function from prefixes (B, N, j+1) to energies (B, N).
        low: Lower corner of the box, shape (D,).
        high: Upper corner of the box, shape (D,).
        batch: Number of rows B.
        temperature: Temperature of the distribution.
        generator: Source of randomness, on the device of `low`.

    Returns:
        Actions, shape (B, D).

    Raises:
        ValueError: If the temperature is not a number above 0.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature: got {temperature}, expected a number > 0")
    drawn = low.new_empty(batch, 0)
    fractions = torch.linspace(0, 1, _GRID, device=low.device, dtype=low.dtype)
    for j, energy in enumerate(energies):
        values = (low[j] + (high[j] - low[j]) * fractions).expand(batch, -1)
        heights = _heights(energy, drawn, values)
        for i in range(_ROUNDS + 1):
            if i < _ROUNDS:
                more = _between(*_around_minima(values, heights), _FINER)
            else:
                index = _masses(values, heights, temperature).topk(_DIVIDED, dim=1).indices
                left, right = values.gather(1, index), values.gather(1, index + 1)
                more = _between(left, right, _PIECES - 1)
            values, order = torch.cat((values, more), dim=1).sort(dim=1)
            added = _heights(energy, drawn, more)
            heights = torch.cat((heights, added), dim=1).gather(1, order)
        value = _draw_linear(values, heights, temperature, generator)
        drawn = torch.cat((drawn, value), dim=1)
    return drawn


def _heights(energy: Energy, before: Tensor, values: Tensor) -> Tensor:
    """Energies of values (B, N) of a dimension, given the values (B, j) of those before it."""
    prefixes = before[:, None].expand(-1, values.shape[1], -1)
    return evaluate(energy, torch.cat((prefixes, values[..., None]), dim=2))


def _between(left: Tensor, right: Tensor, count: int) -> Tensor:
    """`count` evenly spaced values inside each interval (`left`, `right`), shape (B, M * count).

    `left` and `right` have shape (B, M).
    """
    shares = torch.linspace(0, 1, count + 2, device=left.device, dtype=left.dtype)[1:-1]
    return torch.lerp(left[..., None], right[..., None], shares).flatten(1)


def _density(heights: Tensor, temperature: float) -> Tensor:
    """Values of exp(-E / temperature), (B, N), relative to the largest; 0 if no E is finite."""
    above = heights - heights.amin(dim=1, keepdim=True)
    return torch.nan_to_num((-above / temperature).exp())


def _masses(values: Tensor, heights: Tensor, temperature: float) -> Tensor:
    """Masses of the intervals between sorted values (B, N), up to a factor, shape (B, N - 1).

    An interval with a failed (not finite) energy at one end has mass 0.
    """
    density = _density(heights, temperature)
    masses = values.diff(dim=1) * (density[:, 1:] + density[:, :-1])
    failed = heights.isinf()
    return masses.masked_fill(failed[:, 1:] | failed[:, :-1], 0)


def _around_minima(values: Tensor, heights: Tensor) -> tuple[Tensor, Tensor]:
    """Left and right neighbours of the lowest local minima among sorted values (B, N)."""
    padded = torch.nn.functional.pad(heights, (1, 1), value=float("inf"))
    is_minimum = (heights <= padded[:, :-2]) & (heights <= padded[:, 2:])
    masked = heights.masked_fill(~is_minimum, float("inf"))
    index = masked.topk(_PLACES, dim=1, largest=False).indices
    left = values.gather(1, (index - 1).clamp_min(0))
    return left, values.gather(1, (index + 1).clamp_max(values.shape[1] - 1))


def _draw_linear(
    values: Tensor, heights: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    """Draw from exp(-E / temperature), approximated as linear between sorted values.

    Args:
        values: Sorted values, shape (B, N).
        heights: Energies of the values, shape (B, N).
        temperature: Temperature of the distribution.
        generator: Source of randomness.

    Returns:
        Drawn values, shape (B, 1); the first value of a row where no interval has a finite energy
        at both ends.
    """
    mass = _masses(values, heights, temperature)
    uniform = torch.rand(mass.shape, generator=generator, device=mass.device, dtype=mass.dtype)
    # Gumbel-max trick: the argmax of log m plus Gumbel noise is drawn with probability m. Unlike
    # torch.multinomial, it accepts a row without mass.
    index = (mass.log() - (-uniform.log()).log()).argmax(dim=1, keepdim=True)
    density = _density(heights, temperature)
    start, end = density.gather(1, index), density.gather(1, index + 1)
    place = torch.rand(start.shape, generator=generator, device=start.device, dtype=start.dtype)
    root = torch.lerp(start.square(), end.square(), place).sqrt()
    share = place * (start + end) / (start + root).clamp_min(torch.finfo(start.dtype).tiny)
    return torch.lerp(values.gather(1, index), values.gather(1, index + 1), share.clamp(0, 1))
