"""Values of a model that are not learned by gradients: normalisation, memory and averages."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ebm_policy_ros.energy.baselines import NearestNeighbourModel
from ebm_policy_ros.energy.models import Model
from ebm_policy_ros.training.data.batches import Batches, Frames


def fit(
    model: Model,
    batches: Batches,
    frames: Frames,
    batch_size: int,
    box: tuple[Sequence[float], Sequence[float]] | None,
) -> None:
    """Fit the normalisation, and the memory of nearest neighbours, to the training frames.

    Args:
        model: Model, on its device.
        batches: Batches of the demonstrations.
        frames: Frames to fit to.
        batch_size: Frames encoded at a time.
        box: Lower and upper corner of the box of coordinates, (K,) each; None for the range of the
            actions and a margin.
    """
    encoder, space = model.encoder, model.box
    measured = batches.measured(frames)
    encoder.fit(measured)
    space.fit(batches.actions(frames).cpu(), space.origin(measured))
    if box is not None:
        space.low.copy_(torch.tensor(box[0]))
        space.high.copy_(torch.tensor(box[1]))
    if isinstance(model, NearestNeighbourModel):
        for part in np.array_split(frames, math.ceil(len(frames) / batch_size)):
            seen = batches.observation(part)
            positive = space.normalise(batches.actions(part), space.origin(seen))
            model.remember(model.encode(seen), positive)


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
