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
    clip,
    evaluate,
    local_minima,
    normal,
    resample,
    take,
    uniform,
)
from ebm_policy_ros.inference.derivative_free import SEPARATION
from ebm_policy_ros.inference.minimizer import Minimizer, Search
from ebm_policy_ros.inference.settings import at_least, at_most, positive
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.util.bounds import MOST_PLACES, MOST_ROUNDS, MOST_SAMPLES

CHUNK = 1024
"""Number of candidates whose joint energy is computed at a time."""
GRID = 129
"""Number of values per dimension over which a joint energy is normalised: a grid, and the value of
the action."""
# Number of further candidates that may be compared besides the refined ones.
_STARTS = 16


@dataclass(frozen=True)
class AutoregressiveDerivativeFree(Minimizer[Sequence[Energy]]):
    """Derivative-free search, dimension by dimension, with one energy per dimension.

    E_j(a_1..a_j) is low if a_j fits the values a_1..a_{j-1} before it. In every round and for
    every dimension j: perturb only a_j, evaluate E_j, resample. So each dimension is a search on a
    line, for any number of dimensions. At the end the lowest local minima are refined dimension by
    dimension, and compared by the energy of the whole action (`JointEnergy`). As in the paper,
    resampling uses the conditional energies without normalisation: a term in E_j that depends only
    on the prefix and is larger than the energies themselves misleads it.
    """

    samples: int = 1024
    """Number of candidates."""
    iterations: int = 3
    """Number of rounds through all dimensions; the first round draws from the whole box."""
    noise_scale: float = 0.33
    """Standard deviation of the first perturbation, in half-widths of the box."""
    noise_shrink: float = 0.5
    """Factor on the perturbation from one round to the next."""
    temperature: float = 1.0
    """Temperature of the resampling weights exp(-E_j / temperature)."""
    places: int = 16
    """Number of lowest local minima among the candidates that are refined and compared."""
    refine: int = 3
    """Number of refinement rounds of each dimension."""

    def __post_init__(self) -> None:
        at_least(self, 2, "samples", largest=MOST_SAMPLES)
        at_least(self, 1, "iterations", largest=MOST_ROUNDS)
        at_least(self, 1, "places", largest=MOST_PLACES)
        at_least(self, 0, "refine", largest=MOST_ROUNDS)
        positive(self, "noise_scale", "noise_shrink", "temperature")
        at_most(self, 1, "noise_shrink")

    @property
    def evaluated(self) -> tuple[int, int]:
        return max(self.samples + 8 * self.places, GRID * (self.places + _STARTS)), 0

    def run(self, search: Search[Sequence[Energy]]) -> Solution:
        """Run all rounds, then refine and compare by the energy of whole actions.

        The low-precision energies are for all rounds before the refinement. The starts are
        compared at the end too, and the last candidates also after the deadline.
        """
        size = search.low.shape[0]
        energies, cheap = _one_each(search.energy, size), _one_each(search.cheap, size)
        kept = search.clipped_starts(self.samples)
        actions = self._search(search, kept)
        total = torch.stack(
            [evaluate(part, actions[..., : j + 1]) for j, part in enumerate(cheap)]
        ).sum(dim=0)
        index = local_minima(actions, total, self.places, SEPARATION, search.half_width)
        actions = self._refine(search, take(actions, index))
        actions = torch.cat((actions, kept), dim=1)
        joint = JointEnergy(energies, search.low, search.high, self.temperature)
        return search.solution(joint, actions, evaluate(joint, actions))

    def _search(self, search: Search[Sequence[Energy]], starts: Tensor) -> Tensor:
        """Run all rounds through all dimensions; return the candidates, shape (B, N, D)."""
        low, high, generator = search.low, search.high, search.generator
        noise = self.noise_scale * (high - low) / 2
        actions = low.new_empty(search.batch, self.samples, 0)
        for i in range(self.iterations):
            for j, part in enumerate(search.cheap):
                if i and search.until.passed():
                    return actions
                if i == 0:
                    # Drawn now: resampling would copy values that no energy has evaluated yet.
                    edges = low[j : j + 1], high[j : j + 1]
                    drawn = uniform(search.batch, self.samples, *edges, generator)
                    actions = torch.cat((actions, drawn), dim=2)
                    # Resampling moves candidates: put the starts first again.
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

    def _refine(self, search: Search[Sequence[Energy]], actions: Tensor) -> Tensor:
        """Move each candidate, shape (B, M, D), to the minimum of each dimension in turn."""
        low, high = search.low, search.high
        samples = max(8, self.samples // actions.shape[1])
        first = self.noise_scale * self.noise_shrink ** max(0, self.iterations - 2)
        for j, part in enumerate(search.energy):
            scale = first * (high[j] - low[j]) / 2
            for _ in range(self.refine):
                if search.until.passed():
                    return actions
                prefixes = actions[:, :, None, : j + 1].repeat(1, 1, samples, 1)
                moves = scale * normal(prefixes[:, :, 1:, j], search.generator)
                prefixes[:, :, 1:, j] = clip(prefixes[:, :, 1:, j] + moves, low[j], high[j])
                values = evaluate(part, prefixes)
                lowest = values.argmin(dim=2)
                actions = actions.clone()
                actions[..., j] = prefixes[..., j].gather(2, lowest[..., None])[..., 0]
                # The distance of the lowest of n draws to the minimum is about 2 / n of the scale;
                # twice that is the next scale.
                scale = scale * 4 / samples
        return actions


@dataclass(frozen=True)
class JointEnergy:
    """Energy of whole actions, computed from one conditional energy per dimension.

    Training determines a conditional energy only up to a term that depends on the prefix, so the
    sum of the energies cannot compare actions with different prefixes. Each energy is normalised,
    as InfoNCE does in training, over the value of the action and an even grid. The result is
    -T sum_j log p(a_j | a_1..a_{j-1}), with p proportional to exp(-E_j / T).
    """

    energies: Sequence[Energy]
    """For each dimension j, a function from prefixes (B, N, j+1) to energies (B, N)."""
    low: Tensor
    """Lower corner of the box, shape (D,)."""
    high: Tensor
    """Upper corner of the box, shape (D,)."""
    temperature: float = 1.0
    """Temperature T with which the energies were trained."""
    points: int = GRID - 1
    """Number of grid points along each dimension."""

    def __call__(self, actions: Tensor) -> Tensor:
        """Compute energies (B, N) of candidates (B, N, D)."""
        # In parts, to limit memory: each candidate needs a whole grid.
        parts = actions.split(CHUNK, dim=1)  # type: ignore[no-untyped-call]
        return torch.cat([self._together(part) for part in parts], dim=1)

    def sample(self, batch: int, temperature: float, generator: torch.Generator | None) -> Tensor:
        """Draw an action for each of B rows, value by value, (B, D); see `draw_ancestral`."""
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
