"""Hybrid search: a wide derivative-free search, then gradient descent."""

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
    """Short derivative-free search, then gradient descent from many of its local minima."""

    samples: int = 2048
    """Number of candidates of the search."""
    iterations: int = 1
    """Number of rounds of the search after its uniform candidates."""
    temperature: float = 1.0
    """Temperature of the search's resampling weights exp(-E / temperature)."""
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
        """Largest number of candidates in one evaluation: without and with gradients."""
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
        """Find the lowest of the minima in the box, for each row of the batch separately.

        Args:
            energy: Differentiable function from candidates (B, N, D) to energies (B, N).
            low: Lower corner of the box, shape (D,). It determines device and precision.
            high: Upper corner of the box, shape (D,).
            batch: Number of rows B.
            generator: Source of randomness, on the device of `low`.
            starts: Initial candidates, shape (B, M, D), which replace the first M drawn ones. The
                result is never worse than the best of them.
            deadline: Time at which to return the best action so far, in seconds of
                `time.perf_counter`. It is checked between rounds, after the first evaluation.
            low_precision: Low-precision energy, cheaper and nearly equal, for the search before
                the descent.

        Raises:
            ValueError: If the corners do not form a box, energies or starts have the wrong shape,
                or the energy has no gradient.
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
