"""The loss of each kind of model on a batch of demonstrations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ebm_policy_ros.energy.baselines import ExplicitModel, MixtureModel
from ebm_policy_ros.energy.models import AutoregressiveModel, EnergyModel, Model, Searched
from ebm_policy_ros.inference.candidates import Energy
from ebm_policy_ros.training.learning import LearningConfig
from ebm_policy_ros.training.losses import gradient_penalty, info_nce
from ebm_policy_ros.training.negatives import draw, near_duplicates

# Actions that the demonstrated one is ranked among.
_RANKED = 512

Facts = dict[str, Tensor]
"""Scalars to log, by name."""


def check_objective(model: Model, config: LearningConfig) -> None:
    """Refuse settings that make no sense for a model.

    Raises:
        ValueError: If an autoregressive model is to learn from chains.
    """
    if isinstance(model, AutoregressiveModel) and config.negatives.source in ("chain", "mixed"):
        raise ValueError(
            f"learning.negatives.source: got {config.negatives.source}, which needs one energy of "
            "whole actions; an autoregressive model takes uniform or hard"
        )


def loss_of(
    model: Model,
    features: Tensor,
    positive: Tensor,
    config: LearningConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Facts]:
    """How badly a model explains demonstrated actions.

    Args:
        model: Any but nearest neighbour, which has nothing to learn.
        features: As its `encode` gives them for B observations.
        positive: Demonstrated actions in the box mapped to [-1, 1], shape (B, A).
        config: Counter-examples, temperature and penalty.
        generator: Source of the counter-examples, on the model's device.

    Returns:
        A scalar to minimise, and facts about it.
    """
    if isinstance(model, EnergyModel):
        return _contrast(lambda a: model.energy(features, a), positive, config, generator)
    if isinstance(model, AutoregressiveModel):
        losses = []
        facts: Facts = {}
        for j, energy in enumerate(model.energies(features)):
            along = _along(energy, positive[:, None, :j])
            loss, facts = _contrast(along, positive[:, j : j + 1], config, generator)
            losses.append(loss)
        return torch.stack(losses).sum(), facts
    assert isinstance(model, (ExplicitModel, MixtureModel))
    return model.loss(features, positive), {}


def _along(energy: Callable[[Tensor], Tensor], prefix: Tensor) -> Energy:
    """An energy of the last dimension alone, (B, N, 1) to (B, N), after a prefix (B, 1, j)."""
    return lambda last: energy(torch.cat((prefix.expand(-1, last.shape[1], -1), last), dim=2))


def _contrast(
    energy: Energy, positive: Tensor, config: LearningConfig, generator: torch.Generator
) -> tuple[Tensor, Facts]:
    negatives = draw(
        config.negatives, energy, -torch.ones_like(positive[0]), len(positive), generator
    )
    both = torch.cat((positive[:, None], negatives), dim=1)
    energies = energy(both)
    radius = config.negatives.mask_radius
    masked = near_duplicates(negatives, positive, radius) if radius else None
    loss = info_nce(energies[:, 0], energies[:, 1:], config.temperature, masked)
    facts: Facts = {}
    if config.gradient_penalty:
        penalty, active = gradient_penalty(energy, both, config.gradient_margin)
        loss = loss + config.gradient_penalty * penalty
        facts["gradient_penalty_active"] = active
    return loss, facts


def rank_of(
    model: Searched, features: Tensor, positive: Tensor, generator: torch.Generator
) -> Tensor:
    """The share of evenly drawn actions that have less energy than the demonstrated one: (B,).

    0 is best, 0.5 knows nothing. Of an autoregressive model it is the mean over its dimensions,
    given what was demonstrated before each.
    """
    if isinstance(model, EnergyModel):
        return _rank(lambda a: model.energy(features, a), positive, generator)
    ranks = [
        _rank(_along(energy, positive[:, None, :j]), positive[:, j : j + 1], generator)
        for j, energy in enumerate(model.energies(features))
    ]
    return torch.stack(ranks).mean(dim=0)


def _rank(energy: Energy, positive: Tensor, generator: torch.Generator) -> Tensor:
    shape = (len(positive), _RANKED, positive.shape[1])
    others = torch.rand(shape, generator=generator, device=positive.device) * 2 - 1
    energies = energy(torch.cat((positive[:, None], others), dim=1))
    return (energies[:, 1:] < energies[:, :1]).float().mean(dim=1)
