"""Derivative-free minimisation of an energy over actions (Florence et al. 2021, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import (
    Energy,
    check_box,
    clip,
    evaluate,
    first_candidates,
    local_minima,
    normal,
    resample,
    take,
)
from ebm_policy_ros.inference.deadline import Deadline
from ebm_policy_ros.inference.refinement import cross_entropy, descend
from ebm_policy_ros.inference.settings import at_least, at_most, positive
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.util.bounds import MOST_PLACES, MOST_ROUNDS, MOST_SAMPLES

# Candidates nearer to each other than this, in half-widths of the box, lead to one minimum.
SEPARATION = 0.1
# Of candidates that a rough energy chose, one in so many is evaluated exactly.
_RESCORED_SHARE = 4


@dataclass(frozen=True)
class DerivativeFree:
    """Samples the box, then repeats: resample by exp(-E), perturb, evaluate.

    The best candidate of all is kept in the population, so the lowest energy never rises, and
    the result is the exact minimum over candidates whose energy was evaluated.
    """

    samples: int = 16384
    """Candidates at a time."""
    iterations: int = 3
    """Rounds of resampling and perturbing after the first, uniform candidates."""
    noise_scale: float = 0.33
    """Standard deviation of the first perturbation, in half-widths of the box."""
    noise_shrink: float = 0.5
    """Factor on the perturbation from one round to the next."""
    temperature: float = 1.0
    """Of the resampling weights exp(-E / temperature)."""
    refine: int = 0
    """Rounds of refinement (cross-entropy method); 0 for none."""
    refine_samples: int = 128
    """Candidates of each refined place in such a round."""
    places: int = 4
    """How many of the lowest local minima among the candidates are refined or polished."""
    polish: int = 0
    """Steps down the gradient from those places at the end; 0 for none."""

    def __post_init__(self) -> None:
        at_least(self, 2, "samples", largest=MOST_SAMPLES)
        at_least(self, 0, "iterations", "refine", "polish", largest=MOST_ROUNDS)
        at_least(self, 1, "places", largest=MOST_PLACES)
        at_least(self, 4, "refine_samples", largest=MOST_SAMPLES)
        positive(self, "noise_scale", "noise_shrink", "temperature")
        at_most(self, 1, "noise_shrink")

    @property
    def evaluated(self) -> tuple[int, int]:
        """Candidates of the largest evaluation: of energies alone, and with their slopes."""
        refined = self.places * self.refine_samples if self.refine else 0
        return max(self.samples, refined), self.places if self.polish else 0

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
        """The action of lowest energy in the box, for each row of the batch on its own.

        Args:
            energy: Candidates (B, N, D) to energies (B, N).
            low: Lower corner of the box, shape (D,); gives the device and the precision.
            high: Upper corner of the box, shape (D,).
            batch: Rows B.
            generator: Source of randomness, on the device of `low`.
            starts: Candidates to begin from, shape (B, M, D), in place of the first M drawn; the
                result is never worse than the best of them.
            deadline: When to return the best so far, in seconds of `time.perf_counter`; looked at
                between rounds, after the first evaluation.
            low_precision: A cheaper energy, nearly the same, to choose by where to look. At the
                end the lowest quarter of the candidates and all starts are evaluated anew, and the
                result is the exact minimum over these.

        Raises:
            ValueError: If the corners don't make a box, energies or starts have the wrong shape,
                or there is no gradient to polish with.
        """
        check_box(low, high)
        half_width = (high - low) / 2
        noise = self.noise_scale * half_width
        until = Deadline(deadline, low.device)
        actions = first_candidates(batch, self.samples, low, high, generator, starts)
        cheap = low_precision or energy
        energies = evaluate(cheap, actions)
        begun = actions[:, : 0 if starts is None else starts.shape[1]]
        for _ in range(self.iterations):
            if until.passed():
                break
            best = take(actions, energies.argmin(dim=1, keepdim=True))
            actions = take(actions, resample(energies / self.temperature, generator))
            actions = clip(actions + noise * normal(actions, generator), low, high)
            actions = torch.cat((best, actions[:, 1:]), dim=1)
            energies = evaluate(cheap, actions)
            noise = noise * self.noise_shrink
        if low_precision is not None:
            # It may have preferred another one to the best start.
            actions, energies = _rescored(energy, begun, actions, energies)
        if (self.refine or self.polish) and not until.passed():
            actions, energies = self._improve(
                energy, actions, energies, low, high, generator, until
            )
        return Solution.of(actions, energies, energy, low, high, until.complete)

    def _improve(
        self,
        energy: Energy,
        actions: Tensor,
        energies: Tensor,
        low: Tensor,
        high: Tensor,
        generator: torch.Generator | None,
        until: Deadline,
    ) -> tuple[Tensor, Tensor]:
        """The candidates, and before them what refinement and descent made of the best places."""
        index = local_minima(actions, energies, self.places, SEPARATION, (high - low) / 2)
        places = take(actions, index)
        if self.refine:
            refined, values = cross_entropy(
                energy,
                places,
                low,
                high,
                samples=self.refine_samples,
                rounds=self.refine,
                scale=SEPARATION / 2,
                generator=generator,
                until=until,
            )
            places = refined[:, :, 0]
            # What was not refined may still lead to further modes.
            actions = torch.cat((refined.flatten(1, 2), actions), dim=1)
            energies = torch.cat((values.flatten(1), energies), dim=1)
        if self.polish and not until.passed():
            polished, values = descend(energy, places, low, high, self.polish, until)
            actions = torch.cat((polished, actions), dim=1)
            energies = torch.cat((values, energies), dim=1)
        return actions, energies


def _rescored(
    energy: Energy, first: Tensor, actions: Tensor, energies: Tensor
) -> tuple[Tensor, Tensor]:
    """Candidates whose energies are rough, the lowest of them with exact ones.

    Args:
        energy: The exact energy, (B, N, D) to (B, N).
        first: Candidates to evaluate in any case, shape (B, M, D).
        actions: Shape (B, N, D).
        energies: Rough ones, shape (B, N).

    Returns:
        Shapes (B, N, D) and (B, N), or a few more: the highest make room for the M, but not the
        lowest quarter. What was not evaluated counts as higher than the lowest of what was.
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
