"""Contract of all inference methods: the minimisation of an energy in a box."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, check_box, clip, uniform
from ebm_policy_ros.inference.deadline import Deadline
from ebm_policy_ros.inference.solution import Solution

E = TypeVar("E")
"""Energy to minimise: `Energy`, or a sequence of one for each dimension."""


@dataclass(frozen=True)
class Search(Generic[E]):
    """One minimisation: the arguments of `Minimizer.minimize`, after their checks."""

    energy: E
    low: Tensor
    high: Tensor
    batch: int
    generator: torch.Generator | None
    starts: Tensor | None
    until: Deadline
    low_precision: E | None
    proposals: Tensor | None

    @property
    def cheap(self) -> E:
        """Low-precision energy, or the energy itself if there is none."""
        return self.energy if self.low_precision is None else self.low_precision

    @property
    def half_width(self) -> Tensor:
        """Half-widths of the box, shape (D,)."""
        return (self.high - self.low) / 2

    @property
    def given(self) -> int:
        """Number of starts and proposals."""
        return sum(part.shape[1] for part in (self.starts, self.proposals) if part is not None)

    def first_candidates(self, count: int) -> Tensor:
        """Starts, proposals, and candidates drawn uniformly from the box.

        The draws do not depend on the starts and the proposals, which replace the first ones.

        Args:
            count: Number of candidates N in a row.

        Returns:
            Candidates, shape (B, N, D).

        Raises:
            ValueError: If starts and proposals do not have the shapes (B, M, D) and (B, P, D) with
                M + P at most N.
        """
        drawn = uniform(self.batch, count, self.low, self.high, self.generator)
        starts = self.clipped_starts(count)
        proposals = self._clipped("proposals", self.proposals, count - starts.shape[1])
        given = torch.cat((starts, proposals), dim=1)
        return torch.cat((given, drawn[:, given.shape[1] :]), dim=1)

    def clipped_starts(self, count: int) -> Tensor:
        """Clip the starts to the box, in its precision; shape (B, M, D), with M = 0 for none.

        Raises:
            ValueError: If their shape is not (B, M, D) with M at most `count`.
        """
        return self._clipped("starts", self.starts, count)

    def _clipped(self, name: str, candidates: Tensor | None, count: int) -> Tensor:
        size = self.low.shape[0]
        if candidates is None:
            return self.low.new_empty(self.batch, 0, size)
        shape = tuple(candidates.shape)
        if len(shape) != 3 or shape[::2] != (self.batch, size) or shape[1] > count:
            raise ValueError(
                f"{name}: got shape {shape}, expected ({self.batch}, M, {size}) with M at most "
                f"{count}"
            )
        return clip(candidates.to(self.low), self.low, self.high)

    def solution(self, energy: Energy, actions: Tensor, energies: Tensor) -> Solution:
        """Create the solution from evaluated candidates; `energy` compares whole actions."""
        return Solution.of(actions, energies, energy, self.low, self.high, self.until.complete)


# A dataclass, although without fields: jsonargparse only nests dataclasses of dataclasses.
@dataclass(frozen=True)
class Minimizer(Generic[E], metaclass=ABCMeta):
    """Inference method: a frozen dataclass of settings that minimises an energy over actions.

    A subclass has a setting `samples`, the number of candidates.
    """

    @property
    @abstractmethod
    def evaluated(self) -> tuple[int, int]:
        """Largest number of candidates in one evaluation: without and with gradients."""

    @property
    def evaluations(self) -> tuple[int, int]:
        """Number of candidates evaluated in a whole search: without and with gradients."""
        return self.evaluated

    def minimize(
        self,
        energy: E,
        low: Tensor,
        high: Tensor,
        batch: int = 1,
        generator: torch.Generator | None = None,
        starts: Tensor | None = None,
        deadline: float | None = None,
        low_precision: E | None = None,
        proposals: Tensor | None = None,
    ) -> Solution:
        """Find the action of lowest energy in the box, for each row of the batch separately.

        Args:
            energy: Function from candidates (B, N, D) to energies (B, N); `Langevin`, `Hybrid`,
                samplers and a polish need its gradient. `AutoregressiveDerivativeFree` takes one
                function for each dimension j, from prefixes (B, N, j+1) to energies (B, N).
            low: Lower corner of the box, shape (D,). It determines device and precision.
            high: Upper corner of the box, shape (D,).
            batch: Number of rows B.
            generator: Source of randomness, on the device of `low`.
            starts: Initial candidates, shape (B, M, D), which replace the first M drawn ones. The
                result is never worse than the best of them.
            deadline: Time at which to return the best action so far, in seconds of
                `time.perf_counter`. It is checked between rounds, after the first evaluation.
            low_precision: Low-precision energy, cheaper and nearly equal, which guides the search.
                The result is chosen with `energy`. Chains do not use it.
            proposals: Likely candidates, shape (B, P, D), in place of the P drawn ones after the
                starts.

        Raises:
            ValueError: If the corners do not form a box, energies, starts or proposals have the
                wrong shape, there is not one energy for each dimension where that is needed, or
                the energy lacks a needed gradient.
        """
        check_box(low, high)
        until = Deadline(deadline, low.device)
        search = Search(
            energy, low, high, batch, generator, starts, until, low_precision, proposals
        )
        return self.run(search)

    @abstractmethod
    def run(self, search: Search[E]) -> Solution:
        """Run a search in a valid box."""
