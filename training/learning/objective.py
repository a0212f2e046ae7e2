"""Training loss of each kind of model."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from ebm_policy_ros.energy.baselines import NearestNeighbourModel
from ebm_policy_ros.energy.mixture import Mixture
from ebm_policy_ros.energy.models import (
    AutoregressiveModel,
    ConditionalEnergy,
    EnergyModel,
    ImplicitModel,
    Model,
)
from ebm_policy_ros.inference.candidates import Energy, normal, uniform
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.losses import LOSSES, gradient_penalty
from ebm_policy_ros.training.learning.negatives import (
    Walk,
    around,
    draw,
    in_parts,
    near_duplicates,
)

# Number of actions that the demonstrated one is ranked against.
_RANKED = 512

Scalars = dict[str, Tensor]
"""Scalars to log, by name."""


def check_objective(model: Model, config: LearningConfig) -> None:
    """Refuse settings that do not match a model.

    Raises:
        ValueError: If an autoregressive model is to be trained with chains, negatives are to come
            from a proposal that the model does not have, or a linear start does not suit it.
    """
    whole = config.negatives.source in ("chain", "mixed", "hmc", "gaussian")
    if isinstance(model, AutoregressiveModel) and whole:
        raise ValueError(
            f"learning.negatives.source: got {config.negatives.source}, which needs one energy of "
            "whole actions; an autoregressive model takes uniform or hard, and around"
        )
    has_proposal = isinstance(model, EnergyModel) and model.proposal is not None
    if config.negatives.source == "proposal" and not has_proposal:
        raise ValueError(
            "learning.negatives.source: got proposal, which the model does not have; set "
            "model.proposals to 4, or choose another source"
        )
    if config.linear_start:
        if not isinstance(model, EnergyModel):
            raise ValueError(
                "learning.linear_start: got true, which needs one energy of whole actions; choose "
                "model.kind energy"
            )
        if any(parametrize.is_parametrized(layer) for layer in model.head.modules()):
            raise ValueError(
                "learning.linear_start: got true, which model.head.spectral_norm would undo; use "
                "one of them"
            )


def loss_of(
    model: Model,
    features: Tensor,
    positive: Tensor,
    config: LearningConfig,
    generator: torch.Generator,
    walk: Walk | None = None,
) -> tuple[Tensor, Scalars]:
    """Training loss of a model for demonstrated actions.

    Args:
        model: Any model except nearest neighbour, which is not trained.
        features: Features from its `encode` for B observations.
        positive: Demonstrated actions in the box mapped to [-1, 1], shape (B, A).
        config: Negatives, temperature and penalty.
        generator: Source of the negatives, or of noise, on the model's device.
        walk: Function that runs the chains of negatives; by default that of the settings.

    Returns:
        A scalar to minimise, and scalars to log.
    """
    if isinstance(model, ImplicitModel):
        energy, told, high = _choice(model, features, positive)
        proposal = model.proposed(features) if isinstance(model, EnergyModel) else None
        loss, scalars = _contrast(energy, told, high, config, generator, walk, proposal)
        # The losses of the dimensions are summed.
        loss = loss * (len(told) / len(positive))
        if proposal is not None:
            scalars["proposal"] = proposal.loss(positive.float())
            loss = loss + scalars["proposal"]
        return loss, scalars
    assert not isinstance(model, NearestNeighbourModel)
    return model.loss(features, positive, generator), {}


def _choice(
    model: ImplicitModel, features: Tensor, positive: Tensor
) -> tuple[Energy, Tensor, Tensor]:
    """Energy and demonstrated actions of the contrastive loss.

    Returns:
        An energy of (R, N, A) actions, the demonstrated actions, (R, A), and the upper corner of
        their box, (A,). For an autoregressive model an action is one value given those before it,
        and each of the D dimensions has its own row.
    """
    _, high = model.box.corners()
    if isinstance(model, EnergyModel):
        return ConditionalEnergy(model, features), positive, high
    along = model.along(features, positive)

    def energy(values: Tensor) -> Tensor:
        # A dimension without width has one value.
        each = values.reshape(*positive.shape, -1) * high[:, None]
        return along(each).flatten(0, 1)

    return energy, positive.reshape(-1, 1), torch.ones_like(high[:1])


def _contrast(
    energy: Energy,
    positive: Tensor,
    high: Tensor,
    config: LearningConfig,
    generator: torch.Generator,
    walk: Walk | None,
    proposal: Mixture | None = None,
) -> tuple[Tensor, Scalars]:
    chosen, radius = config.negatives, config.negatives.mask_radius
    tell_apart = LOSSES.find(config.loss)
    if config.action_noise:
        # Not in a dimension without width.
        positive = positive + config.action_noise * high * normal(positive, generator)
    if chosen.source != "uniform":
        # First with a gradient: normalised weights are cached at their first use.
        energy(positive[:, None])
    drawn = draw(chosen, energy, positive, -high, high, generator, walk, proposal)
    mined = drawn.actions
    actions = torch.cat((positive[:, None], mined), dim=1)
    if chosen.around:
        near = around(chosen, positive, -high, high, generator)
        actions = torch.cat((actions, near), dim=1)
    sizes = [1, chosen.count, chosen.around]
    lowest, others, close = torch.split(energy(actions), sizes, dim=1)
    loss = torch.zeros_like(lowest[0, 0])
    if chosen.count:
        masked = near_duplicates(mined, positive, radius) if radius else None
        # Ranking NCE (Ma and Collins 2018): with the logits -E - log q the energy becomes
        # -log p, whatever the density q of the negatives.
        ranked = torch.cat((lowest, others), dim=1) + config.temperature * drawn.log_density
        loss = loss + tell_apart(ranked[:, 0], ranked[:, 1:], config.temperature, masked)
    if chosen.around:
        # Separate losses, since the densities of the two sets differ.
        loss = loss + tell_apart(lowest[:, 0], close, config.temperature, None)
    scalars: Scalars = {}
    if config.gradient_penalty:
        penalty, active = gradient_penalty(energy, actions, config.gradient_margin)
        loss = loss + config.gradient_penalty * penalty
        scalars["gradient_penalty_active"] = active
    return loss, scalars


def rank_of(
    model: ImplicitModel, features: Tensor, positive: Tensor, generator: torch.Generator
) -> Tensor:
    """Share of uniformly drawn actions with less energy than the demonstrated one, shape (B,).

    0 is best, 0.5 is uninformative. For an autoregressive model it is the mean over its
    dimensions, given the demonstrated values before each.
    """
    ranks = _rank(*_choice(model, features, positive), generator)
    return ranks.view(len(positive), -1).mean(dim=1)


def _rank(energy: Energy, positive: Tensor, high: Tensor, generator: torch.Generator) -> Tensor:
    others = uniform(len(positive), _RANKED, -high, high, generator)
    energies = in_parts(energy, torch.cat((positive[:, None], others), dim=1))
    mine, theirs = energies[:, :1], energies[:, 1:]
    # Equal energies count half: an uninformative energy has rank 0.5.
    return ((theirs < mine).float() + (theirs == mine).float() / 2).mean(dim=1)
