"""Demonstrations as arrays in memory, independent of their source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.bags.read_report import BagError

KeepBy = Literal["length", "outcome"]
Unusable = Literal["refuse", "skip"]
FAILURE = "failure"
OUTCOMES = {"success": 1.0, "unknown": 0.5, FAILURE: 0.0}
"""Value of each outcome of a bag; higher is better."""


class NothingToLearn(BagError):
    """Bags that can be read, but none of them shows what to do."""


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
    corrections: npt.NDArray[np.bool_] | None = None
    """True for a step that a person commanded in an execution of a policy, shape (M,); None if
    there is none."""

    @property
    def marks(self) -> npt.NDArray[np.bool_]:
        """True for a corrected step, shape (M,)."""
        usual = np.zeros(len(self.actions), np.bool_)
        return usual if self.corrections is None else self.corrections

    def select(self, steps: npt.NDArray[np.bool_]) -> Dataset:
        """Keep the steps for which `steps`, shape (M,), is true; of each episode at least one."""
        return replace(
            self,
            observations={name: values[steps] for name, values in self.observations.items()},
            actions=self.actions[steps],
            episodes=self.episodes[steps],
            times_ns=None if self.times_ns is None else self.times_ns[steps],
            intents=None if self.intents is None else self.intents[steps],
            corrections=None if self.corrections is None else self.corrections[steps],
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


def joined(parts: Sequence[Dataset]) -> Dataset:
    """Join demonstrations of several sources, one after the other.

    Raises:
        DemonstrationError: If they have other streams, shapes or labels than the first ones.
    """
    if len(parts) == 1:
        return parts[0]
    for part in parts[1:]:
        _refuse_difference(parts[0], part)
    counts = np.cumsum([0, *(len(part.names) for part in parts)])
    return Dataset(
        observations={
            name: np.concatenate([part.observations[name] for part in parts])
            for name in parts[0].observations
        },
        actions=np.concatenate([part.actions for part in parts]),
        episodes=np.concatenate(
            [part.episodes + count for part, count in zip(parts, counts, strict=False)]
        ),
        names=tuple(name for part in parts for name in part.names),
        outcomes=np.concatenate([part.outcomes for part in parts]),
        notes=tuple(note for part in parts for note in part.notes),
        times_ns=_all_or_none([part.times_ns for part in parts]),
        failures=tuple(name for part in parts for name in part.failures),
        intents=_all_or_none([part.intents for part in parts]),
        corrections=(
            np.concatenate([part.marks for part in parts])
            if any(part.corrections is not None for part in parts)
            else None
        ),
    )


def _refuse_difference(first: Dataset, other: Dataset) -> None:
    shapes, theirs = (
        {"actions": d.actions.shape[1:], **{n: v.shape[1:] for n, v in d.observations.items()}}
        for d in (first, other)
    )
    for name in (*shapes, *theirs):
        if shapes.get(name) != theirs.get(name):
            raise DemonstrationError(
                f"{other.names[0]}: {name} has shape {theirs.get(name)} a step, in "
                f"{first.names[0]} {shapes.get(name)}; give demonstrations of one robot"
            )
    if (first.intents is None) != (other.intents is None):
        with_labels, without = (first, other) if other.intents is None else (other, first)
        raise DemonstrationError(
            f"{without.names[0]}: has no intents, {with_labels.names[0]} has; label all or none"
        )


def _all_or_none(parts: Sequence[npt.NDArray[np.int64] | None]) -> npt.NDArray[np.int64] | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None
