"""Comparison of episodes with each other."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.training.inspection.columns import Column, action_columns, state_columns
from ebm_policy_ros.training.inspection.reading import Recording

Array = npt.NDArray[np.float64]

FEWEST = 10
"""Number of episodes below which no comparison is made."""
DUPLICATE = 0.01
"""Largest root mean square difference of nearly equal episodes, as a share of each number's range
over all episodes."""
DUPLICATE_LENGTH = 0.05
"""Largest relative difference in length of nearly equal episodes."""
OUTLYING_STEPS = 0.02
"""Share of an episode's steps that may lie outside the range of the other episodes."""
OUTLYING_EPISODES = 0.1
"""Share of the episodes, and at least three, that must reach an end of the range."""
OUTLYING_MARGIN = 0.5
"""Margin on each side of the range, as a share of the range."""
COMMON_NOTE = 0.2
"""Share of the episodes, and at least ten, from which a note counts as common."""
_MOMENTS = 50
# Files are named like their episode.
_FILE = re.compile(r"\S+\.(mcap|db3)\b")
# A digit within a word is not a number: camera_1 and camera_2 differ, and so do frame sizes.
_NUMBER = re.compile(r"\b\d[\d.,]*(e[+-]?\d+)?\b")


@dataclass(frozen=True)
class Duplicate:
    """Two nearly equal episodes; the copy is the one with more notes, or the later one."""

    original: str
    copy: str
    difference: float
    """Root mean square difference, as a share of each number's range."""


@dataclass(frozen=True)
class Outlier:
    """An episode whose action exceeds the others' range in one dimension."""

    dimension: str
    value: float
    """Value reached by at least 2 % of its steps, in the action's unit."""
    usual: tuple[float, float]
    """Range of the other episodes."""


def find_duplicates(recordings: Sequence[Recording]) -> list[Duplicate]:
    """Find pairs that are nearly equal in action and state at 50 times spread over their length.

    A copy is reported once, with the first episode that it equals.
    """
    if len(recordings) < 2:
        return []
    ordered = sorted(recordings, key=lambda recording: (len(recording.notes), recording.name))
    tracks = np.stack([_track(recording) for recording in ordered])
    ranges = np.ptp(tracks, axis=(0, 1))
    moving = ranges > 0
    scaled = (tracks[..., moving] / ranges[moving]).reshape(len(ordered), -1)
    lengths = np.array([recording.metrics.steps for recording in ordered])
    found = []
    for later in range(1, len(ordered)):
        difference = np.sqrt(np.mean((scaled[:later] - scaled[later]) ** 2, axis=1))
        near = abs(lengths[:later] - lengths[later]) <= DUPLICATE_LENGTH * lengths[later]
        equal = np.flatnonzero(near & (difference <= DUPLICATE))
        if len(equal):
            first = int(equal[0])
            names = ordered[first].name, ordered[later].name
            found.append(Duplicate(*names, float(difference[first])))
    return found


def _track(recording: Recording) -> Array:
    """Actions and states at evenly spread times, (times, D + all K)."""
    steps = np.linspace(0, len(recording.times) - 1, _MOMENTS).round().astype(np.int64)
    columns = [recording.actions, *recording.states.values()]
    return np.concatenate([values[steps] for values in columns], axis=1, dtype=np.float64)


def find_outliers(
    recordings: Sequence[Recording], interface: Interface
) -> dict[str, list[Outlier]]:
    """Episode -> dimensions in which its action exceeds the range of the other episodes.

    An episode's range leaves out 2 % of its steps at each end. The common range is what at least a
    tenth of the episodes, and three, reach on each side.
    """
    if len(recordings) < FEWEST:
        return {}
    shares = (OUTLYING_STEPS, 1 - OUTLYING_STEPS)
    ends = np.stack([np.quantile(r.actions, shares, axis=0) for r in recordings])
    others = max(3, math.ceil(OUTLYING_EPISODES * len(recordings))) - 1
    ordered = np.sort(ends, axis=0)
    low, high = ordered[others, 0], ordered[-1 - others, 1]
    low, high = np.minimum(low, high), np.maximum(low, high)
    bounds = interface.action.bounds
    # A dimension that hardly moves needs a minimum margin.
    margin = np.maximum(OUTLYING_MARGIN * (high - low), 0.05 * np.subtract(bounds[1], bounds[0]))
    found: dict[str, list[Outlier]] = {}
    for recording, (least, most) in zip(recordings, ends, strict=True):
        far = [(i, least[i]) for i in np.flatnonzero(least < low - margin)]
        far += [(i, most[i]) for i in np.flatnonzero(most > high + margin)]
        for i, value in far:
            usual = (float(low[i]), float(high[i]))
            outlier = Outlier(interface.action.names[i], float(value), usual)
            found.setdefault(recording.name, []).append(outlier)
    return found


def common_notes(recordings: Sequence[Recording]) -> dict[str, tuple[str, int]]:
    """Type of note -> an example and its number of episodes, for common notes."""
    examples = {note_kind(note): note for one in reversed(recordings) for note in one.notes}
    # Count each type once per episode, in a reproducible order.
    kinds = (dict.fromkeys(map(note_kind, one.notes)) for one in recordings)
    counts = Counter(chain.from_iterable(kinds))
    least = max(FEWEST, COMMON_NOTE * len(recordings))
    return {kind: (examples[kind], n) for kind, n in counts.most_common() if n >= least}


def note_kind(note: str) -> str:
    """A note without numbers and file names, which differ between episodes."""
    return _NUMBER.sub("#", _FILE.sub("#", note))


def constant_columns(
    recordings: Sequence[Recording], interface: Interface
) -> list[tuple[Column, float]]:
    """Numbers that are the same at every step of every episode, with their values.

    A dimension of the action that the interface fixes is not reported.
    """
    low, high = interface.action.bounds
    free = [c for c in action_columns(interface) if low[c.index] < high[c.index]]
    constant = []
    for column in (*free, *state_columns(interface)):
        values = [column.values(recording) for recording in recordings]
        ends = {float(end) for one in values for end in (one.min(), one.max())}
        if len(ends) == 1:
            constant.append((column, ends.pop()))
    return constant
