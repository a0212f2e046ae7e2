"""Action search: minimisation of a model's energy over actions, for given features."""

from __future__ import annotations

from typing import Any

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
from ebm_policy_ros.inference.methods import InferenceMethod, settings_of
from ebm_policy_ros.inference.minimizer import Minimizer
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.util import bounds

# Warm starts replace uniform candidates: at most _WARM_STARTS of them, and at most one in
# _WARM_SHARE.
_WARM_STARTS, _WARM_SHARE = 16, 8
# Standard deviation of the perturbed copies of an action, in half-widths of the box.
_WARM_NOISE = 0.1
# Number of local minima to search for among the last candidates, and candidates compared for each.
_MINIMA, _COMPARED = 8, 4


def check_method(model: Model, inference: InferenceMethod) -> None:
    """Reject a method that doesn't suit the model's kind or size.

    Raises:
        ValueError: If the method goes dimension by dimension and the model doesn't, or if its
            candidates need too much memory or time.
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
    """Reject a search that needs too much memory, or too much time for one evaluation.

    Raises:
        ValueError: With the number of samples in the text.
    """
    plain, sloped = inference.evaluated
    size = model.box.low.shape[0]
    heads = [model.head] if isinstance(model, EnergyModel) else list(model.heads)
    layers = [part for head in heads for part in head.modules() if isinstance(part, nn.Linear)]
    width = max(size, *(layer.out_features for layer in layers))
    compared = _COMPARED * _MINIMA * plain
    weights = sum(layer.weight.numel() for layer in layers)
    work = (plain + 3 * sloped) * weights
    if not isinstance(model, EnergyModel) and not isinstance(
        inference, AutoregressiveDerivativeFree
    ):
        # Each candidate takes a whole grid of energies; they are evaluated in chunks of
        # candidates.
        all_plain, all_sloped = inference.evaluations
        whole = GRID * (all_plain + 3 * all_sloped) * weights
        if whole > bounds.MOST_JOINT_WORK:
            raise ValueError(
                f"inference.method: {settings_of(inference)['method']} takes {whole:.2g} "
                "multiplications for a decision of an autoregressive model, at most "
                f"{bounds.MOST_JOINT_WORK:.2g}; choose autoregressive, or far fewer samples"
            )
        plain, sloped = GRID * min(plain, CHUNK), GRID * sloped
        work *= GRID
    # Gradients need the values of all layers; energies alone need those of about three layers.
    held = max(compared, 3 * plain * width, len(layers) * sloped * width)
    if isinstance(model, EnergyModel) and model.proposals:
        # Each draw compares all Gaussians.
        held = max(held, model.proposals * inference.samples)
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
    """Energy of whole actions in the box mapped to [-1, 1]: (B, N, H*D) to (B, N).

    Args:
        model: A model with one energy, or with one for each dimension.
        features: Features of B observations, from the model's `encode`.
        temperature: Temperature of the model's training.
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
    """Search the action of lowest energy for each of B observations, in the box mapped to [-1, 1].

    Half of the first candidates are drawn from the model's proposal, if it has one.

    Args:
        model: A model with one energy, or with one for each dimension.
        features: Features of B observations, from the model's `encode`.
        inference: A method that `check_method` accepts.
        generator: Random generator on the model's device.
        starts: Initial candidates, shape (B, M, H*D).
        deadline: Time to return the best action so far, in seconds of `time.perf_counter`.
        low_precision: The same model, `folded` to lower precision, for the rounds that only choose
            the region of the next ones. Chains need the exact gradient and don't use it.
    """
    low, high = model.box.corners()
    proposal = model.proposed(features) if isinstance(model, EnergyModel) else None
    further: dict[str, Any] = {}
    if proposal is not None:
        drawn = proposal.sample(inference.samples // 2, generator)
        if type(inference).minimize is Minimizer.minimize:
            further["proposals"] = drawn
        else:  # from outside, with its own arguments
            starts = drawn if starts is None else torch.cat((starts, drawn), dim=1)
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
    cheap = low_precision and energy_of(low_precision, features, temperature)
    return inference.minimize(energy, *common, cheap, **further)


def warm_starts(action: Tensor, samples: int, generator: torch.Generator | None) -> Tensor:
    """Copies of an action, all but the first perturbed, as initial candidates of a search.

    Args:
        action: Action in the box mapped to [-1, 1], shape (H*D,).
        samples: Number of candidates of the search.
        generator: Random generator of the perturbations.

    Returns:
        Candidates, shape (1, M, H*D).
    """
    count = min(_WARM_STARTS, max(1, samples // _WARM_SHARE))
    starts = action.expand(1, count, -1).clone()
    starts[:, 1:] += _WARM_NOISE * normal(starts[:, 1:], generator)
    return starts


def minima_of(solution: Solution) -> tuple[Tensor, Tensor]:
    """Local minima among a solution's last candidates, lowest first.

    Returns:
        Actions (B, M, D) and exact energies (B, M); a row with fewer than M minima repeats the
            first.
    """
    half_width = (solution.high - solution.low) / 2
    index = local_minima(solution.actions, solution.energies, _MINIMA, SEPARATION, half_width)
    actions, energies = take(solution.actions, index), solution.energies.gather(1, index)
    # The energy of the lowest candidate is exact; others may be low-precision energies.
    exact = evaluate(solution.energy, actions[:, 1:])
    others = torch.where(index[:, 1:] == index[:, :1], energies[:, :1], exact)
    others, order = others.sort(dim=1)
    actions = torch.cat((actions[:, :1], take(actions[:, 1:], order)), dim=1)
    return actions, torch.cat((energies[:, :1], others), dim=1)


def kept_minimum(actions: Tensor, energies: Tensor, action: Tensor, margin: float) -> Tensor:
    """Choose a minimum close to a given action, among those of almost the lowest energy.

    If two minima are equally good, a small change of the observation can exchange their order. A
    robot that follows each in turn would not make progress.

    Args:
        actions: Minima, lowest first, in the box mapped to [-1, 1], shape (M, D).
        energies: Energies of the minima, shape (M,).
        action: Action to stay close to, shape (D,).
        margin: Largest energy above the lowest one.

    Returns:
        Index of the chosen minimum, shape ().
    """
    distance = (actions - action).abs().amax(dim=1)
    return distance.masked_fill(energies > energies[0] + margin, float("inf")).argmin()


def temperature_of(inference: InferenceMethod | None) -> float:
    """Temperature of exp(-E / temperature), which the method samples; 1 if it has none."""
    return float(getattr(inference, "temperature", 1.0))
