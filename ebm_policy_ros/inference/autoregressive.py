"""Minimisation of one energy per dimension (Florence et al. 2021, appendix B.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_policy_ros.inference.ancestral import draw_ancestral
from ebm_policy_ros.inference.candidates import (
    Energy,
    check_box,
    clip,
    evaluate,
    fit_starts,
    local_minima,
    normal,
    resample,
    take,
    uniform,
)
from ebm_policy_ros.inference.deadline import Deadline
from ebm_policy_ros.inference.derivative_free import SEPARATION
from ebm_policy_ros.inference.settings import at_least, at_most, positive
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.util.bounds import MOST_PLACES, MOST_ROUNDS, MOST_SAMPLES

CHUNK = 1024
"""Candidates whose joint energy is computed at a time."""
GRID = 129
"""Values in each dimension that a joint energy normalises over: a grid and the action's own."""
# Candidates that may be compared besides those refined.
_STARTS = 16


@dataclass(frozen=True)
class AutoregressiveDerivativeFree:
    """Searches dimension by dimension, each with an energy of its own.

    E_j(a_1..a_j) says how well a_j fits what comes before it. In every round and for every
    dimension j: perturb a_j alone, evaluate E_j, resample. A dimension is then a search on a
    line, however many there are. At the end the lowest local minima are refined along
    the chain, and compared by the energy of the whole action (`JointEnergy`). Resampling goes by
    the conditional energies as they are, as in the paper: a number in E_j that depends on the
    prefix alone and outweighs the energies themselves misleads it.
    """

    samples: int = 1024
    """Candidates at a time."""
    iterations: int = 3
    """Rounds through all dimensions; the first draws from the whole box."""
    noise_scale: float = 0.33
    """Standard deviation of the first perturbation, in half-widths of the box."""
    noise_shrink: float = 0.5
    """Factor on the perturbation from one round to the next."""
    temperature: float = 1.0
    """Of the resampling weights exp(-E_j / temperature)."""
    places: int = 16
    """How many of the lowest local minima among the candidates are refined and compared."""
    refine: int = 3
    """Rounds of refinement of each dimension."""

    def __post_init__(self) -> None:
        at_least(self, 2, "samples", largest=MOST_SAMPLES)
        at_least(self, 1, "iterations", largest=MOST_ROUNDS)
        at_least(self, 1, "places", largest=MOST_PLACES)
        at_least(self, 0, "refine", largest=MOST_ROUNDS)
        positive(self, "noise_scale", "noise_shrink", "temperature")
        at_most(self, 1, "noise_shrink")

    @property
    def evaluated(self) -> tuple[int, int]:
        """Candidates of the largest evaluation: of energies alone, and with their slopes."""
        return max(self.samples + 8 * self.places, GRID * (self.places + _STARTS)), 0

    def minimize(
        self,
        energy: Sequence[Energy],
        low: Tensor,
        high: Tensor,
        batch: int = 1,
        generator: torch.Generator | None = None,
        starts: Tensor | None = None,
        deadline: float | None = None,
        low_precision: Sequence[Energy] | None = None,
    ) -> Solution:
        """The most probable action in the box, for each row of the batch on its own.

        Args:
            energy: For each dimension j, prefixes (B, N, j+1) to energies (B, N).
            low: Lower corner of the box, shape (D,); gives the device and the precision.
            high: Upper corner of the box, shape (D,).
            batch: Rows B.
            generator: Source of randomness, on the device of `low`.
            starts: Candidates to begin from, shape (B, M, D), in place of the first M drawn; they
                are compared at the end too, so the result is never worse than the best of them.
            deadline: When to return the best so far, in seconds of `time.perf_counter`; looked at
                between dimensions, after the first round. Comparing the last candidates comes
                after it.
            low_precision: Cheaper energies, nearly the same, for all rounds before the refinement.

        Raises:
            ValueError: If the corners don't make a box, energies or starts have the wrong shape,
                or there is not one energy for each dimension.
        """
        check_box(low, high)
        energies = _one_each(energy, low.shape[0])
        until = Deadline(deadline, low.device)
        kept = low.new_empty(batch, 0, low.shape[0])
        if starts is not None:
            kept = fit_starts(starts, batch, self.samples, low, high)
        half_width = (high - low) / 2
        cheap_energies = (
            energies if low_precision is None else _one_each(low_precision, low.shape[0])
        )
        actions = self._search(cheap_energies, kept, low, high, batch, generator, until)
        total = torch.stack(
            [evaluate(part, actions[..., : j + 1]) for j, part in enumerate(cheap_energies)]
        ).sum(dim=0)
        index = local_minima(actions, total, self.places, SEPARATION, half_width)
        actions = self._refine(energies, take(actions, index), low, high, generator, until)
        actions = torch.cat((actions, kept), dim=1)
        joint = JointEnergy(energies, low, high, self.temperature)
        values = evaluate(joint, actions)
        return Solution.of(actions, values, joint, low, high, until.complete)

    def _search(
        self,
        energies: Sequence[Energy],
        starts: Tensor,
        low: Tensor,
        high: Tensor,
        batch: int,
        generator: torch.Generator | None,
        until: Deadline,
    ) -> Tensor:
        """The candidates, shape (B, N, D), after all rounds through all dimensions."""
        noise = self.noise_scale * (high - low) / 2
        actions = low.new_empty(batch, self.samples, 0)
        for i in range(self.iterations):
            for j, part in enumerate(energies):
                if i and until.passed():
                    return actions
                if i == 0:
                    # Drawn here and not before: resampling would copy values not yet judged.
                    drawn = uniform(
                        batch, self.samples, low[j : j + 1], high[j : j + 1], generator
                    )
                    actions = torch.cat((actions, drawn), dim=2)
                    # Resampling moves rows: the starts take the first ones again.
                    begun = starts[..., : j + 1]
                    actions = torch.cat((begun, actions[:, begun.shape[1] :]), dim=1)
                else:
                    actions = actions.clone()
                    column = actions[..., j]
                    moved = column + noise[j] * normal(column, generator)
                    actions[..., j] = clip(moved, low[j], high[j])
                values = evaluate(part, actions[..., : j + 1])
                actions = take(actions, resample(values / self.temperature, generator))
            noise = noise * self.noise_shrink if i else noise
        return actions

    def _refine(
        self,
        energies: Sequence[Energy],
        actions: Tensor,
        low: Tensor,
        high: Tensor,
        generator: torch.Generator | None,
        until: Deadline,
    ) -> Tensor:
        """Each candidate, shape (B, M, D), with its dimensions moved to their minima in turn."""
        samples = max(8, self.samples // actions.shape[1])
        first = self.noise_scale * self.noise_shrink ** max(0, self.iterations - 2)
        for j, part in enumerate(energies):
            scale = first * (high[j] - low[j]) / 2
            for _ in range(self.refine):
                if until.passed():
                    return actions
                prefixes = actions[:, :, None, : j + 1].repeat(1, 1, samples, 1)
                moves = scale * normal(prefixes[:, :, 1:, j], generator)
                prefixes[:, :, 1:, j] = clip(prefixes[:, :, 1:, j] + moves, low[j], high[j])
                values = evaluate(part, prefixes)
                lowest = values.argmin(dim=2)
                actions = actions.clone()
                actions[..., j] = prefixes[..., j].gather(2, lowest[..., None])[..., 0]
                # The lowest of n draws is this close; twice that leaves room.
                scale = scale * 4 / samples
        return actions


@dataclass(frozen=True)
class JointEnergy:
    """The energy of whole actions that a chain of conditional energies amounts to.

    Conditional energies are learned up to a number that depends on the prefix, so their sum
    doesn't compare actions with different prefixes. Each is normalised, as InfoNCE does in
    training, over the action's own value and an even grid: the result is
    -T sum_j log p(a_j | a_1..a_{j-1}), for p that goes by exp(-E_j / T).
    """

    energies: Sequence[Energy]
    """For each dimension j, prefixes (B, N, j+1) to energies (B, N)."""
    low: Tensor
    """Lower corner of the box, shape (D,)."""
    high: Tensor
    """Upper corner."""
    temperature: float = 1.0
    """T, that the energies were trained with."""
    points: int = GRID - 1
    """Of the grid along each dimension."""

    def __call__(self, actions: Tensor) -> Tensor:
        """Candidates (B, N, D) to energies (B, N)."""
        # In parts: each candidate takes a whole grid.
        parts = actions.split(CHUNK, dim=1)  # type: ignore[no-untyped-call]
        return torch.cat([self._together(part) for part in parts], dim=1)

    def sample(self, batch: int, temperature: float, generator: torch.Generator | None) -> Tensor:
        """A draw for each of B rows, value by value, shape (B, D); see `draw_ancestral`."""
        return draw_ancestral(self.energies, self.low, self.high, batch, temperature, generator)

    def _together(self, actions: Tensor) -> Tensor:
        low, high, temperature, points = self.low, self.high, self.temperature, self.points
        fractions = (torch.arange(points, device=low.device, dtype=low.dtype) + 0.5) / points
        total = torch.zeros_like(actions[..., 0])
        for j, part in enumerate(self.energies):
            prefixes = actions[:, :, None, : j + 1].repeat(1, 1, points + 1, 1)
            prefixes[:, :, 1:, j] = low[j] + (high[j] - low[j]) * fractions
            values = evaluate(part, prefixes)
            total = total + values[..., 0]
            total = total + temperature * torch.logsumexp(-values / temperature, dim=2)
        return total - temperature * len(self.energies) * math.log(points + 1)


def _one_each(energy: Sequence[Energy], size: int) -> Sequence[Energy]:
    if callable(energy):
        raise ValueError(
            f"energy: got one energy of whole actions, expected a sequence of {size}, one for "
            "each dimension; use DerivativeFree, or train an autoregressive model"
        )
    if len(energy) != size:
        raise ValueError(f"energy: got {len(energy)} energies, expected one for each of {size}")
    return energy
