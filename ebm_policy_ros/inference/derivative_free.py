"""Derivative-free minimisation of an energy over actions (Florence et al. 2021, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import (
    Energy,
    clip,
    evaluate,
    local_minima,
    normal,
    resample,
    take,
)
from ebm_policy_ros.inference.minimizer import Minimizer, Search
from ebm_policy_ros.inference.refinement import cross_entropy, descend
from ebm_policy_ros.inference.settings import at_least, at_most, positive
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.util.bounds import MOST_PLACES, MOST_ROUNDS, MOST_SAMPLES

# Candidates closer to each other than this, in half-widths of the box, lead to the same minimum.
SEPARATION = 0.1
# One in this many of the candidates chosen with the low-precision energy is evaluated exactly.
_RESCORED_SHARE = 4


@dataclass(frozen=True)
class DerivativeFree(Minimizer[Energy]):
    """Derivative-free search: sample the box, then repeatedly resample by exp(-E) and perturb.

    The best candidate so far stays in the population. So the lowest energy never increases, and
    the result is the exact minimum over all candidates whose energy was evaluated.
    """

    samples: int = 16384
    """Number of candidates."""
    iterations: int = 3
    """Number of rounds of resampling and perturbation after the initial uniform candidates."""
    noise_scale: float = 0.33
    """Standard deviation of the first perturbation, in half-widths of the box."""
    noise_shrink: float = 0.5
    """Factor on the perturbation from one round to the next."""
    temperature: float = 1.0
    """Temperature of the resampling weights exp(-E / temperature)."""
    refine: int = 0
    """Number of refinement rounds (cross-entropy method); 0 for none."""
    refine_samples: int = 128
    """Number of candidates for each refined local minimum in a refinement round."""
    places: int = 4
    """Number of lowest local minima among the candidates that are refined or polished."""
    polish: int = 0
    """Number of gradient descent steps from these minima at the end; 0 for none."""

    def __post_init__(self) -> None:
        at_least(self, 2, "samples", largest=MOST_SAMPLES)
        at_least(self, 0, "iterations", "refine", "polish", largest=MOST_ROUNDS)
        at_least(self, 1, "places", largest=MOST_PLACES)
        at_least(self, 4, "refine_samples", largest=MOST_SAMPLES)
        positive(self, "noise_scale", "noise_shrink", "temperature")
        at_most(self, 1, "noise_shrink")

    @property
    def evaluated(self) -> tuple[int, int]:
        refined = self.places * self.refine_samples if self.refine else 0
        return max(self.samples, refined), self.places if self.polish else 0

    @property
    def evaluations(self) -> tuple[int, int]:
        refined = self.refine * self.places * self.refine_samples
        polished = self.places * (self.polish + 1) if self.polish else 0
        return self.samples * (self.iterations + 1) + refined, polished

    def run(self, search: Search[Energy]) -> Solution:
        """Resample and perturb, then refine and polish.

        With a low-precision energy, the lowest quarter of the candidates and all starts are
        evaluated exactly at the end, and the result is the exact minimum over these.
        """
        noise = self.noise_scale * search.half_width
        actions = search.first_candidates(self.samples)
        energies = evaluate(search.cheap, actions)
        for _ in range(self.iterations):
            if search.until.passed():
                break
            best = take(actions, energies.argmin(dim=1, keepdim=True))
            actions = take(actions, resample(energies / self.temperature, search.generator))
            moved = actions + noise * normal(actions, search.generator)
            moved = clip(moved, search.low, search.high)
            actions = torch.cat((best, moved[:, 1:]), dim=1)
            energies = evaluate(search.cheap, actions)
            noise = noise * self.noise_shrink
        if search.low_precision is not None:
            # The low-precision energy may have preferred another candidate to the best start.
            begun = search.clipped_starts(self.samples)
            actions, energies = _rescored(search.energy, begun, actions, energies)
        if (self.refine or self.polish) and not search.until.passed():
            actions, energies = self._improve(search, actions, energies)
        return search.solution(search.energy, actions, energies)

    def _improve(
        self, search: Search[Energy], actions: Tensor, energies: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Refine and polish the lowest local minima; prepend the results to the candidates."""
        index = local_minima(actions, energies, self.places, SEPARATION, search.half_width)
        places = take(actions, index)
        if self.refine:
            refined, values = cross_entropy(
                search.energy,
                places,
                search.low,
                search.high,
                samples=self.refine_samples,
                rounds=self.refine,
                scale=SEPARATION / 2,
                generator=search.generator,
                until=search.until,
            )
            places = refined[:, :, 0]
            # Keep the other candidates: they may lead to further modes.
            actions = torch.cat((refined.flatten(1, 2), actions), dim=1)
            energies = torch.cat((values.flatten(1), energies), dim=1)
        if self.polish and not search.until.passed():
            polished, values = descend(
                search.energy, places, search.low, search.high, self.polish, search.until
            )
            actions = torch.cat((polished, actions), dim=1)
            energies = torch.cat((values, energies), dim=1)
        return actions, energies


def _rescored(
    energy: Energy, first: Tensor, actions: Tensor, energies: Tensor
) -> tuple[Tensor, Tensor]:
    """Evaluate exactly the lowest of candidates with low-precision energies.

    Args:
        energy: Exact energy, from candidates (B, N, D) to energies (B, N).
        first: Candidates to evaluate in any case, shape (B, M, D).
        actions: Candidates, shape (B, N, D).
        energies: Low-precision energies, shape (B, N).

    Returns:
        Candidates, shape (B, N, D), and energies, shape (B, N), with possibly a few more
        candidates. The M first candidates replace the highest ones, but not the lowest quarter.
        Low-precision energies are raised above the lowest exact energy where necessary.
    """
    count = -(-actions.shape[1] // _RESCORED_SHARE)
    kept = max(count, actions.shape[1] - first.shape[1])
    order = energies.argsort(dim=1)[:, :kept]
    actions, energies = take(actions, order), energies.gather(1, order)
    exact = evaluate(energy, torch.cat((first, actions[:, :count]), dim=1))
    lowest = exact.amin(dim=1, keepdim=True)
    above = torch.nextafter(lowest, torch.full_like(lowest, torch.inf))
    rest = torch.maximum(energies[:, count:], above)
    return torch.cat((first, actions), dim=1), torch.cat((exact, rest), dim=1)
