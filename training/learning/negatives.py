"""Negatives: the actions whose energy training raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ebm_policy_ros.energy.mixture import Mixture
from ebm_policy_ros.inference.candidates import Energy, clip, normal, reflect, take, uniform
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.inference.metropolis import HamiltonianMonteCarlo
from ebm_policy_ros.inference.settings import at_least, not_negative, positive
from ebm_policy_ros.util.plugins import Registry

Walk = Callable[[Energy, Tensor, Tensor, Tensor, torch.Generator], Tensor]
"""Function that runs chains, as `Langevin.chain`."""
# Number of candidates, over all rows, evaluated at a time: the activations of a layer then fit
# into the cache, where all candidates at once would take gigabytes.
_TOGETHER = 2**15
# Smallest standard deviation of the Gaussian source, in half-widths of the box.
_NARROWEST = 0.05
# Spread of each pool around the hardest candidates, as a share of the previous one.
_CLOSER = 0.25


@dataclass(frozen=True)
class Situation:
    """Everything that a source of negatives may use."""

    energy: Energy
    """Current energy, (B, N, A) to (B, N)."""
    positive: Tensor
    """Demonstrated actions, shape (B, A)."""
    low: Tensor
    """Lower corner of the box, shape (A,)."""
    high: Tensor
    """Upper corner of the box, shape (A,)."""
    generator: torch.Generator
    """Source of randomness, on the device of the corners."""
    walk: Walk
    """Function that runs Langevin chains."""
    proposal: Mixture | None = None
    """Proposal of the model; None for a model without one."""

    def uniform(self, count: int) -> Tensor:
        """Draw actions uniformly from the box, shape (B, count, A)."""
        return uniform(len(self.positive), count, self.low, self.high, self.generator)


@dataclass(frozen=True)
class Drawn:
    """Negatives of a source with a known density."""

    actions: Tensor
    """Negatives, shape (B, count, A)."""
    log_density: Tensor
    """Logarithm of the source's density at the demonstrated action and at each negative, up to a
    constant of the row, shape (B, 1 + count)."""


NEGATIVES: Registry[Callable[[NegativesConfig, Situation], Tensor | Drawn]] = Registry(
    "source of negatives"
)
"""Sources of negatives by name: from settings and the situation to actions (B, count, A), or to
`Drawn` if their density is known and not uniform."""


@dataclass(frozen=True)
class NegativesConfig:
    """Negatives of each frame."""

    source: str = "uniform"
    """Source of the negatives: uniform, drawn from the action box; gaussian, drawn from the
    Gaussian of the demonstrated actions, whatever the observation; proposal, drawn from the
    model's proposal (model.proposals); chain, end points of Langevin chains through the current
    energy; mixed, uniform and chain, half of each; hmc, end points of Hamiltonian Monte Carlo;
    hard, those of lowest energy in larger pools; or the full name of your own function,
    package.module.name."""
    count: int = 64
    """Number of negatives of the source; 0 only together with `around`."""
    around: int = 0
    """Number of further negatives drawn near the demonstrated action, at random distances; they
    have an InfoNCE loss of their own."""
    pool: int = 1024
    """Candidates in each round of the hard negatives."""
    rounds: int = 1
    """Rounds of the hard negatives: the first pool is uniform, each later one closer around the
    hardest so far. A uniform pool misses the narrow minima of a well-trained energy."""
    nearest: float = 0.01
    """Smallest spread of the negatives of `around`, in half-widths of the box."""
    farthest: float = 1.0
    """Largest such spread; each frame draws its own in between, uniform on a logarithmic scale."""
    mask_radius: float = 0.0
    """Ignore negatives of the source that differ from the demonstrated action by less than this in
    every dimension, in half-widths of the box: such near-duplicates are not wrong."""
    chain: Langevin = field(default_factory=lambda: Langevin(iterations=50, polish=0))
    """Settings of the Langevin chains (samples, pool and polish are ignored). Inference takes
    about twice the iterations."""
    hmc: HamiltonianMonteCarlo = field(default_factory=lambda: HamiltonianMonteCarlo(iterations=8))
    """Settings of the Hamiltonian Monte Carlo (samples, pool and polish are ignored)."""

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
        if not isinstance(self.hmc, HamiltonianMonteCarlo):
            raise ValueError(f"hmc: got {self.hmc!r}, expected settings of HamiltonianMonteCarlo")
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
    proposal: Mixture | None = None,
) -> Drawn:
    """Draw negatives of the source in the normalised box, without gradient.

    Args:
        config: Source and number.
        energy: Current energy, (B, N, A) to (B, N).
        positive: Demonstrated actions, shape (B, A).
        low: Lower corner of the box, shape (A,).
        high: Upper corner.
        generator: Generator on the device of the corners.
        walk: Function that runs the chains; by default that of the settings.
        proposal: Proposal of the model, if it has one.

    Returns:
        Negatives and their density; that of a source which tells none is taken as uniform.
    """
    walk = walk or config.chain.chain
    situation = Situation(energy, positive, low, high, generator, walk, proposal)
    found = NEGATIVES.find(config.source)(config, situation)
    if isinstance(found, Drawn):
        return found
    return Drawn(found, found.new_zeros(len(found), 1 + found.shape[1]))


@NEGATIVES.register("uniform")
def _uniform(config: NegativesConfig, now: Situation) -> Tensor:
    """Draw uniformly from the box."""
    return now.uniform(config.count)


@NEGATIVES.register("gaussian")
def _gaussian(config: NegativesConfig, now: Situation) -> Drawn:
    """Draw from the Gaussian of the batch's demonstrated actions, correlations included."""
    # In bfloat16 the covariance would not be positive definite.
    with torch.autocast(now.positive.device.type, enabled=False):
        positive = now.positive.double()
        mean = positive.mean(dim=0)
        covariance = (positive - mean).T @ (positive - mean) / len(positive)
        # A coordinate that hardly varies in the batch still gets negatives.
        half = ((now.high - now.low) / 2).double()
        floor = (_NARROWEST * half).square().clamp_min(_NARROWEST**4)
        factor = torch.linalg.cholesky(covariance + floor.diag())
        noise = normal(now.positive[:, None].expand(-1, config.count, -1), now.generator)
        negatives = mean + noise.double() @ factor.T
        negatives = torch.where(half > 0, negatives, now.low.double())
        offsets = torch.cat((positive[:, None], negatives), dim=1) - mean
        whitened = torch.linalg.solve_triangular(factor, offsets.flatten(0, 1).T, upper=False)
        log_density = -whitened.square().sum(dim=0).view(len(positive), -1) / 2
    return Drawn(negatives.to(now.positive), log_density.to(now.positive))


@NEGATIVES.register("mixed")
@NEGATIVES.register("chain")
def _chain(config: NegativesConfig, now: Situation) -> Tensor:
    """Run Langevin chains from all of the uniform samples, or from half of them."""
    actions = now.uniform(config.count)
    still = config.count // 2 if config.source == "mixed" else 0
    moved = now.walk(now.energy, actions[:, still:], now.low, now.high, now.generator)
    return torch.cat((actions[:, :still], moved), dim=1)


@NEGATIVES.register("hmc")
def _hamiltonian(config: NegativesConfig, now: Situation) -> Tensor:
    """Run chains with a Metropolis test from uniform samples."""
    starts = now.uniform(config.count)
    return config.hmc.chain(now.energy, starts, now.low, now.high, now.generator)


@NEGATIVES.register("hard")
def _hardest(config: NegativesConfig, now: Situation) -> Tensor:
    """Candidates of lowest energy over all rounds, shape (B, count, A)."""
    pool, low, high = now.uniform(config.pool), now.low, now.high
    hardest, lowest = pool[:, :0], now.positive.new_empty(len(pool), 0)
    # Half the distance of neighbours in a uniform pool.
    spread = (high - low) / 2 * config.pool ** (-1 / len(low))
    with torch.no_grad():
        for number in range(config.rounds):
            if number:
                near = hardest.repeat(1, -(-config.pool // config.count), 1)[:, : config.pool]
                closer = spread * _CLOSER ** (number - 1)
                pool = clip(near + closer * normal(near, now.generator), low, high)
            energies = in_parts(now.energy, pool)
            if config.mask_radius:
                duplicates = near_duplicates(pool, now.positive, config.mask_radius)
                energies = energies.masked_fill(duplicates, float("inf"))
            lowest, index = torch.cat((lowest, energies), dim=1).topk(
                config.count, dim=1, largest=False
            )
            hardest = take(torch.cat((hardest, pool), dim=1), index)
    return hardest


@NEGATIVES.register("proposal")
def _proposal(config: NegativesConfig, now: Situation) -> Drawn:
    """Draw from the model's proposal, which is trained by likelihood, not by these."""
    if now.proposal is None:
        raise ValueError("source: got proposal, but the model has none; set model.proposals")
    with torch.no_grad():
        # An answer that the proposal finds unlikely must be ranked too: a search compares it.
        proposal = now.proposal.evened()
        negatives = proposal.sample(config.count, now.generator)
        # Outside the box they are as good: clipping them would change their density.
        negatives = torch.where(now.high > now.low, negatives, now.low)
        both = torch.cat((now.positive[:, None].float(), negatives), dim=1)
        return Drawn(negatives.to(now.positive), proposal.log_density(both))


def around(
    config: NegativesConfig,
    positive: Tensor,
    low: Tensor,
    high: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Draw negatives around the demonstrated action, with a Gaussian of random width.

    First a point is drawn around the demonstrated action, then the negatives around this point.
    The kernel is symmetric: given the point, the ratio of the demonstrated action's density to the
    negatives' density is p itself, up to a factor that depends only on the point, so InfoNCE
    learns log p (after Ceylan and Gutmann 2018, Conditional noise-contrastive estimation). Samples
    outside the box are reflected at its faces, which preserves this property.

    Args:
        config: Number and spread.
        positive: Demonstrated actions, shape (B, A).
        low: Lower corner of the box, shape (A,).
        high: Upper corner.
        generator: Generator on the device of the corners.

    Returns:
        Shape (B, config.around, A).
    """
    batch, size = positive.shape
    zero, one = positive.new_zeros(1), positive.new_ones(1)
    ratio = config.farthest / config.nearest
    spread = config.nearest * ratio ** uniform(batch, 1, zero, one, generator)
    point = positive[:, None]
    point, _ = reflect(point + spread * normal(point, generator), low, high)
    point = point.expand(batch, config.around, size)
    return reflect(point + spread * normal(point, generator), low, high)[0]


def in_parts(energy: Energy, actions: Tensor) -> Tensor:
    """Energies, (B, N), of many candidates (B, N, A), evaluated in parts, without gradient."""
    count = max(1, _TOGETHER // max(1, len(actions)))
    return torch.cat([energy(part) for part in torch.split(actions, count, dim=1)], dim=1)


def near_duplicates(negatives: Tensor, positive: Tensor, radius: float) -> Tensor:
    """True for negatives, (B, N, A), within `radius` of the positive, (B, A); shape (B, N)."""
    return (negatives - positive[:, None]).abs().amax(dim=2) < radius
