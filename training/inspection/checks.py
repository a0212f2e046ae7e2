"""Checks that find the issues of each episode."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.training.data.execution import BY_POLICY, REACHES
from ebm_policy_ros.training.data.segments import NOBODY
from ebm_policy_ros.training.inspection.comparison import (
    FEWEST,
    common_notes,
    find_duplicates,
    find_outliers,
    note_kind,
)
from ebm_policy_ros.training.inspection.issue_types import (
    DURATION,
    FEW_STEPS,
    FROZEN,
    IDLE,
    JERK,
    KINDS,
    LEAST_JERK,
    LONGEST_IDLE,
    LOST_STEPS,
    SATURATED,
    SLOW,
    SPREADS,
    percent,
)
from ebm_policy_ros.training.inspection.reading import Recording, Unusable

# Ends of notes that are nothing odd in the execution of a policy.
_OF_EXECUTIONS = (BY_POLICY, REACHES, NOBODY)


@dataclass(frozen=True)
class Issue:
    """An issue of an episode, described in words."""

    kind: str
    words: str
    other: str = ""
    """The other episode concerned, if any."""


def find_issues(
    found: Sequence[Recording | Unusable],
    usual: Sequence[Recording],
    interface: Interface,
) -> dict[str, list[Issue]]:
    """Issues of every episode, the most severe first.

    Args:
        found: Every bag.
        usual: Reference episodes for comparisons: those that training uses.
        interface: Interface that the bags were read with.
    """
    issues: dict[str, list[Issue]] = {one.name: [] for one in found}
    recordings = [one for one in found if isinstance(one, Recording)]
    reasons = (
        ((one.name, Issue("unusable", one.reason)) for one in found if isinstance(one, Unusable)),
        ((one.name, Issue("interface", line)) for one in recordings for line in one.differences),
        ((one.name, issue) for one in recordings for issue in _alone(one, interface)),
        _duplicates(recordings),
        _outliers(usual, interface),
        _notes(recordings, usual),
        _against(recordings, usual, interface) if len(usual) >= FEWEST else (),
    )
    for name, issue in chain(*reasons):
        issues[name].append(issue)
    for listed in issues.values():
        listed.sort(key=lambda issue: -KINDS[issue.kind].weight)
    return issues


def score(issues: Sequence[Issue]) -> int:
    """Severity of an episode: the sum of the weights of its issue types, each type once."""
    return sum(KINDS[kind].weight for kind in {issue.kind for issue in issues})


def _alone(recording: Recording, interface: Interface) -> Iterator[Issue]:
    """Issues of an episode by itself."""
    metrics, names = recording.metrics, interface.action.names
    yield from (Issue("jump", words) for words in recording.jumps)
    for stop in recording.execution.stops if recording.execution else ():
        yield Issue("stop", f"stopped at {stop.time:.1f} s: {stop.reason or 'no reason told'}")
    for name, share in zip(names, metrics.outside, strict=True):
        if share > 0:
            yield Issue(
                "outside", f"{name} is outside its bounds in {percent(share, 1)} of the steps"
            )
    for stream, length in metrics.frozen.items():
        if length >= FROZEN:
            yield Issue("frozen", f"{stream} repeats itself for {length:.1f} s during motion")
    if metrics.steps < FEW_STEPS:
        yield Issue("few", f"{metrics.steps} usable steps only")
    elif metrics.usable < LOST_STEPS:
        yield Issue("few", f"{percent(metrics.usable)} of its steps are usable")
    if metrics.gaps:
        longest = max(length for _, length in metrics.gaps)
        times = "one gap" if len(metrics.gaps) == 1 else f"{len(metrics.gaps)} gaps, the longest"
        yield Issue("gaps", f"{times} of {longest:.1f} s")
    start, length = metrics.longest_idle
    if metrics.idle > IDLE or length >= LONGEST_IDLE:
        yield Issue(
            "idle",
            f"nothing moves in {percent(metrics.idle)} of the steps, for {length:.1f} s from "
            f"{start:.1f} s on",
        )
    grippers = {
        part.field(g.name) for part in interface.parts if (g := part.interface.command.gripper)
    }
    for name, share in zip(names, metrics.saturated, strict=True):
        if share > SATURATED and name not in grippers:
            yield Issue("saturated", f"{name} is at a bound in {percent(share)} of the steps")


def _duplicates(recordings: Sequence[Recording]) -> Iterator[tuple[str, Issue]]:
    for pair in find_duplicates(recordings):
        differs = f"differs by {percent(pair.difference, 1)} from"
        words = differs if pair.difference > 0 else "has the same numbers as"
        yield pair.copy, Issue("duplicate", words, pair.original)


def _notes(
    recordings: Sequence[Recording], usual: Sequence[Recording]
) -> Iterator[tuple[str, Issue]]:
    common = common_notes(usual)
    for recording in recordings:
        for note in recording.notes:
            expected = recording.execution is not None and note.endswith(_OF_EXECUTIONS)
            if note_kind(note) not in common and note not in recording.jumps and not expected:
                yield recording.name, Issue("notes", note)


def _outliers(usual: Sequence[Recording], interface: Interface) -> Iterator[tuple[str, Issue]]:
    for name, outliers in find_outliers(usual, interface).items():
        for outlier in outliers:
            low, high = outlier.usual
            words = f"{outlier.dimension} reaches {outlier.value:.3g}, others stay between "
            yield name, Issue("outlier", f"{words}{low:.3g} and {high:.3g}")


def _against(
    recordings: Sequence[Recording], usual: Sequence[Recording], interface: Interface
) -> Iterator[tuple[str, Issue]]:
    """Issues of episodes in comparison with the reference episodes."""
    logarithms = np.log([other.metrics.duration for other in usual])
    middle = float(np.median(logarithms))
    spread = 1.48 * float(np.median(abs(logarithms - middle)))
    farthest = max(math.log(DURATION), SPREADS * spread)
    jerk = float(np.median([other.metrics.jerk for other in usual]))
    least = {s.topic: s.min_rate or 0.0 for s in interface.observation.values()}
    rates = {
        topic: float(np.median([o.streams[topic].rate for o in usual if topic in o.streams]))
        for topic in {topic for other in usual for topic in other.streams}
    }
    for recording in recordings:
        name, metrics = recording.name, recording.metrics
        if abs(math.log(metrics.duration) - middle) > farthest:
            words = f"{metrics.duration:.1f} s long, the median is {math.exp(middle):.1f} s"
            yield name, Issue("duration", words)
        if metrics.jerk > max(LEAST_JERK, JERK * jerk):
            times = f", {metrics.jerk / jerk:.1f} times the median" if jerk > 0 else ""
            words = f"commands jump by {percent(metrics.jerk, 1)} of their range{times}"
            yield name, Issue("jerky", words)
        for topic, stream in recording.streams.items():
            rate = rates.get(topic, 0.0)
            if stream.rate < max(SLOW * rate, least.get(topic, 0.0)):
                words = f"{topic} comes at {stream.rate:.1f} Hz, the median is {rate:.1f} Hz"
                yield name, Issue("slow", words)
