"""Sample widely, then descend: derivative-free search with gradients at its end."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, local_minima, take
from ebm_policy_ros.inference.deadline import Deadline
from ebm_policy_ros.inference.derivative_free import SEPARATION, DerivativeFree
from ebm_policy_ros.inference.refinement import descend
from ebm_policy_ros.inference.settings import at_least, positive
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.util.bounds import MOST_PLACES, MOST_ROUNDS, MOST_SAMPLES


@dataclass(frozen=True)
class Hybrid:
    """Many places that a short derivative-free search found, each descended to its minimum."""

    samples: int = 2048
    """Candidates of the search."""
    iterations: int = 1
    """Rounds of the search after its uniform candidates."""
    temperature: float = 1.0
    """Of the search's resampling weights."""
    starts: int = 32
    """How many of the lowest local minima among the candidates to descend from."""
    steps: int = 50
    """Steps down the gradient."""

    def __post_init__(self) -> None:
        at_least(self, 2, "samples", largest=MOST_SAMPLES)
        at_least(self, 0, "iterations", largest=MOST_ROUNDS)
        at_least(self, 1, "starts", largest=MOST_PLACES)
        at_least(self, 1, "steps", largest=MOST_ROUNDS)
        positive(self, "temperature")

    @property
    def evaluated(self) -> tuple[int, int]:
        """Candidates of the largest evaluation: of energies alone, and with their slopes."""
        return self.samples, self.starts

    def minimize(
        self,
        energy: Energy,
        low: Tensor,
        high: Tensor,
        batch: int = 1,
        generator: torch.Generator | None = None,
        starts: Tensor | None = None,
        deadline: float | None = None,
        low_precision: Energy | None = None,
    ) -> Solution:
        """The lowest of the minima in the box, for each row of the batch on its own.

        Args:
            energy: Differentiable; candidates (B, N, D) to energies (B, N).
            low: Lower corner of the box, shape (D,); gives the device and the precision.
            high: Upper corner of the box, shape (D,).
            batch: Rows B.
            generator: Source of randomness, on the device of `low`.
            starts: Candidates to begin from, shape (B, M, D), in place of the first M drawn; the
                result is never worse than the best of them.
            deadline: When to return the best so far, in seconds of `time.perf_counter`; looked at
                between rounds, after the first evaluation.
            low_precision: A cheaper energy, nearly the same, for the search before the descent.

        Raises:
            ValueError: If the corners don't make a box, energies or starts have the wrong shape,
                or there is no gradient.
        """
        search = DerivativeFree(self.samples, self.iterations, temperature=self.temperature)
        wide = search.minimize(
            energy, low, high, batch, generator, starts, deadline, low_precision
        )
        until = Deadline(deadline, low.device)
        if not wide.complete or until.passed():
            return dataclasses.replace(wide, complete=False)
        index = local_minima(
            wide.actions, wide.energies, self.starts, SEPARATION, (high - low) / 2
        )
        places = take(wide.actions, index)
        actions, energies = descend(energy, places, low, high, self.steps, until)
        return Solution.of(actions, energies, energy, low, high, until.complete)
