"""Bags to episodes, through the same ObservationBuffer as on the robot."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Interface, interface_from_dict
from ebm_policy_ros.messages.commands import read_command, read_gripper
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.training.storage.account import BagError
from ebm_policy_ros.training.storage.bag import Bag
from ebm_policy_ros.training.takes import NOT_FRESH, Take

# A stamp this much older than the topic's newest is a clock that was set back: as for the
# ObservationBuffer.
_CLOCK_JUMP_NS = NANOSECONDS


@dataclass(frozen=True)
class StreamFacts:
    """How the messages of one topic came."""

    count: int
    rate: float
    """Messages per second, Hz: one over the median gap; 0 of fewer than two."""
    longest_gap: float
    """Between two messages, s."""
    unstamped: int
    """Messages without a stamp, of which the time of receipt counts."""


@dataclass(frozen=True)
class Episode:
    """A demonstration as arrays at the interface's rate; M steps."""

    bag: Path
    outcome: str
    """success, failure or unknown."""
    observations: dict[str, npt.NDArray[Any]]
    """Stream name -> (M, T, ...), as `ObservationBuffer` gives them."""
    actions: npt.NDArray[np.float32]
    """Shape (M, H, D), in the interface's units."""
    times_ns: npt.NDArray[np.int64]
    """Shape (M,), time of each step."""
    notes: tuple[str, ...] = ()
    """What was lost or is odd about the bag, one line each."""
    streams: Mapping[str, StreamFacts] = field(default_factory=dict)
    """What the bag has of each topic of the interface."""

    def pieces(self, period_ns: int) -> list[slice]:
        """The runs of steps without a gap between them, in order."""
        cuts = np.flatnonzero(np.diff(self.times_ns) != period_ns) + 1
        ends = [0, *cuts.tolist(), len(self.times_ns)]
        return [slice(*pair) for pair in pairwise(ends)]


def read_episode(path: Path, interface: Interface) -> Episode:
    """Read one bag as a demonstration.

    Steps are one period apart, from the first command on. The action of a step is the command
    stamped nearest to it, within half a period, and those of the next periods for a longer
    horizon; a step counts only if every stream was fresh. Where a clock was set back, the bag is
    read in pieces.

    Args:
        path: The bag: a folder or a single file.
        interface: Names the topics, and fixes rate, ages and sizes.

    Raises:
        BagError: If nothing in the bag can be used; the text says why.
    """
    bag, reading = Bag(path), _Reading(interface)
    for message in bag.messages(wanted_topics(interface)):
        reading.add(message.topic, message.content, message.received_ns)
    steps = [step for take in reading.takes for step in take.steps()]
    notes = (*bag.account.notes, *reading.notes())
    if not steps:
        raise BagError("; ".join([f"{path}: {reading.problem()}", *notes]))
    return Episode(
        bag=path,
        outcome=bag.custom.get("outcome", "unknown"),
        observations={
            name: np.stack([step.observation[name] for step in steps])
            for name in interface.observation
        },
        actions=np.stack([step.actions for step in steps]),
        times_ns=np.array([step.time_ns for step in steps], dtype=np.int64),
        notes=notes,
        streams={topic: clock.facts() for topic, clock in reading.clocks.items()},
    )


def wanted_topics(interface: Interface) -> dict[str, str]:
    """Type by topic of everything that an interface names."""
    wanted = {stream.topic: stream.type for stream in interface.observation.values()}
    for command in (interface.action, interface.action.gripper):
        if command is not None:
            wanted[command.topic] = command.type
    return wanted


def read_outcome(path: Path) -> str:
    """What the recorder noted about the episode: success, failure or unknown."""
    return Bag(path).custom.get("outcome", "unknown")


def read_recorded_interface(path: Path) -> dict[str, Any]:
    """The interface that the bag was recorded with, as plain values; empty if not noted.

    Raises:
        BagError: If what is noted is none.
    """
    text = Bag(path).custom.get("interface", "{}")
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise BagError(f"{path}: the interface noted in it cannot be read ({error})") from None


def interface_differences(recorded: Mapping[str, Any], interface: Interface) -> list[str]:
    """What an interface noted in a bag has otherwise than another, one line each.

    Args:
        recorded: As `read_recorded_interface` gives it.
        interface: The other one.
    """
    if not recorded:
        return []
    try:
        return interface_from_dict(recorded, "its interface").differences(interface)
    except ValueError as error:
        return [str(error)]


class _Clock:
    """The stamps of one topic, in the order of their receipt."""

    def __init__(self) -> None:
        self.set_back = 0
        """How often."""
        self.stamps: list[int] = []
        self.unstamped = 0
        self._newest = 0

    def stamp(self, message: Any, received_ns: int) -> int:
        """When a message counts, nanoseconds."""
        stamp = stamp_ns(message)
        if stamp == 0:
            stamp = received_ns
            self.unstamped += hasattr(message, "header")
        if self._newest - stamp >= _CLOCK_JUMP_NS:
            self.set_back += 1
            self._newest = stamp
        self._newest = max(self._newest, stamp)
        self.stamps.append(stamp)
        return stamp

    def facts(self) -> StreamFacts:
        gaps = np.abs(np.diff(np.array(self.stamps, dtype=np.int64))) / NANOSECONDS
        usual = float(np.median(gaps)) if len(gaps) else 0.0
        return StreamFacts(
            count=len(self.stamps),
            rate=1.0 / usual if usual > 0 else 0.0,
            longest_gap=float(gaps.max()) if len(gaps) else 0.0,
            unstamped=self.unstamped,
        )


class _Reading:
    """Sorts the messages of a bag into takes and commands."""

    def __init__(self, interface: Interface) -> None:
        self._interface = interface
        self.clocks = {topic: _Clock() for topic in wanted_topics(interface)}
        self.takes = [Take(interface)]
        self._refused: Counter[str] = Counter()
        self._refusals: dict[str, str] = {}

    def add(self, topic: str, message: Any, received_ns: int) -> None:
        clock, action = self.clocks[topic], self._interface.action
        stamp = clock.stamp(message, received_ns)
        while len(self.takes) <= clock.set_back:
            self.takes.append(Take(self._interface))
        take, gripper = self.takes[clock.set_back], action.gripper
        try:
            if topic == action.topic:
                take.commands.add(stamp, read_command(message, action))
            elif gripper is not None and topic == gripper.topic:
                take.grips.add(stamp, np.array([read_gripper(message, gripper)], np.float32))
            else:
                take.add(topic, stamp, message, received_ns)
            take.advance(stamp)
        except MessageError as error:
            self._refused[topic] += 1
            self._refusals.setdefault(topic, str(error))

    def problem(self) -> str:
        """Why there is not a single step, as far as that is known."""
        if not any(take.commands.stamps for take in self.takes):
            refusal = self._refusals.get(self._interface.action.topic)
            return refusal or (
                f"no command on {self._interface.action.topic}; nothing to learn from it"
            )
        gripper = self._interface.action.gripper
        if gripper is not None and not any(take.grips.stamps for take in self.takes):
            return f"no command on {gripper.topic}; nothing to learn from it"
        return "no step at which every stream was fresh"

    def notes(self) -> list[str]:
        """What was odd about the messages, one line each."""
        notes = [
            f"{topic}: {clock.unstamped} of {len(clock.stamps)} messages have no stamp; the time "
            "of receipt counts"
            for topic, clock in self.clocks.items()
            if clock.unstamped
        ]
        notes += [
            f"{topic}: its clock was set back {clock.set_back} times; read in pieces"
            for topic, clock in self.clocks.items()
            if clock.set_back
        ]
        notes += [
            f"{topic}: {count} commands can't be used, the first since: {self._refusals[topic]}"
            for topic, count in self._refused.items()
        ]
        left_out = sum((take.left_out for take in self.takes), Counter())
        problem = next((take.first_problem for take in self.takes if take.first_problem), "")
        notes += [
            f"{count} steps left out: {reason}"
            + (f", the first: {problem}" if reason == NOT_FRESH else "")
            for reason, count in left_out.items()
        ]
        return notes
