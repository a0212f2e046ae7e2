"""Where models and methods meet: the action of lowest energy for features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ebm_policy_ros.energy.models import (
    AutoregressiveModel,
    ConditionalEnergy,
    EnergyModel,
    ImplicitModel,
    Model,
)
from ebm_policy_ros.inference.autoregressive import (
    CHUNK,
    GRID,
    AutoregressiveDerivativeFree,
    JointEnergy,
)
from ebm_policy_ros.inference.candidates import Energy, evaluate, local_minima, normal, take
from ebm_policy_ros.inference.derivative_free import SEPARATION
from ebm_policy_ros.inference.methods import InferenceMethod
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.util import bounds

# Candidates that a warm start puts in place of uniform ones: at most so many, and this share.
_WARM_STARTS, _WARM_SHARE = 16, 8
# Standard deviation of the copies of an action, in half-widths of the box.
_WARM_NOISE = 0.1
# Local minima that are looked for among the last candidates, and places compared for each.
_MINIMA, _COMPARED = 8, 4


def check_method(model: Model, inference: InferenceMethod) -> None:
    """Refuse a method that needs another kind of model, or too much of this one.

    Raises:
        ValueError: If it goes dimension by dimension and the model doesn't, or its candidates
            need more memory or time than is bearable.
    """
    if isinstance(inference, AutoregressiveDerivativeFree) and not isinstance(
        model, AutoregressiveModel
    ):
        raise ValueError(
            "inference.method: got autoregressive, but the model has one energy of whole actions; "
            "choose another method, or train with --model.kind autoregressive"
        )
    if isinstance(model, ImplicitModel):
        _check_size(model, inference)


def _check_size(model: ImplicitModel, inference: InferenceMethod) -> None:
    """Refuse a search that would hold more, or take longer for one evaluation, than is bearable.

    Raises:
        ValueError: Naming the samples.
    """
    plain, sloped = inference.evaluated
    size = model.box.low.shape[0]
    heads = [model.head] if isinstance(model, EnergyModel) else list(model.heads)
    layers = [part for head in heads for part in head.modules() if isinstance(part, nn.Linear)]
    width = max(size, *(layer.out_features for layer in layers))
    compared = _COMPARED * _MINIMA * plain
    work = (plain + 3 * sloped) * sum(layer.weight.numel() for layer in layers)
    if not isinstance(model, EnergyModel) and not isinstance(
        inference, AutoregressiveDerivativeFree
    ):
        # Each candidate takes a whole grid, of a part of them at a time.
        plain, sloped = GRID * min(plain, CHUNK), GRID * sloped
        work *= GRID
    # For slopes the values of all layers are kept; without, those of about three.
    held = max(compared, 3 * plain * width, len(layers) * sloped * width)
    for name, got, most in (
        ("numbers to hold", held, bounds.MOST_HELD),
        ("multiplications in a step", work, bounds.MOST_STEP_WORK),
    ):
        if got > most:
            raise ValueError(
                f"inference.samples: got {inference.samples}, which with this model takes "
                f"{got:.2g} {name}, at most {most:.2g}; choose fewer"
            )


def energy_of(model: ImplicitModel, features: Tensor, temperature: float = 1.0) -> Energy:
    """The energy of whole actions in the box mapped to [-1, 1]: (B, N, H*D) to (B, N).

    Args:
        model: Of one energy, or of one for each dimension.
        features: Of B observations, as its `encode` gives them.
        temperature: That the model was trained with.
    """
    if isinstance(model, AutoregressiveModel):
        return JointEnergy(model.energies(features), *model.box.corners(), temperature)
    return ConditionalEnergy(model, features)


def minimize(
    model: ImplicitModel,
    features: Tensor,
    inference: InferenceMethod,
    generator: torch.Generator | None = None,
    starts: Tensor | None = None,
    deadline: float | None = None,
    low_precision: ImplicitModel | None = None,
) -> Solution:
    """What the method finds for each of B observations, in the box mapped to [-1, 1].

    Args:
        model: Of one energy, or of one for each dimension.
        features: Of B observations, as its `encode` gives them.
        inference: One that `check_method` accepts.
        generator: Source of randomness, on the model's device.
        starts: Candidates to begin from, shape (B, M, H*D).
        deadline: When to return the best so far, in seconds of `time.perf_counter`.
        low_precision: The same model `folded` to less precision, for the rounds that only choose
            where the next ones look. Langevin chains, which follow the exact gradient, have none.
    """
    low, high = model.box.corners()
    common = (low, high, len(features), generator, starts, deadline)
    if isinstance(inference, AutoregressiveDerivativeFree):
        assert isinstance(model, AutoregressiveModel)
        cheap_energies = (
            low_precision.energies(features)
            if isinstance(low_precision, AutoregressiveModel)
            else None
        )
        return inference.minimize(model.energies(features), *common, cheap_energies)
    temperature = temperature_of(inference)
    energy = energy_of(model, features, temperature)
    return inference.minimize(
        energy, *common, low_precision and energy_of(low_precision, features, temperature)
    )


def warm_starts(action: Tensor, samples: int, generator: torch.Generator | None) -> Tensor:
    """An action and perturbed copies of it, for a search to begin from.

    Args:
        action: In the box mapped to [-1, 1], shape (H*D,).
        samples: Candidates of the search.
        generator: Source of the perturbations.

    Returns:
        Shape (1, M, H*D).
    """
    count = min(_WARM_STARTS, max(1, samples // _WARM_SHARE))
    starts = action.expand(1, count, -1).clone()
    starts[:, 1:] += _WARM_NOISE * normal(starts[:, 1:], generator)
    return starts


def minima_of(solution: Solution) -> tuple[Tensor, Tensor]:
    """Local minima among a solution's last candidates, lowest first.

    Returns:
        Actions (B, M, D) and exact energies (B, M); where a row has fewer than M, some repeat the
        first.
    """
    half_width = (solution.high - solution.low) / 2
    index = local_minima(solution.actions, solution.energies, _MINIMA, SEPARATION, half_width)
    actions, energies = take(solution.actions, index), solution.energies.gather(1, index)
    # Of the lowest the energy is exact; those of others may be rough.
    exact = evaluate(solution.energy, actions[:, 1:])
    others = torch.where(index[:, 1:] == index[:, :1], energies[:, :1], exact)
    others, order = others.sort(dim=1)
    actions = torch.cat((actions[:, :1], take(actions[:, 1:], order)), dim=1)
    return actions, torch.cat((energies[:, :1], others), dim=1)


def kept_minimum(actions: Tensor, energies: Tensor, action: Tensor, margin: float) -> Tensor:
    """Which minimum keeps to an action: the nearest of those that are about the lowest.

    Where two answers are equally good, a small change of the observation makes now one the
    lowest, now the other, and a robot that follows each in turn stands still.

    Args:
        actions: Minima, lowest first, in the box mapped to [-1, 1], shape (M, D).
        energies: Their energies, shape (M,).
        action: What to keep to, shape (D,).
        margin: Those at most so much above the lowest count.

    Returns:
        Index, a number.
    """
    distance = (actions - action).abs().amax(dim=1)
    return distance.masked_fill(energies > energies[0] + margin, float("inf")).argmin()


def temperature_of(inference: InferenceMethod | None) -> float:
    """Of the distribution exp(-E / temperature) that the method samples; 1 where it has none."""
    return float(getattr(inference, "temperature", 1.0))
