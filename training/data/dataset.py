"""All demonstrations as arrays in memory, wherever they are from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

KeepBy = Literal["length", "outcome"]
Unusable = Literal["refuse", "skip"]
FAILURE = "failure"
OUTCOMES = {"success": 1.0, "unknown": 0.5, FAILURE: 0.0}
"""How good each outcome of a bag is."""


@dataclass(frozen=True)
class Dataset:
    """Every step of every demonstration; M steps of E episodes in all."""

    observations: dict[str, npt.NDArray[Any]]
    """Stream name -> (M, T, H, W, 3) uint8 or (M, T, K) float32."""
    actions: npt.NDArray[np.float32]
    """Shape (M, H, D), in the interface's units."""
    episodes: npt.NDArray[np.int64]
    """Shape (M,), which episode a step is from, 0 to E-1."""
    names: tuple[str, ...]
    """Where each episode is from."""
    outcomes: npt.NDArray[np.float64]
    """Shape (E,), how good each episode was; higher is better."""
    notes: tuple[tuple[str, str], ...] = ()
    """What was lost or is odd: where, and what in one line."""

    def best(self, fraction: float, by: KeepBy) -> Dataset:
        """The best episodes, in their old order.

        Implicit models gain from that, since they copy everything that was shown (Florence et
        al. 2021, section 5).

        Args:
            fraction: Of the episodes, 0 to 1; at least one stays.
            by: length, the shortest; outcome, the best, and of equally good ones the shortest.
        """
        lengths = np.bincount(self.episodes, minlength=len(self.names))
        goodness = self.outcomes if by == "outcome" else np.zeros(len(self.names))
        order = np.lexsort((lengths, -goodness))
        kept = np.sort(order[: max(1, round(fraction * len(order)))])
        steps = np.isin(self.episodes, kept)
        return Dataset(
            observations={name: values[steps] for name, values in self.observations.items()},
            actions=self.actions[steps],
            episodes=np.searchsorted(kept, self.episodes[steps]),
            names=tuple(self.names[i] for i in kept),
            outcomes=self.outcomes[kept],
            notes=self.notes,
        )
