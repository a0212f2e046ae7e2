"""Which episodes somebody should look at first, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.training.inspection.comparison import (
    FEWEST,
    common_notes,
    find_duplicates,
    find_outliers,
    note_kind,
)
from ebm_policy_ros.training.inspection.kinds import (
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


@dataclass(frozen=True)
class Concern:
    """A reason to look at an episode, in words."""

    kind: str
    words: str
    other: str = ""
    """The episode that it is about as well."""


def find_concerns(
    found: Sequence[Recording | Unusable],
    usual: Sequence[Recording],
    interface: Interface,
    differences: Mapping[str, Sequence[str]],
) -> dict[str, list[Concern]]:
    """Every episode's concerns, the heaviest first.

    Args:
        found: Every bag.
        usual: The episodes that the others are compared with: those that training uses.
        interface: As they were read.
        differences: Episode -> how the interface that it was recorded with differs.
    """
    concerns: dict[str, list[Concern]] = {one.name: [] for one in found}
    recordings = [one for one in found if isinstance(one, Recording)]
    reasons = (
        (
            (one.name, Concern("unusable", one.reason))
            for one in found
            if isinstance(one, Unusable)
        ),
        ((n, Concern("interface", line)) for n, lines in differences.items() for line in lines),
        ((one.name, concern) for one in recordings for concern in _alone(one, interface)),
        _duplicates(recordings),
        _outliers(usual, interface),
        _notes(recordings, usual),
        _against(recordings, usual, interface) if len(usual) >= FEWEST else (),
    )
    for name, concern in chain(*reasons):
        concerns[name].append(concern)
    for listed in concerns.values():
        listed.sort(key=lambda concern: -KINDS[concern.kind].weight)
    return concerns


def score(concerns: Sequence[Concern]) -> int:
    """How urgent it is to look: the weights of the kinds of concern, each kind once."""
    return sum(KINDS[kind].weight for kind in {concern.kind for concern in concerns})


def _alone(recording: Recording, interface: Interface) -> Iterator[Concern]:
    """What an episode shows by itself."""
    facts, names = recording.facts, interface.action.names
    yield from (Concern("jump", words) for words in recording.jumps)
    for name, share in zip(names, facts.outside, strict=True):
        if share > 0:
            yield Concern(
                "outside", f"{name} is outside its bounds in {percent(share, 1)} of the steps"
            )
    for stream, length in facts.frozen.items():
        if length >= FROZEN:
            yield Concern("frozen", f"{stream} repeats itself for {length:.1f} s during motion")
    if facts.steps < FEW_STEPS:
        yield Concern("few", f"{facts.steps} usable steps only")
    elif facts.usable < LOST_STEPS:
        yield Concern("few", f"{percent(facts.usable)} of its steps are usable")
    if facts.gaps:
        longest = max(length for _, length in facts.gaps)
        times = "one gap" if len(facts.gaps) == 1 else f"{len(facts.gaps)} gaps, the longest"
        yield Concern("gaps", f"{times} of {longest:.1f} s")
    start, length = facts.longest_idle
    if facts.idle > IDLE or length >= LONGEST_IDLE:
        yield Concern(
            "idle",
            f"nothing moves in {percent(facts.idle)} of the steps, for {length:.1f} s from "
            f"{start:.1f} s on",
        )
    for name, share in zip(interface.action.fields, facts.saturated, strict=False):
        if share > SATURATED:
            yield Concern("saturated", f"{name} is at a bound in {percent(share)} of the steps")


def _duplicates(recordings: Sequence[Recording]) -> Iterator[tuple[str, Concern]]:
    for pair in find_duplicates(recordings):
        differs = f"differs by {percent(pair.difference, 1)} from"
        words = differs if pair.difference > 0 else "has the same numbers as"
        yield pair.copy, Concern("duplicate", words, pair.original)


def _notes(
    recordings: Sequence[Recording], usual: Sequence[Recording]
) -> Iterator[tuple[str, Concern]]:
    common = common_notes(usual)
    for recording in recordings:
        for note in recording.notes:
            if note_kind(note) not in common and note not in recording.jumps:
                yield recording.name, Concern("notes", note)


def _outliers(usual: Sequence[Recording], interface: Interface) -> Iterator[tuple[str, Concern]]:
    for name, outliers in find_outliers(usual, interface).items():
        for outlier in outliers:
            low, high = outlier.usual
            words = f"{outlier.dimension} reaches {outlier.value:.3g}, others stay between "
            yield name, Concern("outlier", f"{words}{low:.3g} and {high:.3g}")


def _against(
    recordings: Sequence[Recording], usual: Sequence[Recording], interface: Interface
) -> Iterator[tuple[str, Concern]]:
    """Episodes, and what they show beside the others."""
    logarithms = np.log([other.facts.duration for other in usual])
    middle = float(np.median(logarithms))
    spread = 1.48 * float(np.median(abs(logarithms - middle)))
    farthest = max(math.log(DURATION), SPREADS * spread)
    jerk = float(np.median([other.facts.jerk for other in usual]))
    least = {s.topic: s.min_rate or 0.0 for s in interface.observation.values()}
    rates = {
        topic: float(np.median([o.streams[topic].rate for o in usual if topic in o.streams]))
        for topic in {topic for other in usual for topic in other.streams}
    }
    for recording in recordings:
        name, facts = recording.name, recording.facts
        if abs(math.log(facts.duration) - middle) > farthest:
            words = f"{facts.duration:.1f} s long, the median is {math.exp(middle):.1f} s"
            yield name, Concern("duration", words)
        if facts.jerk > max(LEAST_JERK, JERK * jerk):
            times = f", {facts.jerk / jerk:.1f} times the median" if jerk > 0 else ""
            words = f"commands jump by {percent(facts.jerk, 1)} of their range{times}"
            yield name, Concern("jerky", words)
        for topic, stream in recording.streams.items():
            rate = rates.get(topic, 0.0)
            if stream.rate < max(SLOW * rate, least.get(topic, 0.0)):
                words = f"{topic} comes at {stream.rate:.1f} Hz, the median is {rate:.1f} Hz"
                yield name, Concern("slow", words)
