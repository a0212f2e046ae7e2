"""From features to what a policy needs: the energy of candidates, or an action."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _Residual(nn.Module):
    """Two layers added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )  # fmt: skip

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.relu(hidden + self.layers(hidden))


class EnergyHead(nn.Module):
    """Energies of candidates; the action joins the features late.

    The first layer of a network on (features, action) is W_f f + W_a a + b. `prepare` computes
    the half of the features once per observation, `forward` adds that of each candidate.
    """

    def __init__(self, features: int, action_size: int, width: int) -> None:
        """For feature vectors of `features` values and actions of `action_size`."""
        super().__init__()
        self.feature_half = nn.Linear(features, width)
        self.action_half = nn.Linear(action_size, width, bias=False)
        # With the usual 1/sqrt(n) the few action values would drown in the many features.
        nn.init.normal_(self.action_half.weight)
        self.residual = _Residual(width)
        self.output = nn.Linear(width, 1)

    def prepare(self, features: Tensor) -> Tensor:
        """The features' half of the first layer, shape (B, width)."""
        half: Tensor = self.feature_half(features)
        return half

    def forward(self, prepared: Tensor, actions: Tensor) -> Tensor:
        """Energies, shape (B, N), of candidates (B, N, A) in the normalised box."""
        hidden = self.residual(torch.relu(prepared[:, None] + self.action_half(actions)))
        # Differences between energies decide: bfloat16 would round them away.
        with torch.autocast(hidden.device.type, enabled=False):
            energies: Tensor = self.output(hidden.to(self.output.weight.dtype)).squeeze(-1)
        return energies


class ActionHead(nn.Module):
    """One action, regressed: the explicit policy that the energy is compared with."""

    def __init__(self, features: int, action_size: int, width: int) -> None:
        """For feature vectors of `features` values and actions of `action_size`."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, width),
            nn.ReLU(),
            _Residual(width),
            nn.Linear(width, action_size),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Actions, shape (B, A), in the normalised box."""
        action: Tensor = self.layers(features)
        return action
