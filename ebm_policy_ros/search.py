"""Where models and methods meet: the action of lowest energy for features."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_policy_ros.energy.models import AutoregressiveModel, Model, Searched
from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree, joint_energy
from ebm_policy_ros.inference.candidates import Energy
from ebm_policy_ros.inference.methods import Optimiser
from ebm_policy_ros.inference.solution import Solution


def check_method(model: Model, optimiser: Optimiser) -> None:
    """Refuse a method that needs another kind of model.

    Raises:
        ValueError: If it goes dimension by dimension and the model doesn't.
    """
    by_dimension = isinstance(optimiser, AutoregressiveDerivativeFree)
    if by_dimension and not isinstance(model, AutoregressiveModel):
        raise ValueError(
            "optimiser.method: got autoregressive, but the model has one energy of whole actions; "
            "choose another method, or train with --model.kind autoregressive"
        )


def energy_of(model: Searched, features: Tensor) -> Energy:
    """The energy of whole actions in the box mapped to [-1, 1]: (B, N, H*D) to (B, N).

    Args:
        model: Of one energy, or of one for each dimension.
        features: Of B observations, as its `encode` gives them.
    """
    if isinstance(model, AutoregressiveModel):
        high = torch.ones_like(model.box.high)
        return joint_energy(model.energies(features), -high, high)
    return lambda actions: model.energy(features, actions)


def minimise(
    model: Searched,
    features: Tensor,
    optimiser: Optimiser,
    generator: torch.Generator | None = None,
) -> Solution:
    """What the method finds for each of B observations, in the box mapped to [-1, 1].

    Args:
        model: Of one energy, or of one for each dimension.
        features: Of B observations, as its `encode` gives them.
        optimiser: One that `check_method` accepts.
        generator: Source of randomness, on the model's device.
    """
    high = torch.ones_like(model.box.high)
    batch = len(features)
    if isinstance(optimiser, AutoregressiveDerivativeFree):
        assert isinstance(model, AutoregressiveModel)
        return optimiser.minimize(model.energies(features), -high, high, batch, generator)
    return optimiser.minimize(energy_of(model, features), -high, high, batch, generator)
