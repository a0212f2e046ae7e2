"""Stochastic gradient Langevin dynamics over actions (Welling and Teh 2011)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import (
    Energy,
    check_box,
    clip,
    first_candidates,
    normal,
    take,
)
from ebm_policy_ros.inference.deadline import Deadline
from ebm_policy_ros.inference.refinement import descend, value_and_gradient
from ebm_policy_ros.inference.settings import at_least, at_most, not_negative, one_of, positive
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.util.bounds import MOST_POWER, MOST_ROUNDS, MOST_SAMPLES

Schedule = Literal["polynomial", "power"]


@dataclass(frozen=True)
class Langevin:
    """Candidates that follow the gradient with noise, then without it to the minimum.

    Distances are in half-widths of the box. A step of size s changes each dimension by

    - polynomial: s (dE/2 + noise_scale w), with s from `step_size` to `final_step_size` as
      (1 - k / (N - 1))^exponent (Florence et al. 2021, appendix B.3);
    - power: s dE/2 + noise_scale sqrt(2 s) w, with s = step_size (k / N)^-gamma. Where the step
      is small beside the curvature's inverse, and the clip wide beside the noise (as with
      step_size 5e-4 and step_clip 1), its stationary distribution is exp(-E / (2 noise_scale^2)):
      exp(-E / 2) with a noise scale of 1, exp(-E) with sqrt(1/2).

    where w is standard normal. Steps are clipped, then the candidates to the box.
    """

    samples: int = 512
    """Candidates, each a chain of its own."""
    iterations: int = 100
    """Steps of a chain; for training half as many are usual."""
    schedule: Schedule = "polynomial"
    """How the step size falls: polynomial or power."""
    step_size: float = 0.1
    """First (polynomial) or last (power) step size."""
    final_step_size: float = 1e-5
    """Last step size (polynomial)."""
    exponent: float = 2.0
    """Of the fall from the first to the last step size (polynomial)."""
    gamma: float = 0.55
    """Of the fall of the step size with the steps (power)."""
    noise_scale: float = 1.0
    """Factor on the noise."""
    step_clip: float = 0.1
    """Largest change of a dimension in a step, in half-widths of the box."""
    polish: int = 20
    """Steps down the gradient without noise at the end; 0 for none."""

    def __post_init__(self) -> None:
        at_least(self, 1, "samples", largest=MOST_SAMPLES)
        at_least(self, 1, "iterations", largest=MOST_ROUNDS)
        at_least(self, 0, "polish", largest=MOST_ROUNDS)
        one_of(self, "schedule", get_args(Schedule))
        positive(self, "step_size", "final_step_size", "exponent", "gamma", "step_clip")
        at_most(self, MOST_POWER, "exponent", "gamma")
        not_negative(self, "noise_scale")

    @property
    def evaluated(self) -> tuple[int, int]:
        """Candidates of the largest evaluation: of energies alone, and with their slopes."""
        return self.samples, self.samples

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
        """The action of lowest energy that a chain ended at, for each row on its own.

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
            low_precision: Not used: chains follow the exact gradient.

        Raises:
            ValueError: If the corners don't make a box, energies or starts have the wrong shape,
                or there is no gradient.
        """
        check_box(low, high)
        until = Deadline(deadline, low.device)
        actions = first_candidates(batch, self.samples, low, high, generator, starts)
        # Noise may carry a chain away from the best place that it saw.
        remember = starts is not None or deadline is not None
        best = actions[:, :0], actions[:, :0, 0]
        for here, energies, moved in self._moves(energy, actions, low, high, generator):
            if remember:
                best = _lowest(torch.cat((best[0], here), 1), torch.cat((best[1], energies), 1))
            actions = moved
            if until.passed():
                actions = here
                break
        if until.complete:
            actions, energies = descend(energy, actions, low, high, self.polish, until)
        if starts is not None or not until.complete:
            actions, energies = torch.cat((best[0], actions), 1), torch.cat((best[1], energies), 1)
        return Solution.of(actions, energies, energy, low, high, until.complete)

    def chain(
        self,
        energy: Energy,
        actions: Tensor,
        low: Tensor,
        high: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Where chains from `actions`, shape (B, N, D), end; no gradient leads back through them.

        Args:
            energy: Differentiable; candidates (B, N, D) to energies (B, N).
            actions: Where the chains start.
            low: Lower corner of the box, shape (D,).
            high: Upper corner.
            generator: Source of randomness.
        """
        for _, _, moved in self._moves(energy, actions, low, high, generator):
            actions = moved
        return actions

    def _moves(
        self,
        energy: Energy,
        actions: Tensor,
        low: Tensor,
        high: Tensor,
        generator: torch.Generator | None,
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of each step: where the chains were, their energies there, and where they are now."""
        half = (high - low) / 2
        for size, noise in self._steps():
            energies, slope = value_and_gradient(energy, actions)
            change = size / 2 * half * slope + noise * normal(actions, generator)
            change = change.clamp(-self.step_clip, self.step_clip)
            moved = clip(actions - half * change, low, high)
            yield actions, energies, moved
            actions = moved

    def _steps(self) -> Iterator[tuple[float, float]]:
        """Step size, and standard deviation of the noise, of each step."""
        count = self.iterations
        for k in range(count):
            if self.schedule == "polynomial":
                left = (1 - k / max(1, count - 1)) ** self.exponent
                size = (self.step_size - self.final_step_size) * left + self.final_step_size
                yield size, size * self.noise_scale
            else:
                size = self.step_size * ((k + 1) / count) ** -self.gamma
                yield size, self.noise_scale * (2 * size) ** 0.5


def _lowest(actions: Tensor, energies: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest of candidates (B, N, D): shapes (B, 1, D) and (B, 1)."""
    energy, index = energies.min(dim=1, keepdim=True)
    return take(actions, index), energy
