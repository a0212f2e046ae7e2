"""Evaluation of a model on held-out episodes."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parametrize

from ebm_policy_ros.device.selection import has_fast_bfloat16
from ebm_policy_ros.energy.baselines import NearestNeighbourModel
from ebm_policy_ros.energy.commitment import INTENT
from ebm_policy_ros.energy.models import ImplicitModel, Model
from ebm_policy_ros.inference.methods import InferenceMethod
from ebm_policy_ros.policy.action_search import check_method, minimize
from ebm_policy_ros.training.data.batches import Batches, Frames
from ebm_policy_ros.training.learning.config import Choice, LearningConfig
from ebm_policy_ros.training.learning.objective import loss_of, rank_of

# Maximum number of candidates of the evaluation's search, besides those that its modes need: with
# the full number, evaluating hundreds of frames would take longer than training on them.
_SAMPLES = 256


@dataclass(frozen=True)
class EvaluationMetrics:
    """Means over held-out frames."""

    loss: float
    """Training loss, without that of a proposal; NaN for nearest neighbours."""
    action_error: float
    """Distance between the chosen and the demonstrated action, in the interface's units."""
    rank: float
    """Share of other actions with less energy than the demonstrated one; 0 without an energy."""

    @classmethod
    def worst(cls) -> EvaluationMetrics:
        """Metrics that are worse than any others."""
        return cls(math.inf, math.inf, math.inf)

    def better_than(self, others: EvaluationMetrics, choice: Choice) -> bool:
        """Return True if weights with these metrics replace those with the others."""
        if choice == "last":
            return True
        if choice == "loss":
            return self.loss < others.loss
        both, theirs = ((m.action_error, m.rank) for m in (self, others))
        return both < theirs if choice == "action_error" else both[::-1] < theirs[::-1]


class Evaluator:
    """Evaluator of a model, with changing weights, on fixed held-out frames."""

    def __init__(
        self,
        model: Model,
        inference: InferenceMethod,
        config: LearningConfig,
        batches: Batches,
        held_out: Frames,
    ) -> None:
        """Select evenly spread frames of those `held_out`.

        Raises:
            ValueError: If the inference needs another kind of model.
        """
        check_method(model, inference)
        self._model, self._config, self._batches = model, config, batches
        most = max(_SAMPLES, 4 * getattr(inference, "places", 0))
        self._inference = dataclasses.replace(inference, samples=min(most, inference.samples))
        count = min(config.validate_frames, len(held_out))
        self._frames = held_out[np.linspace(0, len(held_out) - 1, count).round().astype(int)]

    def evaluate(self, generator: torch.Generator) -> EvaluationMetrics:
        """Compute the means over all frames; `generator` draws negatives and noise."""
        if len(self._frames) == 0:
            return EvaluationMetrics.worst()
        parts = math.ceil(len(self._frames) / self._config.batch_size)
        rows = []
        with torch.no_grad(), parametrize.cached():
            for frames in np.array_split(self._frames, parts):
                means = self._means(frames, generator)
                rows.append([mean * len(frames) / len(self._frames) for mean in means])
        return EvaluationMetrics(*(sum(column) for column in zip(*rows, strict=True)))

    def _means(self, frames: Frames, generator: torch.Generator) -> tuple[float, float, float]:
        model, device = self._model, generator.device
        with autocast(self._config, device):
            seen = self._batches.observation(frames)
            features, origin = model.encode(seen), model.box.origin(seen)
            demonstrated = self._batches.actions(frames)
            positive = model.box.normalise(demonstrated, origin)
            loss, rank = math.nan, 0.0
            if not isinstance(model, NearestNeighbourModel):
                value, scalars = loss_of(model, features, positive, self._config, generator)
                # A proposal overfits earlier than the energy, which is what decides.
                loss = (value - scalars.get("proposal", 0.0)).item()
            if isinstance(model, ImplicitModel):
                rank = rank_of(model, features, positive, generator).mean().item()
            if INTENT in seen:  # the policy chooses the present one, given the last one
                seen[INTENT][:, 1] = -1
                features = model.encode(seen)
            chosen = model.box.denormalise(self._choose(features), origin)
        return loss, (chosen - demonstrated).norm(dim=1).mean().item(), rank

    def _choose(self, features: Tensor) -> Tensor:
        """Chosen actions in the box mapped to [-1, 1], shape (B, H*D)."""
        # The same candidates or noise each time, so that only the weights differ.
        generator = torch.Generator(features.device).manual_seed(0)
        if not isinstance(self._model, ImplicitModel):
            return self._model.action(features, generator).float()
        return minimize(self._model, features, self._inference, generator).best


def autocast(config: LearningConfig, device: torch.device) -> torch.autocast:
    """Context with the precision of the settings, unless the device is slower with it.

    A CPU that emulates bfloat16 takes ten times as long for a step.
    """
    mixed = config.precision == "bf16" and has_fast_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed)
