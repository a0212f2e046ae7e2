"""Values of a model that are not learned by gradients: normalisation, memory and averages."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ebm_policy_ros.energy.baselines import NearestNeighbourModel
from ebm_policy_ros.energy.models import Model
from ebm_policy_ros.training.data.batches import Batches, Demonstrations, Frames


def fit(
    model: Model,
    batches: Batches,
    data: Demonstrations,
    frames: Frames,
    batch_size: int,
    box: tuple[Sequence[float], Sequence[float]] | None,
) -> None:
    """Fit the normalisation, and the memory of nearest neighbours, to the training frames.

    Args:
        model: Model, on its device.
        batches: Batches of `data`.
        data: The demonstrations.
        frames: Frames to fit to.
        batch_size: Frames encoded at a time.
        box: Lower and upper corner of the action box, (H*D,) each; None for the range of the
            actions and a margin.
    """
    encoder = model.encoder
    encoder.fit({n: torch.from_numpy(data.observations[n][frames]) for n in encoder.measurements})
    space = model.box
    measured = {n: torch.from_numpy(data.observations[n][frames]) for n in space.streams}
    origin = space.origin({n: values.to(batches.device) for n, values in measured.items()})
    space.fit(batches.actions(frames), origin)
    if box is not None:
        model.box.low.copy_(torch.tensor(box[0]))
        model.box.high.copy_(torch.tensor(box[1]))
    if isinstance(model, NearestNeighbourModel):
        for part in np.array_split(frames, math.ceil(len(frames) / batch_size)):
            features = model.encode(batches.observation(part))
            model.remember(features, model.box.normalise(batches.actions(part)))


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
