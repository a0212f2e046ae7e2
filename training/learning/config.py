"""Settings of the learning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from ebm_policy_ros.inference.settings import at_least, not_negative, one_of, positive
from ebm_policy_ros.training.learning.losses import LOSSES
from ebm_policy_ros.training.learning.negatives import NegativesConfig

Precision = Literal["bf16", "fp32"]
Schedule = Literal["cosine", "step"]
Choice = Literal["action_error", "rank"]


@dataclass(frozen=True)
class LearningConfig:
    """How a model learns from demonstrations."""

    batch_size: int = 64
    """Frames in a batch."""
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    """Counter-examples (energies only)."""
    loss: str = "info_nce"
    """Loss that tells demonstrated actions from negatives (energies only): info_nce, or the full
    name of your own, package.module.name."""
    temperature: float = 1.0
    """Of InfoNCE: divides the energies."""
    gradient_penalty: float = 0.0
    """Weight of the penalty on slopes of the energy; 0 for none."""
    gradient_margin: float = 1.0
    """Steepest slope without penalty, per half-width of the box."""
    learning_rate: float = 1e-3
    """Highest step size of AdamW."""
    schedule: Schedule = "cosine"
    """How it falls after the warm-up: cosine, to 0 at the last step; step, by `decay` again and
    again."""
    decay: float = 0.99
    """Factor on the step size (step)."""
    decay_every: int = 100
    """Steps between two such falls (step)."""
    warm_up: int = 200
    """Steps over which it rises to the highest."""
    weight_decay: float = 1e-4
    """Pull of AdamW towards small weights."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    average_decay: float = 0.999
    """Decay of the moving average of the weights; the average is what is judged and kept."""
    image_shift: int = 0
    """Largest random shift of the images in training, pixels; 0 for none."""
    precision: Precision = "bf16"
    """Arithmetic of the layers: bf16 (mixed, faster; fp32 on a CPU that only emulates it) or
    fp32."""
    held_out: float = 0.1
    """Fraction of the episodes that are never trained on, to choose the best weights by; 0: none,
    and the last weights are kept."""
    choose_by: Choice = "action_error"
    """What the best weights have the lowest of, on held-out frames: action_error, the distance of
    the chosen action from the demonstrated one, or rank, the share of other actions with less
    energy, which doesn't mind that several answers are right."""
    validate_every: int = 500
    """Steps between two judgements on the held-out episodes."""
    validate_frames: int = 512
    """Frames of the held-out episodes, evenly spread, that are judged."""
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
        not_negative(self, "weight_decay", "gradient_penalty", "gradient_margin")
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
