"""Demonstrations as arrays in memory, independent of their source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

KeepBy = Literal["length", "outcome"]
Unusable = Literal["refuse", "skip"]
FAILURE = "failure"
OUTCOMES = {"success": 1.0, "unknown": 0.5, FAILURE: 0.0}
"""Value of each outcome of a bag; higher is better."""


class DemonstrationError(ValueError):
    """Error for demonstrations that cannot be used for training."""


@dataclass(frozen=True)
class Dataset:
    """All steps of all demonstrations; M steps, E episodes."""

    observations: dict[str, npt.NDArray[Any]]
    """Stream name -> (M, T, H, W, 3) uint8 or (M, T, K) float32."""
    actions: npt.NDArray[np.float32]
    """Actions in the interface's units, shape (M, H, D)."""
    episodes: npt.NDArray[np.int64]
    """Episode of each step, 0 to E-1, shape (M,)."""
    names: tuple[str, ...]
    """Source of each episode."""
    outcomes: npt.NDArray[np.float64]
    """Quality of each episode, higher is better, shape (E,)."""
    notes: tuple[tuple[str, str], ...] = ()
    """Problems found while reading: source and a description of one line."""
    times_ns: npt.NDArray[np.int64] | None = None
    """Time of each step, nanoseconds, shape (M,); None if the source has no gaps."""
    failures: tuple[str, ...] = ()
    """Sources left out, since their outcome is a failure."""
    intents: npt.NDArray[np.int64] | None = None
    """Labelled intent of each step, shape (M,); None if there are no labels."""

    def select(self, steps: npt.NDArray[np.bool_]) -> Dataset:
        """Keep the steps for which `steps`, shape (M,), is true; of each episode at least one."""
        return replace(
            self,
            observations={name: values[steps] for name, values in self.observations.items()},
            actions=self.actions[steps],
            episodes=self.episodes[steps],
            times_ns=None if self.times_ns is None else self.times_ns[steps],
            intents=None if self.intents is None else self.intents[steps],
        )

    def best(self, fraction: float, by: KeepBy) -> Dataset:
        """Select the best episodes, in their original order.

        Implicit models benefit, since they imitate everything that was demonstrated (Florence et
        al. 2021, section 5).

        Args:
            fraction: Share of the episodes, 0 to 1; at least one is kept.
            by: "length" keeps the shortest; "outcome" keeps the best, the shortest of equally good
                ones.
        """
        lengths = np.bincount(self.episodes, minlength=len(self.names))
        goodness = self.outcomes if by == "outcome" else np.zeros(len(self.names))
        order = np.lexsort((lengths, -goodness))
        kept = np.sort(order[: max(1, round(fraction * len(order)))])
        found = self.select(np.isin(self.episodes, kept))
        return replace(
            found,
            episodes=np.searchsorted(kept, found.episodes),
            names=tuple(self.names[i] for i in kept),
            outcomes=self.outcomes[kept],
        )
