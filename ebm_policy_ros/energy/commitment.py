"""Commitment: a discrete intent that a policy keeps from decision to decision."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

INTENT = "/intent"
"""Key of the intents in a batch of observations, beside the streams: (B, 2), the last intent and
the present one; -1 for none and for one to be chosen. No stream can have this name."""


class Commitment(nn.Module):
    """Energy of the next intent, given the observation and the last intent.

    The intent of lowest energy is chosen before the action, which is then searched given the
    intent. The energy is learned from the intents of demonstrations, so that keeping an intent
    costs nothing while demonstrators keep it.
    """

    def __init__(self, size: int, intents: int, width: int) -> None:
        """Create a choice among `intents` for feature vectors of `size` values."""
        super().__init__()
        self.count = intents
        self.body = nn.Sequential(
            nn.Linear(size + intents + 1, width), nn.ReLU(), nn.Linear(width, intents)
        )

    def energies(self, features: Tensor, last: Tensor) -> Tensor:
        """Compute energies of intents, (B, K), from features (B, F) and last intents (B,)."""
        told = one_hot(last + 1, self.count + 1).to(features.dtype)
        energies: Tensor = self.body(torch.cat((features, told), dim=1))
        return energies.float()

    def forward(self, features: Tensor, observation: Mapping[str, Tensor]) -> Tensor:
        """Append the intent to features, one column for each, (B, F + K).

        It is the present one of the batch, or chosen where the batch does not tell it.
        """
        last, present = self._told(features, observation)
        chosen = self.energies(features, last).argmin(dim=1)
        intent = torch.where(present < 0, chosen, present)
        return torch.cat((features, one_hot(intent, self.count).to(features.dtype)), dim=1)

    def chosen(self, features: Tensor) -> Tensor:
        """Return the intents, (B,), in features that `forward` has completed."""
        return features[:, -self.count :].argmax(dim=1)

    def loss(self, features: Tensor, observation: Mapping[str, Tensor]) -> Tensor:
        """Cross entropy of the present intents of a batch, given completed features (B, F + K)."""
        last, present = self._told(features, observation)
        return cross_entropy(-self.energies(features[:, : -self.count], last), present)

    def _told(self, features: Tensor, observation: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Last and present intents of a batch, (B,) each."""
        told = observation.get(INTENT)
        if told is None:
            told = features.new_full((len(features), 2), -1)
        last, present = told.round().long().clamp(-1, self.count - 1).unbind(1)
        return last, present
