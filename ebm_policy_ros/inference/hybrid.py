"""Hybrid search: a wide derivative-free search, then gradient descent."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ebm_policy_ros.inference.candidates import Energy, local_minima, take
from ebm_policy_ros.inference.derivative_free import SEPARATION, DerivativeFree
from ebm_policy_ros.inference.minimizer import Minimizer, Search
from ebm_policy_ros.inference.refinement import descend
from ebm_policy_ros.inference.settings import at_least, positive
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.util.bounds import MOST_PLACES, MOST_ROUNDS, MOST_SAMPLES


@dataclass(frozen=True)
class Hybrid(Minimizer[Energy]):
    """Short derivative-free search, then gradient descent from many of its local minima."""

    samples: int = 2048
    """Number of candidates."""
    iterations: int = 1
    """Number of rounds of resampling and perturbation after the initial uniform candidates."""
    temperature: float = 1.0
    """Temperature of the resampling weights exp(-E / temperature)."""
    starts: int = 32
    """Number of lowest local minima among the candidates from which to descend."""
    steps: int = 50
    """Number of gradient descent steps."""

    def __post_init__(self) -> None:
        at_least(self, 2, "samples", largest=MOST_SAMPLES)
        at_least(self, 0, "iterations", largest=MOST_ROUNDS)
        at_least(self, 1, "starts", largest=MOST_PLACES)
        at_least(self, 1, "steps", largest=MOST_ROUNDS)
        positive(self, "temperature")

    @property
    def evaluated(self) -> tuple[int, int]:
        return self.samples, self.starts

    @property
    def evaluations(self) -> tuple[int, int]:
        return self.samples * (self.iterations + 1), self.starts * (self.steps + 1)

    def run(self, search: Search[Energy]) -> Solution:
        """Search with the low-precision energy, if there is one, then descend."""
        method = DerivativeFree(self.samples, self.iterations, temperature=self.temperature)
        wide = method.run(search)
        if search.until.passed():
            return dataclasses.replace(wide, complete=False)
        index = local_minima(
            wide.actions, wide.energies, self.starts, SEPARATION, search.half_width
        )
        actions, energies = descend(
            search.energy,
            take(wide.actions, index),
            search.low,
            search.high,
            self.steps,
            search.until,
        )
        return search.solution(search.energy, actions, energies)
