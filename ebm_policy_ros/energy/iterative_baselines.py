"""Baselines that compute an action in several steps of one network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ebm_policy_ros.energy.action_space import ActionSpace
from ebm_policy_ros.energy.baselines import Baseline
from ebm_policy_ros.energy.encoders import ObservationEncoder
from ebm_policy_ros.energy.heads import HEAD_LAYERS, HeadConfig

# Time t* of the second step of two-step regression.
_SECOND = 0.9


class StepHead(nn.Module):
    """Head from features, a point of the action box and a time to a vector at that point."""

    def __init__(self, features: int, size: int, config: HeadConfig) -> None:
        """Create a head for feature vectors of `features` values and points of `size` values."""
        super().__init__()
        self.feature_half = nn.Linear(features, config.width)
        # Apart from the features: as further inputs of one layer, point and time would begin with
        # much smaller weights, as the many features do.
        self.point_half = nn.Linear(size + 1, config.width, bias=False)
        self.body = HEAD_LAYERS.find(config.kind)(config)
        self.output = nn.Linear(config.width, size)

    def forward(self, features: Tensor, points: Tensor, time: Tensor | float) -> Tensor:
        """Compute vectors, (B, K), at points, (B, K), and times, (B, 1) or a number, 0 to 1."""
        times = time if isinstance(time, Tensor) else points.new_full((len(points), 1), time)
        place = torch.cat((points, times), dim=1)
        hidden = self.feature_half(features) + self.point_half(place)
        vectors: Tensor = self.output(self.body(hidden))
        return vectors.to(points.dtype)


class FlowModel(Baseline):
    """Flow from normal noise to demonstrated actions (Lipman et al. 2023, Flow Matching).

    The noise decides which of several right actions it ends at. The paths are straight (Liu et
    al. 2023, Rectified Flow).
    """

    def __init__(
        self, head: HeadConfig, encoder: ObservationEncoder, space: ActionSpace, steps: int
    ) -> None:
        """Create a flow for actions of a space; an action takes `steps` Euler steps."""
        super().__init__(encoder, space)
        self.head = StepHead(encoder.size, space.size, head)
        self._steps = steps

    def action(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw actions, shape (B, H*D), in the box mapped to [-1, 1]."""
        shape = (len(features), self.box.size)
        points = torch.randn(shape, generator=generator, device=features.device)
        for step in range(self._steps):
            points = points + self.head(features, points, step / self._steps) / self._steps
        return points.clamp(-1, 1)  # noise has no bounds; the actions of a search stay in the box

    def loss(
        self, features: Tensor, target: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean squared error of the velocity on the paths to demonstrated actions, (B, H*D)."""
        noise = _noise(target, generator)
        time = torch.rand((len(target), 1), generator=generator, device=target.device).to(target)
        points = torch.lerp(noise, target, time)
        return mse_loss(self.head(features, points, time), target - noise)


class TwoStepModel(Baseline):
    """Regression in two steps: the minimal iterative policy (Pan et al. 2025, arXiv 2512.01809).

    The first step predicts the action from the observation. The second one predicts it from the
    observation and the first prediction; it learns that from demonstrated actions with noise.
    """

    def __init__(self, head: HeadConfig, encoder: ObservationEncoder, space: ActionSpace) -> None:
        """Create a two-step regression for actions of a space."""
        super().__init__(encoder, space)
        self.head = StepHead(encoder.size, space.size, head)

    def action(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Compute actions, shape (B, H*D), in the box mapped to [-1, 1], without a draw."""
        nothing = torch.zeros(len(features), self.box.size, device=features.device)
        first = self.head(features, nothing, 0.0)
        action: Tensor = self.head(features, _SECOND * first, _SECOND)
        return action

    def loss(
        self, features: Tensor, target: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Sum of the mean squared errors of both steps against actions, shape (B, H*D)."""
        noisy = torch.lerp(_noise(target, generator), target, _SECOND)
        first = self.head(features, torch.zeros_like(target), 0.0)
        second = self.head(features, noisy, _SECOND)
        return mse_loss(first, target) + mse_loss(second, target)


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers with the shape, device and precision of `like`."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
