"""Derivative-free minimisation of an energy over actions (Florence et al. 2021, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

Energy = Callable[[Tensor], Tensor]
"""Candidates (B, N, D) to their energies (B, N)."""


@dataclass(frozen=True)
class Solution:
    """What a minimisation found."""

    actions: Tensor
    """The last candidates, shape (B, N, D)."""
    energies: Tensor
    """Their energies, shape (B, N)."""
    best: Tensor
    """The candidate of lowest energy, shape (B, D)."""
    best_energy: Tensor
    """Its energy, shape (B,); not finite if no candidate's energy was."""


@dataclass(frozen=True)
class DerivativeFree:
    """Samples the box, then repeats: resample by exp(-E), perturb, evaluate.

    The best candidate of all is kept in the population, so the lowest energy never rises, and
    the result is the exact minimum over candidates whose energy was evaluated.
    """

    samples: int = 16384
    """Candidates at a time."""
    iterations: int = 3
    """Rounds of resampling and perturbing after the first, uniform candidates."""
    noise_scale: float = 0.33
    """Standard deviation of the first perturbation, in half-widths of the box."""
    noise_shrink: float = 0.5
    """Factor on the perturbation from one round to the next."""
    temperature: float = 1.0
    """Of the resampling weights exp(-E / temperature)."""

    def __post_init__(self) -> None:
        for name, value, lowest in (
            ("samples", self.samples, 2),
            ("iterations", self.iterations, 0),
        ):
            if value < lowest:
                raise ValueError(f"{name}: got {value}, expected an integer >= {lowest}")
        for name in ("noise_scale", "noise_shrink", "temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a number > 0")

    def minimize(
        self,
        energy: Energy,
        low: Tensor,
        high: Tensor,
        batch: int = 1,
        generator: torch.Generator | None = None,
    ) -> Solution:
        """The action of lowest energy in the box, for each row of the batch on its own.

        Args:
            energy: Candidates (B, N, D) to energies (B, N).
            low: Lower corner of the box, shape (D,); gives the device and the precision.
            high: Upper corner of the box, shape (D,).
            batch: Rows B.
            generator: Source of randomness, on the device of `low`.

        Raises:
            ValueError: If the corners don't make a box, or energies have the wrong shape.
        """
        _check_box(low, high)
        shape = (batch, self.samples, low.shape[0])
        even = partial(torch.rand, generator=generator, device=low.device, dtype=low.dtype)
        normal = partial(torch.randn, generator=generator, device=low.device, dtype=low.dtype)
        half_width = (high - low) / 2
        noise = self.noise_scale * half_width

        actions = low + (high - low) * even(shape)
        energies = _evaluate(energy, actions)
        for _ in range(self.iterations):
            best, _ = _best(actions, energies)
            offsets = even((batch, 1))
            actions = resample(actions, energies / self.temperature, offsets)
            actions = actions + noise * normal(shape)
            actions = torch.minimum(torch.maximum(actions, low), high)
            actions[:, 0] = best
            energies = _evaluate(energy, actions)
            noise = noise * self.noise_shrink
        return Solution(actions, energies, *_best(actions, energies))


def resample(actions: Tensor, energies: Tensor, offsets: Tensor) -> Tensor:
    """Draw candidates anew with probability softmax(-E), systematically, row by row.

    Systematic resampling takes the N quantiles (i + offset) / N of the distribution: less noise
    than independent draws, and no wait for the device.

    Args:
        actions: Candidates, shape (B, N, D).
        energies: Their energies, shape (B, N); one that is not a number is never drawn.
        offsets: One random number in [0, 1) for each row, shape (B, 1).

    Returns:
        Shape (B, N, D).
    """
    count = actions.shape[1]
    lowest = torch.finfo(energies.dtype).min
    weights = torch.softmax(torch.nan_to_num(-energies, nan=lowest, neginf=lowest), dim=1)
    cumulative = weights.cumsum(dim=1)
    quantiles = (torch.arange(count, device=offsets.device, dtype=offsets.dtype) + offsets) / count
    # Rounding may leave the last sum below 1, and a quantile above it.
    quantiles = quantiles.to(cumulative.dtype) * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, quantiles, right=True).clamp_(max=count - 1)
    return actions.gather(1, chosen[..., None].expand_as(actions))


def _best(actions: Tensor, energies: Tensor) -> tuple[Tensor, Tensor]:
    best_energy, index = energies.min(dim=1)
    best = actions.gather(1, index[:, None, None].expand(-1, 1, actions.shape[2])).squeeze(1)
    return best, best_energy


def _evaluate(energy: Energy, actions: Tensor) -> Tensor:
    """Energies in which a failed one (not a number) is the worst possible."""
    energies = energy(actions)
    if energies.shape != actions.shape[:2]:
        raise ValueError(
            f"energy: got shape {tuple(energies.shape)} for candidates {tuple(actions.shape)}, "
            f"expected {tuple(actions.shape[:2])}"
        )
    return torch.nan_to_num(energies, nan=float("inf"), posinf=float("inf"), neginf=float("inf"))


def _check_box(low: Tensor, high: Tensor) -> None:
    if low.ndim != 1 or low.shape != high.shape or not low.is_floating_point():
        raise ValueError(
            f"low and high: got shapes {tuple(low.shape)} and {tuple(high.shape)} of {low.dtype}, "
            "expected (D,) of a floating type for both"
        )
    # On a GPU the comparison would make every decision wait for the device.
    if low.device.type == "cpu" and not bool((low <= high).all()):
        raise ValueError(f"low: got {low.tolist()}, expected at most high, {high.tolist()}")
