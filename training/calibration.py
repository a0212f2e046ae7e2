"""Calibration of the confidence measures and their thresholds from demonstrations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebm_policy_ros.energy.models import Model
from ebm_policy_ros.policy.out_of_distribution import FeatureTap, OutOfDistributionDetector
from ebm_policy_ros.training.data.batches import Batches, Demonstrations, Frames

FALSE_ALARMS = 0.002
"""Default share of familiar observations that are classified as unfamiliar."""
# Maximum number of frames used: frames close in time add no information.
_MOST = 20000
_BATCH = 64


@dataclass(frozen=True)
class Calibration:
    """Calibration results that are stored in a policy file."""

    confidence: dict[str, Any]
    """Thresholds and their metadata."""
    references: dict[str, Tensor]
    """Means and inverse covariances."""


def check_false_alarms(rate: float) -> None:
    """Refuse a rate that is not a share.

    Raises:
        ValueError: If it is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise ValueError(f"false_alarms: got {rate}, expected a share above 0 and below 1")


def calibrate(
    model: Model, data: Demonstrations, known: Frames, held_out: Frames, rate: float
) -> Calibration:
    """Fit the references to some frames, and the thresholds to frames of other episodes.

    Args:
        model: The policy's model with its weights, on the device to compute on.
        data: Demonstrations.
        known: Frames that the references are fitted to.
        held_out: Frames of other episodes, at least one.
        rate: Share of the held-out frames that exceed a threshold.
    """
    tap = FeatureTap(model)
    first, second = (_vectors(model, tap, data, frames) for frames in (known, held_out))
    detector = OutOfDistributionDetector.fit(first, second, rate)
    confidence = {
        "thresholds": detector.thresholds,
        "false_alarms": rate,
        "episodes": [len(np.unique(data.episodes[frames])) for frames in (known, held_out)],
        "frames": [len(known), len(held_out)],
    }
    return Calibration(confidence, detector.to_tensors())


def _vectors(
    model: Model, tap: FeatureTap, data: Demonstrations, frames: Frames
) -> dict[str, Tensor]:
    """Feature vectors of the confidence measures, shape (M, F), by measure."""
    count = min(_MOST, len(frames))
    frames = frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]
    device = model.box.low.device
    batches = Batches(data, tuple(model.encoder.shapes), _BATCH, 0, device)
    found: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for part in np.array_split(frames, math.ceil(count / _BATCH)):
            batch = batches.observation(part)
            model.encode(batch)
            for name, vectors in tap.last(batch).items():
                found.setdefault(name, []).append(vectors.cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}
