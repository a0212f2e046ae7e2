"""Modes: the separate minimisers of an energy and their probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, evaluate, local_minima, normal, take
from ebm_policy_ros.inference.refinement import cross_entropy

# Number of points on the straight line between two minimisers at which the energy is evaluated.
_WAY_POINTS = 31
_REFINE_SAMPLES, _REFINE_ROUNDS = 64, 8
_MASS_SAMPLES, _MASS_ROUNDS = 128, 5


@dataclass(frozen=True)
class Modes:
    """Separate minimisers, lowest first; a row may have fewer than M modes."""

    actions: Tensor
    """Actions of the modes, shape (B, M, D)."""
    energies: Tensor
    """Energies of the modes, shape (B, M); infinite where there is no such mode."""
    probability: Tensor
    """Probability mass of exp(-E / temperature) around each mode, shape (B, M); 0 where there is
    no such mode."""
    spread: Tensor
    """Standard deviation of exp(-E / temperature) around each mode, shape (B, M, D)."""
    samples: Tensor
    """Candidates around all modes, shape (B, S, D)."""
    weights: Tensor
    """Probabilities of the candidates under exp(-E / temperature), shape (B, S)."""

    @property
    def count(self) -> Tensor:
        """Number of modes of each row, shape (B,)."""
        return torch.isfinite(self.energies).sum(dim=1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw from exp(-E / temperature) around the modes, shape (B, D)."""
        index = torch.multinomial(self.weights, 1, generator=generator)
        return take(self.samples, index)[:, 0]


def find_modes(
    energy: Energy,
    actions: Tensor,
    energies: Tensor,
    low: Tensor,
    high: Tensor,
    *,
    limit: int = 8,
    separation: float = 0.1,
    barrier: float = 1.0,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Modes:
    """Find the separate minimisers near candidates, row by row.

    Candidates with no lower candidate near them are refined without gradients. Two minimisers are
    one mode unless the energy on the straight line between them rises by a barrier above both. The
    mass of exp(-E / temperature) around each mode is estimated by importance sampling with an
    adaptive Gaussian (Cappé et al. 2004, Population Monte Carlo).

    Args:
        energy: Function from candidates (B, N, D) to energies (B, N).
        actions: Candidates from a search, shape (B, N, D).
        energies: Energies of the candidates, shape (B, N).
        low: Lower corner of the box, shape (D,).
        high: Upper corner of the box, shape (D,).
        limit: Maximum number of modes in a row.
        separation: Largest difference in every dimension between near candidates, in half-widths
            of the box.
        barrier: Minimum rise of the energy between two modes, in units of the temperature.
        temperature: Temperature of the probabilities.
        generator: Source of randomness.

    Raises:
        ValueError: If a setting is out of range.
    """
    if limit < 1:
        raise ValueError(f"limit: got {limit}, expected an integer >= 1")
    for name, value in (
        ("separation", separation), ("barrier", barrier), ("temperature", temperature)
    ):  # fmt: skip
        if not 0 < value < math.inf:
            raise ValueError(f"{name}: got {value}, expected a number > 0")
    half = (high - low) / 2
    # Twice the limit: some of these minima will belong to the same mode.
    index = local_minima(actions, energies, 2 * limit, separation, half)
    refined, values = cross_entropy(
        energy,
        take(actions, index),
        low,
        high,
        samples=_REFINE_SAMPLES,
        rounds=_REFINE_ROUNDS,
        scale=separation / 2,
        generator=generator,
    )
    values, order = values[:, :, 0].sort(dim=1)
    places = take(refined[:, :, 0], order)
    kept = _apart(energy, places, values, barrier * temperature) & torch.isfinite(values)
    chosen = (~kept).to(torch.uint8).argsort(dim=1, stable=True)[:, :limit]
    places, kept = take(places, chosen), kept.gather(1, chosen)
    values = values.gather(1, chosen).masked_fill(~kept, float("inf"))
    spread, samples, log_weights = _mass(
        energy, places, values, low, high, separation, temperature, generator
    )
    weights = torch.nan_to_num(log_weights.flatten(1).softmax(dim=1))
    probability = weights.reshape(log_weights.shape).sum(dim=2)
    return Modes(places, values, probability, spread, samples.flatten(1, 2), weights)


def _apart(energy: Energy, places: Tensor, values: Tensor, barrier: float) -> Tensor:
    """Mask, (B, M), of the minima, (B, M, D) sorted by energy, not in the mode of a lower one."""
    count = places.shape[1]
    fractions = torch.arange(1, _WAY_POINTS + 1, device=places.device) / (_WAY_POINTS + 1)
    way = torch.lerp(
        places[:, :, None, None],
        places[:, None, :, None],
        fractions.to(places.dtype)[:, None],
    )
    heights = evaluate(energy, way)
    higher = torch.maximum(values[:, :, None], values[:, None, :])
    separate = heights.amax(dim=3) - higher > barrier
    kept = torch.ones_like(values, dtype=torch.bool)
    for i in range(1, count):
        kept[:, i] = (separate[:, i, :i] | ~kept[:, :i]).all(dim=1)
    return kept


def _mass(
    energy: Energy,
    places: Tensor,
    values: Tensor,
    low: Tensor,
    high: Tensor,
    separation: float,
    temperature: float,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Spread of exp(-E / temperature) around each mode, samples around it and their log weights.

    Returns:
        Spread, shape (B, M, D), samples, shape (B, M, S, D), and log weights, shape (B, M, S).
    """
    missing = torch.isinf(values)
    half = (high - low) / 2
    wide = half > 0
    half = half.where(wide, torch.ones_like(half))
    # A dimension without width is not sampled and does not contribute to the weights.
    scale = (separation / 2 * half * wide).expand_as(places).clone()
    shape = (*places.shape[:2], _MASS_SAMPLES, places.shape[2])
    for _ in range(_MASS_ROUNDS):
        noise = normal(places[:, :, None].expand(shape), generator) * wide
        samples = places[:, :, None] + scale[:, :, None] * noise
        heights = evaluate(energy, samples)
        log_weights = -heights / temperature + noise.square().sum(dim=3) / 2
        log_scale = scale.where(wide, torch.ones_like(scale)).log()
        log_weights = log_weights + log_scale.sum(dim=2, keepdim=True)
        outside = ((samples < low) | (samples > high)).any(dim=3)
        elsewhere = outside | ~_nearest(places, samples, half, missing)
        log_weights = log_weights.masked_fill(elsewhere | missing[..., None], -float("inf"))
        # Normalised per mode: in a common softmax, modes of much higher energy would underflow.
        weights = torch.nan_to_num(log_weights.softmax(dim=2))
        spread = (weights[..., None] * (samples - places[:, :, None]).square()).sum(dim=2).sqrt()
        scale = torch.minimum(torch.maximum(spread, scale / 4), 2 * scale)
    return spread, samples, log_weights


def _nearest(places: Tensor, samples: Tensor, half: Tensor, missing: Tensor) -> Tensor:
    """Mask, (B, M, S), of the samples, (B, M, S, D), whose nearest mode is that of their draw."""
    count = places.shape[1]
    distance = torch.cdist((samples / half).flatten(1, 2), places / half)
    distance = distance.masked_fill(missing[:, None], float("inf"))
    owner = distance.argmin(dim=2).reshape(samples.shape[:3])
    return owner == torch.arange(count, device=places.device)[:, None]
