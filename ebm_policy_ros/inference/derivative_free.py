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

# Candidates closer to each other than this, in half-widths of the box, lead to the same minimum.
SEPARATION = 0.1
# One in this many of the candidates chosen with the low-precision energy is evaluated exactly.
_RESCORED_SHARE = 4


@dataclass(frozen=True)
class DerivativeFree:
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
        """Largest number of candidates in one evaluation: without and with gradients."""
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
        """Find the action of lowest energy in the box, for each row of the batch separately.

        Args:
            energy: Function from candidates (B, N, D) to energies (B, N).
            low: Lower corner of the box, shape (D,). It determines device and precision.
            high: Upper corner of the box, shape (D,).
            batch: Number of rows B.
            generator: Source of randomness, on the device of `low`.
            starts: Initial candidates, shape (B, M, D), which replace the first M drawn ones. The
                result is never worse than the best of them.
            deadline: Time at which to return the best action so far, in seconds of
                `time.perf_counter`. It is checked between rounds, after the first evaluation.
            low_precision: Low-precision energy, cheaper and nearly equal, which guides the search.
                At the end the lowest quarter of the candidates and all starts are evaluated with
                `energy`, and the result is the exact minimum over these.

        Raises:
            ValueError: If the corners do not form a box, energies or starts have the wrong shape,
                or the energy has no gradient for the polish.
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
            # The low-precision energy may have preferred another candidate to the best start.
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
        """Refine and polish the lowest local minima; prepend the results to the candidates."""
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
            # Keep the other candidates: they may lead to further modes.
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
