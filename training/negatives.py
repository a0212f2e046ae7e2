"""Counter-examples: the actions whose energy training raises."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, uniform
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.inference.settings import at_least, not_negative, one_of

Source = Literal["uniform", "chain", "mixed", "hard"]


@dataclass(frozen=True)
class NegativesConfig:
    """Counter-examples of each frame."""

    source: Source = "uniform"
    """uniform: drawn evenly from the action box; chain: where Langevin chains through the energy
    learned so far end; mixed: half of each; hard: those of lowest energy in a larger pool."""
    count: int = 64
    """How many."""
    pool: int = 1024
    """Uniform candidates that the hard ones are taken from."""
    mask_radius: float = 0.0
    """Leave out counter-examples that differ from the demonstrated action by less in every
    dimension, in half-widths of the box: near-duplicates, which are no mistakes."""
    chain: Langevin = field(default_factory=lambda: Langevin(iterations=50, polish=0))
    """The chains (samples has no meaning here); inference takes about twice the iterations."""

    def __post_init__(self) -> None:
        one_of(self, "source", get_args(Source))
        at_least(self, 1, "count", "pool")
        not_negative(self, "mask_radius")
        if self.source == "hard" and self.pool <= self.count:
            raise ValueError(f"pool: got {self.pool}, expected more than the count, {self.count}")
        if self.source == "mixed" and self.count < 2:
            raise ValueError(f"count: got {self.count}, expected at least 2 to mix")


def draw(
    config: NegativesConfig, energy: Energy, low: Tensor, batch: int, generator: torch.Generator
) -> Tensor:
    """Counter-examples in the box [-1, 1], from which no gradient leads back.

    Args:
        config: How many of which kind.
        energy: The energy learned so far, (B, N, A) to (B, N).
        low: Lower corner of the box, shape (A,), all -1; gives the device and the precision.
        batch: Rows B.
        generator: On the device of `low`.

    Returns:
        Shape (B, count, A).
    """
    if config.source == "hard":
        pool = uniform(batch, config.pool, low, -low, generator)
        with torch.no_grad():
            hardest = energy(pool).topk(config.count, dim=1, largest=False).indices
        return pool.gather(1, hardest[..., None].expand(-1, -1, low.shape[0]))
    actions = uniform(batch, config.count, low, -low, generator)
    if config.source == "uniform":
        return actions
    still = config.count // 2 if config.source == "mixed" else 0
    moved = config.chain.chain(energy, actions[:, still:], low, -low, generator)
    return torch.cat((actions[:, :still], moved), dim=1)


def near_duplicates(negatives: Tensor, positive: Tensor, radius: float) -> Tensor:
    """Which counter-examples, (B, N, A), are within `radius` of the positive, (B, A): (B, N)."""
    return (negatives - positive[:, None]).abs().amax(dim=2) < radius
