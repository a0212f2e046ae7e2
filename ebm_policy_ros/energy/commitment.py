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
        """Create a choice among `intents` for observations of `size` values."""
        super().__init__()
        self.count = intents
        self.body = nn.Sequential(
            nn.Linear(size + intents + 1, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, intents),
        )

    def energies(self, seen: Tensor, observation: Mapping[str, Tensor]) -> Tensor:
        """Compute the energy of each intent, (B, K).

        Args:
            seen: Observations as vectors, (B, F).
            observation: The batch, with the key `INTENT`; without it there is no last intent.
        """
        last, _ = self._told(seen, observation)
        told = one_hot(last + 1, self.count + 1).to(seen.dtype)
        energies: Tensor = self.body(torch.cat((seen, told), dim=1))
        return energies.float()

    def choose(self, energies: Tensor, observation: Mapping[str, Tensor]) -> Tensor:
        """Return the present intents of a batch, (B,); the lowest where it does not tell them."""
        _, present = self._told(energies, observation)
        return torch.where(present < 0, energies.argmin(dim=1), present)

    def append(self, seen: Tensor, intent: Tensor) -> Tensor:
        """Append intents, (B,), to observations, a column for each, (B, F + K)."""
        return torch.cat((seen, one_hot(intent, self.count).to(seen.dtype)), dim=1)

    def loss(self, energies: Tensor, observation: Mapping[str, Tensor]) -> Tensor:
        """Cross entropy of the present intents of a batch, which tells them."""
        return cross_entropy(-energies, self._told(energies, observation)[1])

    def _told(self, rows: Tensor, observation: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Last and present intents of a batch of as many rows, (B,) each."""
        told = observation.get(INTENT)
        if told is None:
            told = rows.new_full((len(rows), 2), -1)
        last, present = told.round().long().clamp(-1, self.count - 1).unbind(1)
        return last, present
