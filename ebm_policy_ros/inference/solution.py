"""Result of an action search."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, resample, take
from ebm_policy_ros.inference.modes import Modes, find_modes
from ebm_policy_ros.util.bounds import check_number


@dataclass(frozen=True)
class Samples:
    """Samples of exp(-E / temperature) from a sampler's chains."""

    actions: Tensor
    """Ends of the chains, shape (B, N, D)."""
    energies: Tensor
    """Their energies, shape (B, N)."""
    temperature: float
    """Temperature of the samples."""
    acceptance: Tensor
    """Mean acceptance of the Metropolis test after the burn-in, shape (B,)."""

    def draw(self, temperature: float, generator: torch.Generator | None = None) -> Tensor:
        """Draw one of the samples for each row, shape (B, D).

        For another temperature than that of the samples they are weighted with the ratio of the
        two densities, which leaves few of them if it is much lower.

        Raises:
            ValueError: If the temperature is not a number above 0.
        """
        check_number("temperature", temperature, above_zero=True)
        change = 1 / temperature - 1 / self.temperature
        index = resample(torch.nan_to_num(self.energies * change), generator, 1)
        return take(self.actions, index)[:, 0]


@dataclass(frozen=True, repr=False)
class Solution:
    """Result of a minimisation."""

    actions: Tensor
    """Last candidates, shape (B, N, D)."""
    energies: Tensor
    """Energies of the last candidates, shape (B, N)."""
    best: Tensor
    """Candidate of lowest energy, shape (B, D)."""
    best_energy: Tensor
    """Lowest energy, shape (B,); not finite if no candidate has a finite energy."""
    energy: Energy
    """Energy that was minimised."""
    low: Tensor
    """Lower corner of the box, shape (D,)."""
    high: Tensor
    """Upper corner of the box, shape (D,)."""
    complete: bool = True
    """True if the search was completed; False if its deadline interrupted it."""
    samples: Samples | None = None
    """Samples, if the method is a sampler whose chains were completed."""

    def __repr__(self) -> str:
        """Summary: size of the search, and the lowest energy of its first row with its action."""
        batch, count, size = self.actions.shape
        lowest = ", ".join(f"{value:.4g}" for value in self.best[0].tolist())
        return (
            f"Solution({count} candidates of {size} values, batch {batch}: "
            f"{self.best_energy[0]:.4g} at [{lowest}])"
        )

    @classmethod
    def of(
        cls,
        actions: Tensor,
        energies: Tensor,
        energy: Energy,
        low: Tensor,
        high: Tensor,
        complete: bool = True,
    ) -> Solution:
        """Create the solution from evaluated candidates."""
        best_energy, index = energies.min(dim=1)
        best = take(actions, index[:, None])[:, 0]
        return cls(actions, energies, best, best_energy, energy, low, high, complete)

    def sample(self, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw from exp(-E / temperature), shape (B, D).

        The draw is one of the samples of a sampler, else around the modes. If the energy has a
        method of this name, that method draws instead: an energy with one part per dimension
        (`JointEnergy`) draws value by value, each at the temperature.
        """
        itself = getattr(self.energy, "sample", None)
        if itself is not None:
            drawn: Tensor = itself(len(self.actions), temperature, generator)
            return drawn
        if self.samples is not None:
            return self.samples.draw(temperature, generator)
        return self.modes(temperature=temperature, generator=generator).sample(generator)

    def modes(
        self,
        limit: int = 8,
        separation: float = 0.1,
        barrier: float = 1.0,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Modes:
        """Find the separate minimisers near the last candidates; see `find_modes`."""
        return find_modes(
            self.energy,
            self.actions,
            self.energies,
            self.low,
            self.high,
            limit=limit,
            separation=separation,
            barrier=barrier,
            temperature=temperature,
            generator=generator,
        )
