"""Settings of the training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from ebm_policy_ros.inference.settings import at_least, not_negative, one_of, positive
from ebm_policy_ros.training.data.augmentation import Augmentation
from ebm_policy_ros.training.learning.losses import LOSSES
from ebm_policy_ros.training.learning.negatives import NegativesConfig

Precision = Literal["bf16", "fp32"]
Schedule = Literal["cosine", "step"]
Choice = Literal["last", "loss", "action_error", "rank"]


@dataclass(frozen=True)
class LearningConfig:
    """Settings of the training from demonstrations."""

    batch_size: int = 64
    """Frames in a batch."""
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    """Negatives (energies only)."""
    loss: str = "info_nce"
    """Contrastive loss of demonstrated actions and negatives (energies only): info_nce, or the
    full name of your own function, package.module.name."""
    temperature: float = 1.0
    """Temperature of InfoNCE; divides the energies."""
    action_noise: float = 0.0
    """Standard deviation of normal noise on the demonstrated actions in the contrastive loss
    (energies only), in half-widths of the action box; 0 for none."""
    gradient_penalty: float = 0.0
    """Weight of the penalty on the gradient of the energy; 0 for none."""
    gradient_margin: float = 1.0
    """Largest gradient without penalty, per half-width of the action box."""
    linear_start: bool = False
    """Begin with the action relative to its linear regression on the features (kind energy), so
    that few demonstrations say more of actions outside theirs. A small model.head.feature_gain
    leaves the energy little else at the start."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    schedule: Schedule = "cosine"
    """Learning rate after the warm-up: cosine decreases it to 0 at the last step; step multiplies
    it by `decay` every `decay_every` steps."""
    decay: float = 0.99
    """Factor on the learning rate (step)."""
    decay_every: int = 100
    """Steps between two reductions of the learning rate (step)."""
    warm_up: int = 200
    """Steps of the linear warm-up of the learning rate."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; larger ones are scaled down."""
    average_decay: float = 0.999
    """Decay of the moving average of the weights. The average is evaluated and saved."""
    image_shift: int = 0
    """Largest random shift of the images in training, pixels; 0 for none."""
    image_jitter: float = 0.0
    """Largest random change of the brightness, and of the contrast, of the images in training, as
    a share; 0 for none."""
    measurement_noise: float = 0.0
    """Standard deviation of random noise on the measurements in training, in standard deviations
    of each; 0 for none."""
    precision: Precision = "bf16"
    """Precision of the layers: bf16 (mixed, faster; fp32 on a CPU that only emulates it) or
    fp32."""
    held_out: float = 0.1
    """Fraction of the episodes held out from training, to judge it and to calibrate the
    confidence; 0 for none."""
    choose_by: Choice = "last"
    """Weights that are saved: last, or those with the lowest metric on the held-out frames: loss;
    action_error, the distance of the chosen action from the demonstrated one; or rank, the share
    of other actions with less energy. Action error may rise while success still does: of several
    right answers only one was demonstrated."""
    validate_every: int = 500
    """Steps between two evaluations on the held-out episodes."""
    validate_frames: int = 512
    """Number of held-out frames that are evaluated, evenly spread."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    allow_constant: bool = False
    """Accept measurements and actions with a dimension that never changes."""

    def __post_init__(self) -> None:
        at_least(
            self, 1, "batch_size", "decay_every", "validate_every", "validate_frames",
            "checkpoint_every",
        )  # fmt: skip
        at_least(self, 0, "warm_up", "image_shift")
        positive(self, "learning_rate", "gradient_clip", "temperature")
        not_negative(
            self, "weight_decay", "gradient_penalty", "gradient_margin", "measurement_noise",
            "image_jitter", "action_noise",
        )  # fmt: skip
        if self.image_jitter > 1:
            raise ValueError(f"image_jitter: got {self.image_jitter}, expected a share up to 1")
        try:
            LOSSES.find(self.loss)
        except ValueError as error:
            raise type(error)(f"loss: {error}") from None
        for name, choices in (("schedule", Schedule), ("precision", Precision)):
            one_of(self, name, get_args(choices))
        one_of(self, "choose_by", get_args(Choice))
        for name in ("average_decay", "decay"):
            if not 0 < getattr(self, name) < 1:
                got = getattr(self, name)
                raise ValueError(f"{name}: got {got}, expected a number between 0 and 1")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out: got {self.held_out}, expected a fraction below 1")

    @property
    def augmentation(self) -> Augmentation:
        """Random changes of observations in training."""
        return Augmentation(self.image_shift, self.image_jitter, self.measurement_noise)

    def rate_at(self, step: int, steps: int) -> float:
        """Learning rate of a step, from 0, of `steps`: a linear warm-up, then the schedule.

        The cosine is that of Loshchilov and Hutter (2017), without restarts.
        """
        step += 1
        if step <= self.warm_up:
            return self.learning_rate * step / self.warm_up
        after = step - self.warm_up
        if self.schedule == "step":
            return self.learning_rate * self.decay ** (after // self.decay_every)
        progress = after / max(1, steps - self.warm_up)
        return self.learning_rate * (1 + math.cos(math.pi * min(1.0, progress))) / 2
