"""Values of a model that are not learned by gradients: normalisation, memory and averages."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ebm_policy_ros.energy.baselines import NearestNeighbourModel
from ebm_policy_ros.energy.heads import EnergyHead
from ebm_policy_ros.energy.models import EnergyModel, Model
from ebm_policy_ros.training.data.batches import Batches, Frames

# Largest number of frames of a linear regression.
_REGRESSED = 2048
# Penalty on its weights, as a share of the variance of all features. Features that hardly vary
# would explain what few frames show.
_RIDGE = 1e-3


def fit(
    model: Model,
    batches: Batches,
    frames: Frames,
    batch_size: int,
    margin: float,
) -> None:
    """Fit the normalisation, and the memory of nearest neighbours, to the training frames.

    Args:
        model: Model, on its device.
        batches: Batches of the demonstrations.
        frames: Frames to fit to.
        batch_size: Frames encoded at a time.
        margin: Share of the range of the actions by which their box is wider on each side.
    """
    encoder, space = model.encoder, model.box
    measured = batches.measured(frames)
    encoder.fit(measured)
    space.fit(batches.actions(frames).cpu(), space.origin(measured), margin)
    if isinstance(model, NearestNeighbourModel):
        model.remember(*_pairs(model, batches, frames, batch_size))


def begin_linear(model: EnergyModel, batches: Batches, frames: Frames, batch_size: int) -> None:
    """Let an energy begin with the action relative to its linear regression on the features.

    The first layer W_f f + W_a a + b becomes W_f f + W_a (a - L f - c) + b, where L f + c is the
    ridge regression of the demonstrated actions on the features that enter the trunk, or on all
    features if they do not reach the head. The architecture stays.

    Args:
        model: Model with its normalisation fitted, on its device.
        batches: Batches of the demonstrations.
        frames: Frames of the regression; of many, some that are evenly spread.
        batch_size: Frames encoded at a time.
    """
    head = model.head
    assert isinstance(head, EnergyHead)
    some = frames[:: math.ceil(len(frames) / _REGRESSED)]
    features, positive = _pairs(model, batches, some, batch_size)
    seen, wanted = model.encoder.inputs_of(features).double(), positive.double()
    centre, mean = seen.mean(dim=0), wanted.mean(dim=0)
    offsets = seen - centre
    gram = offsets.T @ offsets
    ridge = _RIDGE * gram.trace() / len(some)
    penalty = ridge.clamp_min(torch.finfo(ridge.dtype).tiny) * torch.eye(len(gram)).to(gram)
    linear = torch.linalg.solve(gram + penalty, offsets.T @ (wanted - mean))
    with torch.no_grad():
        weight, towards = head.feature_half.weight, head.action_half.weight.double()
        weight[:, -len(linear) :].sub_((towards @ linear.T).to(weight))
        head.feature_half.bias.sub_((towards @ (mean - centre @ linear)).to(weight))


def _pairs(
    model: Model, batches: Batches, frames: Frames, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Encode frames.

    Returns:
        The encoder's output, (M, F), and the demonstrated actions in the normalised box, (M, K).
    """
    features, actions = [], []
    with torch.no_grad():
        for part in np.array_split(frames, math.ceil(len(frames) / batch_size)):
            seen = batches.observation(part)
            features.append(model.encoder(seen))
            actions.append(model.box.normalise(batches.actions(part), model.box.origin(seen)))
    return torch.cat(features), torch.cat(actions)


def update_average(average: Model, model: Model, decay: float) -> None:
    """Move the average of the weights by a share of 1 - `decay` towards the model."""
    with torch.no_grad():
        means: list[Tensor] = list(average.parameters())
        values: list[Tensor] = list(model.parameters())
        if means:
            torch._foreach_lerp_(means, values, 1 - decay)
        # Buffers hold the singular vectors of normalised layers.
        for kept, buffer in zip(average.buffers(), model.buffers(), strict=True):
            kept.copy_(buffer)
