"""Settings of the learning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["bf16", "fp32"]


@dataclass(frozen=True)
class LearningConfig:
    """How a model learns from demonstrations."""

    batch_size: int = 64
    """Frames in a batch."""
    negatives: int = 64
    """Counter-examples for each frame (energy only)."""
    learning_rate: float = 1e-3
    """Highest step size of AdamW; it rises during the warm-up and falls to 0 along a cosine."""
    warm_up: int = 200
    """Steps until the highest step size."""
    weight_decay: float = 1e-4
    """Pull of AdamW towards small weights."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    average_decay: float = 0.999
    """Decay of the moving average of the weights; the average is what is judged and kept."""
    image_shift: int = 0
    """Largest random shift of the images in training, pixels; 0 for none."""
    precision: Precision = "bf16"
    """Arithmetic of the layers: bf16 (mixed, faster) or fp32."""
    held_out: float = 0.1
    """Fraction of the episodes that are never trained on, to choose the best weights by."""
    validate_every: int = 500
    """Steps between two judgements on the held-out episodes."""
    validate_frames: int = 512
    """Frames of the held-out episodes, evenly spread, that are judged."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""

    def __post_init__(self) -> None:
        for name in (
            "batch_size", "negatives", "validate_every", "validate_frames", "checkpoint_every"
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected an integer >= 1")
        for name in ("learning_rate", "gradient_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a number > 0")
        for name in ("warm_up", "weight_decay", "image_shift"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a number >= 0")
        for name, value in (("held_out", self.held_out), ("average_decay", self.average_decay)):
            if not 0 < value < 1:
                raise ValueError(f"{name}: got {value}, expected a number between 0 and 1")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision: got {self.precision!r}, expected bf16 or fp32")
