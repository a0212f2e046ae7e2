"""Counter-examples: the actions whose energy training raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, clip, normal, take, uniform
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.inference.settings import at_least, not_negative, positive
from ebm_policy_ros.util.plugins import Registry

Walk = Callable[[Energy, Tensor, Tensor, Tensor, torch.Generator], Tensor]
"""What runs chains, as `Langevin.chain` does."""
# Candidates of all rows that are evaluated at a time: a layer of them stays near the processor,
# where all at once would take gigabytes.
_TOGETHER = 2**15
# Spread of each pool around the hardest, as a share of the one before.
_CLOSER = 0.25


NEGATIVES: Registry[Callable[..., Tensor]] = Registry("source of negatives")
"""Sources of negatives by name; each is called as `draw` calls them."""


@dataclass(frozen=True)
class NegativesConfig:
    """Counter-examples of each frame."""

    source: str = "uniform"
    """uniform: drawn evenly from the action box; chain: where Langevin chains through the energy
    learned so far end; mixed: half of each; hard: those of lowest energy in larger pools;
    package.module.name: your own."""
    count: int = 64
    """How many from there; 0 only beside `around`."""
    around: int = 0
    """How many more that are spread, together with the demonstrated action, around a point near or
    far; the action is told from these for itself."""
    pool: int = 1024
    """Candidates of a round that the hard ones are taken from."""
    rounds: int = 1
    """How many pools are drawn for the hard ones: the first evenly, each other closer around the
    hardest so far. An even pool misses the narrow wells of an energy that has learned much."""
    nearest: float = 0.01
    """Smallest spread of those around, in half-widths of the box."""
    farthest: float = 1.0
    """Largest such spread; each frame has its own, in between, even on a logarithmic scale."""
    mask_radius: float = 0.0
    """Leave out counter-examples of the source that differ from the demonstrated action by less in
    every dimension, in half-widths of the box: near-duplicates, which are no mistakes."""
    chain: Langevin = field(default_factory=lambda: Langevin(iterations=50, polish=0))
    """The chains (samples and polish have no meaning here); inference takes about twice the
    iterations."""

    def __post_init__(self) -> None:
        try:
            NEGATIVES.find(self.source)
        except ValueError as error:
            raise type(error)(f"source: {error}") from None
        at_least(self, 0, "count", "around")
        at_least(self, 1, "pool", "rounds")
        positive(self, "nearest", "farthest")
        not_negative(self, "mask_radius")
        if self.nearest > self.farthest:
            raise ValueError(
                f"nearest: got {self.nearest}, expected at most farthest, {self.farthest}"
            )
        if self.mask_radius >= 2:
            raise ValueError(
                f"mask_radius: got {self.mask_radius}, expected less than 2, the width of the box"
            )
        if not isinstance(self.chain, Langevin):
            raise ValueError(f"chain: got {self.chain!r}, expected settings of Langevin")
        if self.count == self.around == 0:
            raise ValueError("count: got 0, and around 0; expected counter-examples of one kind")
        if self.count == 0 and (self.source != "uniform" or self.mask_radius):
            raise ValueError(
                f"count: got 0 with source {self.source} and mask_radius {self.mask_radius}, "
                "expected uniform and 0: they are about those counted"
            )
        if self.source == "hard" and self.pool <= self.count:
            raise ValueError(f"pool: got {self.pool}, expected more than the count, {self.count}")
        if self.source == "mixed" and self.count == 1:
            raise ValueError("count: got 1, expected at least 2 to mix")


def draw(
    config: NegativesConfig,
    energy: Energy,
    positive: Tensor,
    low: Tensor,
    high: Tensor,
    generator: torch.Generator,
    walk: Walk | None = None,
) -> Tensor:
    """Counter-examples of the source in the normalised box; no gradient leads back from them.

    Args:
        config: How many of which source.
        energy: The energy learned so far, (B, N, A) to (B, N).
        positive: Demonstrated actions, shape (B, A).
        low: Lower corner of the box, shape (A,).
        high: Upper corner.
        generator: On the device of the corners.
        walk: What runs the chains; by default those of the settings.

    Returns:
        Shape (B, count, A).
    """
    source = NEGATIVES.find(config.source)
    return source(config, energy, positive, low, high, generator, walk)


@NEGATIVES.register("uniform")
def _uniform(
    config: NegativesConfig,
    energy: Energy,
    positive: Tensor,
    low: Tensor,
    high: Tensor,
    generator: torch.Generator,
    walk: Walk | None,
) -> Tensor:
    """Draw evenly from the box."""
    return uniform(len(positive), config.count, low, high, generator)


@NEGATIVES.register("mixed")
@NEGATIVES.register("chain")
def _chain(
    config: NegativesConfig,
    energy: Energy,
    positive: Tensor,
    low: Tensor,
    high: Tensor,
    generator: torch.Generator,
    walk: Walk | None,
) -> Tensor:
    """Let Langevin chains run from all of them, or from half of them."""
    actions = uniform(len(positive), config.count, low, high, generator)
    still = config.count // 2 if config.source == "mixed" else 0
    moved = (walk or config.chain.chain)(energy, actions[:, still:], low, high, generator)
    return torch.cat((actions[:, :still], moved), dim=1)


@NEGATIVES.register("hard")
def _hardest(
    config: NegativesConfig,
    energy: Energy,
    positive: Tensor,
    low: Tensor,
    high: Tensor,
    generator: torch.Generator,
    walk: Walk | None,
) -> Tensor:
    """The candidates of lowest energy in all rounds, shape (B, count, A)."""
    pool = uniform(len(positive), config.pool, low, high, generator)
    hardest, lowest = pool[:, :0], positive.new_empty(len(positive), 0)
    # An even pool's neighbours are twice this apart.
    spread = (high - low) / 2 * config.pool ** (-1 / len(low))
    with torch.no_grad():
        for number in range(config.rounds):
            if number:
                near = hardest.repeat(1, -(-config.pool // config.count), 1)[:, : config.pool]
                closer = spread * _CLOSER ** (number - 1)
                pool = clip(near + closer * normal(near, generator), low, high)
            energies = in_parts(energy, pool)
            if config.mask_radius:
                duplicates = near_duplicates(pool, positive, config.mask_radius)
                energies = energies.masked_fill(duplicates, float("inf"))
            lowest, index = torch.cat((lowest, energies), dim=1).topk(
                config.count, dim=1, largest=False
            )
            hardest = take(torch.cat((hardest, pool), dim=1), index)
    return hardest


def around(
    config: NegativesConfig,
    positive: Tensor,
    low: Tensor,
    high: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Counter-examples that differ from the demonstrated action by a Gaussian of random width.

    First a point is drawn around the demonstrated action, then they around the point. The kernel
    is symmetric: given the point, the demonstrated action's density over theirs is p itself, up to
    a factor of the point alone, so that InfoNCE learns log p (after Ceylan and Gutmann 2018,
    Conditional noise-contrastive estimation). Whatever leaves the box is reflected at its faces,
    which keeps this true.

    Args:
        config: How many, and how far.
        positive: Demonstrated actions, shape (B, A).
        low: Lower corner of the box, shape (A,).
        high: Upper corner.
        generator: On the device of the corners.

    Returns:
        Shape (B, config.around, A).
    """
    batch, size = positive.shape
    zero, one = positive.new_zeros(1), positive.new_ones(1)
    ratio = config.farthest / config.nearest
    spread = config.nearest * ratio ** uniform(batch, 1, zero, one, generator)
    point = positive[:, None]
    point = _reflect(point + spread * normal(point, generator), low, high)
    point = point.expand(batch, config.around, size)
    return _reflect(point + spread * normal(point, generator), low, high)


def in_parts(energy: Energy, actions: Tensor) -> Tensor:
    """Energies, (B, N), of many candidates (B, N, A), where no gradient is asked for."""
    count = max(1, _TOGETHER // max(1, len(actions)))
    return torch.cat([energy(part) for part in torch.split(actions, count, dim=1)], dim=1)


def _reflect(actions: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Actions (B, N, A), mirrored at the faces of the box until they are in it."""
    width = (high - low).clamp_min(torch.finfo(low.dtype).tiny)
    there_and_back = torch.remainder(actions - low, 2 * width)
    return torch.where(high > low, low + width - (there_and_back - width).abs(), low)


def near_duplicates(negatives: Tensor, positive: Tensor, radius: float) -> Tensor:
    """Which counter-examples, (B, N, A), are within `radius` of the positive, (B, A): (B, N)."""
    return (negatives - positive[:, None]).abs().amax(dim=2) < radius
