"""Result of an action search."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, take
from ebm_policy_ros.inference.modes import Modes, find_modes


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

        The draw is around the modes. If the energy has a method of this name, that method draws
        instead: an energy with one part per dimension (`JointEnergy`) draws value by value, each
        at the temperature.
        """
        itself = getattr(self.energy, "sample", None)
        if itself is not None:
            drawn: Tensor = itself(len(self.actions), temperature, generator)
            return drawn
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
