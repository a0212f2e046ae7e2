"""Baselines for energy models: models that compute an action directly, without a search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ebm_policy_ros.energy.action_space import ActionSpace
from ebm_policy_ros.energy.encoders import ObservationEncoder
from ebm_policy_ros.energy.heads import HeadConfig, VectorHead
from ebm_policy_ros.energy.mixture import Mixture, numbers_of

# Minimum of the log standard deviation, in half-widths of the box. A narrower Gaussian would
# overfit single demonstrations.
_NARROWEST_LOG_STD = math.log(1e-3)
# Rows compared at a time. All together would need memory for queries x demonstrations.
_CHUNK = 256


class Baseline(nn.Module):
    """Encoder and action space of a model without an energy."""

    def __init__(self, encoder: ObservationEncoder, space: ActionSpace) -> None:
        """Keep both; the further weights are those of the subclass."""
        super().__init__()
        self.encoder = encoder
        self.box = space

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Encode observations to features, shape (B, F)."""
        return self.prepare(self.encoder(observation))

    def prepare(self, encoded: Tensor) -> Tensor:
        """Return the encoder's output: the features of `encode`."""
        return encoded


class RegressionModel(Baseline):
    """Regression a(observation): the mean of the demonstrated actions."""

    def __init__(self, head: HeadConfig, encoder: ObservationEncoder, space: ActionSpace) -> None:
        """Create a regression model for actions of a space."""
        super().__init__(encoder, space)
        self.head: nn.Module = VectorHead(encoder.size, space.size, head)

    def action(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Compute actions, shape (B, H*D), in the box mapped to [-1, 1]."""
        action: Tensor = self.head(features)
        return action

    def loss(
        self, features: Tensor, target: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean squared error against demonstrated actions, shape (B, H*D), in the same box."""
        return nn.functional.mse_loss(self.action(features).to(target.dtype), target)


class MixtureModel(Baseline):
    """Density p(a | observation): mixture of Gaussians (Bishop 1994, Mixture Density Networks)."""

    def __init__(
        self, head: HeadConfig, encoder: ObservationEncoder, space: ActionSpace, components: int
    ) -> None:
        """Create a mixture of `components` Gaussians for actions of a space."""
        super().__init__(encoder, space)
        self.head = VectorHead(encoder.size, numbers_of(components, space.size), head)

    def action(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Compute the mean of highest density, shape (B, H*D), in the box mapped to [-1, 1]."""
        mixture = self._mixture(features)
        peak = mixture.log_density(mixture.means).argmax(dim=1)
        return mixture.means[torch.arange(len(peak), device=peak.device), peak]

    def loss(
        self, features: Tensor, target: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Negative log likelihood of demonstrated actions, shape (B, H*D), in the same box."""
        return self._mixture(features).loss(target)

    def _mixture(self, features: Tensor) -> Mixture:
        mixture = Mixture.of(self.head(features), self.box.corners()[1])
        return replace(mixture, log_std=mixture.log_std.clamp_min(_NARROWEST_LOG_STD))


class NearestNeighbourModel(Baseline):
    """Nearest neighbour: the action of the most similar demonstrated observation.

    The weights hold the demonstrations. Similarity is a small Euclidean distance between feature
    vectors: normalised measurements, and the grey values of small images.
    """

    keys: Tensor
    actions: Tensor

    def __init__(self, encoder: ObservationEncoder, space: ActionSpace) -> None:
        """Create a model for actions of a space.

        The encoder must have no trainable weights.
        """
        super().__init__(encoder, space)
        self.register_buffer("keys", torch.empty(0, encoder.size))
        self.register_buffer("actions", torch.empty(0, space.size))

    def remember(self, features: Tensor, actions: Tensor) -> None:
        """Add demonstrations: features (M, F), actions (M, H*D) in the box mapped to [-1, 1]."""
        self.keys = torch.cat((self.keys, features.to(self.keys)))
        self.actions = torch.cat((self.actions, actions.to(self.actions)))

    def action(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Compute actions, shape (B, H*D), in the box mapped to [-1, 1]."""
        nearest = [
            torch.cdist(rows, self.keys).argmin(dim=1) for rows in torch.split(features, _CHUNK)
        ]
        return self.actions[torch.cat(nearest)]

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        # Only the stored weights give the number of demonstrations.
        for name in ("keys", "actions"):
            stored = state.get(prefix + name)
            if stored is not None:
                setattr(self, name, getattr(self, name).new_empty(stored.shape))
        super()._load_from_state_dict(state, prefix, *rest)
