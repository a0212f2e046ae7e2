"""Chains along the gradient of an energy, and the choice of their starts."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, evaluate, take, uniform
from ebm_policy_ros.inference.minimizer import Minimizer, Search
from ebm_policy_ros.inference.settings import at_least
from ebm_policy_ros.util.bounds import MOST_ROUNDS, MOST_SAMPLES


@dataclass(frozen=True)
class Chains(Minimizer[Energy]):
    """Method whose candidates are chains: each follows the exact gradient from a start of its own.

    A chain hardly crosses a barrier, so its start decides about its well. The starts are chosen
    among a larger pool of uniform candidates.
    """

    samples: int = 512
    """Number of candidates; each is a separate chain."""
    iterations: int = 100
    """Number of steps of a chain."""
    pool: int = field(default=16, kw_only=True)
    """Number of candidates for each chain, among which its start is chosen; together at
    most 1,048,576."""
    polish: int = field(default=20, kw_only=True)
    """Number of gradient descent steps without noise at the end; 0 for none."""

    def __post_init__(self) -> None:
        at_least(self, 1, "samples", largest=MOST_SAMPLES)
        at_least(self, 1, "iterations", "pool", largest=MOST_ROUNDS)
        at_least(self, 0, "polish", largest=MOST_ROUNDS)

    @property
    def evaluated(self) -> tuple[int, int]:
        return self.samples, self.samples

    @property
    def evaluations(self) -> tuple[int, int]:
        return self.samples * self.pool, self.samples * (self.steps + self.polish + 1)

    @property
    def steps(self) -> int:
        """Number of gradients along a chain."""
        return self.iterations

    @abstractmethod
    def chain(
        self,
        energy: Energy,
        actions: Tensor,
        low: Tensor,
        high: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Run chains from `actions`; return their ends, shape (B, N, D), without gradients.

        Args:
            energy: Differentiable function from candidates (B, N, D) to energies (B, N).
            actions: Starts of the chains, shape (B, N, D).
            low: Lower corner of the box, shape (D,).
            high: Upper corner of the box, shape (D,).
            generator: Source of randomness.
        """

    def drawn_pool(self, search: Search[Energy]) -> tuple[Tensor, Tensor]:
        """Draw and evaluate the pool, as many candidates at a time as there are chains.

        Returns:
            Candidates, shape (B, N, D), and their energies, shape (B, N), fewer if the deadline
            passes; they begin with the starts and the proposals of the search.
        """
        pool, energies = [search.first_candidates(self.samples)], []
        for i in range(max(1, min(self.pool, MOST_SAMPLES // self.samples))):
            if i:
                if search.until.passed():
                    break
                drawn = uniform(
                    search.batch, self.samples, search.low, search.high, search.generator
                )
                pool.append(drawn)
            energies.append(evaluate(search.energy, pool[-1]))
        return torch.cat(pool, dim=1), torch.cat(energies, dim=1)


def joined(*groups: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Join groups of candidates (B, N, D) and their energies (B, N)."""
    actions, energies = zip(*groups, strict=True)
    return torch.cat(actions, dim=1), torch.cat(energies, dim=1)


def lowest(*groups: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Lowest candidate of all groups, and its energy: shapes (B, 1, D) and (B, 1)."""
    actions, energies = joined(*groups)
    energy, index = energies.min(dim=1, keepdim=True)
    return take(actions, index), energy
