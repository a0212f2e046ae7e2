"""Stochastic gradient Langevin dynamics over actions (Welling and Teh 2011)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, anneal, clip, normal, take
from ebm_policy_ros.inference.chains import Chains, joined, lowest
from ebm_policy_ros.inference.minimizer import Search
from ebm_policy_ros.inference.refinement import descend, value_and_gradient
from ebm_policy_ros.inference.settings import at_most, not_negative, one_of, positive
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.util.bounds import MOST_POWER

Schedule = Literal["polynomial", "power"]


@dataclass(frozen=True)
class Langevin(Chains):
    """Langevin search: candidates follow the gradient with noise, then without it to a minimum.

    Distances are in half-widths of the box. A step of size s changes each dimension by

    - polynomial: s (dE/2 + noise_scale w), with s from `step_size` to `final_step_size` as
      (1 - k / (N - 1))^exponent (Florence et al. 2021, appendix B.3);
    - power: s dE/2 + noise_scale sqrt(2 s) w, with s = step_size (k / N)^-gamma. If the step is
      small compared with the inverse of the curvature, and the clip is wide compared with the
      noise (as with step_size 5e-4 and step_clip 1), the stationary distribution is
      exp(-E / (2 noise_scale^2)): exp(-E / 2) with a noise scale of 1, exp(-E) with sqrt(1/2).

    where w is standard normal. Steps are clipped, then the candidates are clipped to the box.

    A chain starts from each start of the search. The others are drawn from a pool, the proposals
    of the search and uniform candidates, by exp(-b E), with b = 1 or, if then only few candidates
    had a chance, the largest b with an effective sample size of `samples`. So chains begin in all
    low wells, however steep they are.
    """

    schedule: Schedule = "polynomial"
    """Schedule of the step size: polynomial or power."""
    step_size: float = 0.1
    """First (polynomial) or last (power) step size."""
    final_step_size: float = 1e-5
    """Last step size (polynomial)."""
    exponent: float = 2.0
    """Exponent of the decay from the first to the last step size (polynomial)."""
    gamma: float = 0.55
    """Exponent of the decay of the step size with the number of steps (power)."""
    noise_scale: float = 1.0
    """Factor on the noise."""
    step_clip: float = 0.1
    """Largest change of a dimension in a step, in half-widths of the box."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "schedule", get_args(Schedule))
        positive(self, "step_size", "final_step_size", "exponent", "gamma", "step_clip")
        at_most(self, MOST_POWER, "exponent", "gamma")
        not_negative(self, "noise_scale")

    def run(self, search: Search[Energy]) -> Solution:
        """Choose the starts, follow the exact gradient along the chains, then descend."""
        energy, low, high, until = search.energy, search.low, search.high, search.until
        pool, energies = self.drawn_pool(search)
        if until.passed():
            return search.solution(energy, pool, energies)
        # Noise may move a chain away from the best action on its way.
        best = lowest((pool, energies))
        kept = search.clipped_starts(self.samples)
        known = min(kept.shape[1], pool.shape[1] - 1)
        count = self.samples - kept.shape[1]
        index, _ = anneal(energies[:, known:], self.samples, count, search.generator)
        start = torch.cat((kept, take(pool[:, known:], index)), dim=1)
        for here, energies, moved in self._moves(energy, start, low, high, search.generator):
            best = lowest(best, (here, energies))
            if until.passed():
                return search.solution(energy, *joined(best, (here, energies)))
            actions = moved
        actions = torch.cat((best[0], actions), dim=1)
        return search.solution(energy, *descend(energy, actions, low, high, self.polish, until))

    def chain(
        self,
        energy: Energy,
        actions: Tensor,
        low: Tensor,
        high: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Run chains from `actions`; see `Chains.chain`."""
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
        """Yield for each step: the actions before it, their energies, and the actions after it."""
        half = (high - low) / 2
        for size, noise in self._steps():
            energies, slope = value_and_gradient(energy, actions)
            change = size / 2 * half * slope + noise * normal(actions, generator)
            change = change.clamp(-self.step_clip, self.step_clip)
            moved = clip(actions - half * change, low, high)
            yield actions, energies, moved
            actions = moved

    def _steps(self) -> Iterator[tuple[float, float]]:
        """Yield the step size and the standard deviation of the noise for each step."""
        count = self.iterations
        for k in range(count):
            if self.schedule == "polynomial":
                left = (1 - k / max(1, count - 1)) ** self.exponent
                size = (self.step_size - self.final_step_size) * left + self.final_step_size
                yield size, size * self.noise_scale
            else:
                size = self.step_size * ((k + 1) / count) ** -self.gamma
                yield size, self.noise_scale * (2 * size) ** 0.5
