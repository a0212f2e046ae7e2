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


def energy_of(model: Searched, features: Tensor, temperature: float = 1.0) -> Energy:
    """The energy of whole actions in the box mapped to [-1, 1]: (B, N, H*D) to (B, N).

    Args:
        model: Of one energy, or of one for each dimension.
        features: Of B observations, as its `encode` gives them.
        temperature: That the model was trained with.
    """
    if isinstance(model, AutoregressiveModel):
        return joint_energy(model.energies(features), *model.box.corners(), temperature)
    return lambda actions: model.energy(features, actions)


def minimise(
    model: Searched,
    features: Tensor,
    optimiser: Optimiser,
    generator: torch.Generator | None = None,
    starts: Tensor | None = None,
    deadline: float | None = None,
) -> Solution:
    """What the method finds for each of B observations, in the box mapped to [-1, 1].

    Args:
        model: Of one energy, or of one for each dimension.
        features: Of B observations, as its `encode` gives them.
        optimiser: One that `check_method` accepts.
        generator: Source of randomness, on the model's device.
        starts: Candidates to begin from, shape (B, M, H*D).
        deadline: When to return the best so far, in seconds of `time.perf_counter`.
    """
    low, high = model.box.corners()
    batch = len(features)
    if isinstance(optimiser, AutoregressiveDerivativeFree):
        assert isinstance(model, AutoregressiveModel)
        parts = model.energies(features)
        return optimiser.minimize(parts, low, high, batch, generator, starts, deadline)
    energy = energy_of(model, features, temperature_of(optimiser))
    return optimiser.minimize(energy, low, high, batch, generator, starts, deadline)


def temperature_of(optimiser: Optimiser | None) -> float:
    """Of the distribution exp(-E / temperature) that the method samples; 1 where it has none."""
    return float(getattr(optimiser, "temperature", 1.0))
