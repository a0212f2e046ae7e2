"""From the messages of a bag to takes, by the clocks that they were stamped by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.messages.commands import read_command, read_gripper
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.training.storage.bag import Message
from ebm_policy_ros.training.takes import NOT_FRESH, Step, Take

# Stamps that are further from their receipt are of another clock, as a simulation's.
_SAME_CLOCK_NS = NANOSECONDS
# Times of receipt of one topic go back by so little where several threads write.
_JITTER_NS = NANOSECONDS // 50
_MOST_ERAS = 5
# So long the streams may go on after the last command, s, without a word.
_LONG_AFTER = 2.0
UNSTAMPED = "have no stamp; the time of receipt counts"
LATE = "came too long after their stamp to be fresh, as on the robot; left out"
EARLY = "are stamped in the future; left out"
BACKWARDS = "are stamped before one that came earlier"


def wanted_topics(interface: Interface) -> dict[str, str]:
    """Type by topic of everything that an interface names."""
    wanted = {stream.topic: stream.type for stream in interface.observation.values()}
    for command in (interface.action, interface.action.gripper):
        if command is not None:
            wanted[command.topic] = command.type
    return wanted


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


class Unordered(Exception):
    """The messages of a bag are not in the order of their receipt."""


class _Clock:
    """The stamps of one topic, in the order of their receipt."""

    def __init__(self, latest_ns: int, earliest_ns: int) -> None:
        """Knows how much later and earlier than its stamp a message may be received."""
        self._latest_ns, self._earliest_ns = latest_ns, earliest_ns
        self.stamps: list[int] = []
        self.counts: Counter[str] = Counter()
        """Messages that are odd, by what is."""
        self.era = 0
        """How often the clock of the recorder was set back."""
        self.total = 0
        self._received = self._newest = 0

    def stamp(self, message: Any, received_ns: int, same: bool) -> int | None:
        """When a message counts, nanoseconds; None if it doesn't.

        Args:
            message: The message.
            received_ns: When it was received.
            same: Whether stamps and times of receipt are of one clock.
        """
        self.total += 1
        if self.is_set_back(received_ns):
            self.era += 1
            self._newest = 0
        self._received = received_ns
        stamp = stamp_ns(message)
        if stamp == 0:
            self.counts[UNSTAMPED] += hasattr(message, "header")
            if not same and hasattr(message, "header"):
                return None
            stamp = received_ns
        elif same and not -self._earliest_ns <= received_ns - stamp <= self._latest_ns:
            self.counts[LATE if stamp < received_ns else EARLY] += 1
            return None
        self.counts[BACKWARDS] += stamp < self._newest
        self._newest = max(self._newest, stamp)
        self.stamps.append(stamp)
        return stamp

    def is_set_back(self, received_ns: int) -> bool:
        """Whether a time of receipt is before that of the message before."""
        return received_ns < self._received - _JITTER_NS

    def facts(self) -> StreamFacts:
        gaps = np.abs(np.diff(np.array(self.stamps, dtype=np.int64))) / NANOSECONDS
        usual = float(np.median(gaps)) if len(gaps) else 0.0
        return StreamFacts(
            count=len(self.stamps),
            rate=1.0 / usual if usual > 0 else 0.0,
            longest_gap=float(gaps.max()) if len(gaps) else 0.0,
            unstamped=self.counts[UNSTAMPED],
        )


class Reading:
    """Sorts the messages of a bag into takes and commands."""

    def __init__(self, interface: Interface, ordered: bool = True) -> None:
        """Begins.

        Args:
            interface: Names the topics, and fixes rate and ages.
            ordered: Whether messages that are not in the order of their receipt are refused.
        """
        self._interface, self._ordered = interface, ordered
        action = interface.action
        ages = {s.topic: round(s.max_age * NANOSECONDS) for s in interface.observation.values()}
        # A command that is older than any sample may be belongs to another moment too.
        patience = dict.fromkeys(wanted_topics(interface), max(ages.values())) | ages
        self.clocks = {
            topic: _Clock(limit, limit + interface.period_ns) for topic, limit in patience.items()
        }
        self._command_topics = {action.topic, action.gripper.topic if action.gripper else ""}
        self._takes: list[list[Take]] = []
        """By the era, and by the clock of the stamps."""
        self._received = 0
        self._refused: Counter[str] = Counter()
        self._refusals: dict[str, str] = {}

    def take_all(self, messages: Iterator[Message]) -> None:
        """Take every message of a bag.

        Raises:
            Unordered: If they are not in the order of their receipt.
        """
        begun: list[Message] = []
        ahead = 0
        for message in messages:
            begun.append(message)
            if stamp := stamp_ns(message.content):
                ahead = message.received_ns - stamp
                break
        same = abs(ahead) <= _SAME_CLOCK_NS
        for message in chain(begun, messages):
            self._check_order(message)
            clock = self.clocks[message.topic]
            stamp_or_none = clock.stamp(message.content, message.received_ns, same)
            if stamp_or_none is not None:
                self._add(message, stamp_or_none, clock.era)

    def _check_order(self, message: Message) -> None:
        """Where a clock was set back, each topic goes back; else the order is another one."""
        clock = self.clocks[message.topic]
        back = self._received - message.received_ns
        self._received = message.received_ns
        alone = back > NANOSECONDS and not clock.is_set_back(message.received_ns)
        if self._ordered and (alone or clock.era > _MOST_ERAS):
            raise Unordered

    def _take_of(self, era: int, stamp: int) -> Take:
        """That of the same clock: a simulation's may begin anew."""
        while len(self._takes) <= era:
            self._takes.append([Take(self._interface)])
        takes = self._takes[era]
        for take in reversed(takes):
            if take.fits(stamp):
                return take
        if stamp < takes[-1].newest:
            takes.append(Take(self._interface))
        return takes[-1]

    def _add(self, message: Message, stamp: int, era: int) -> None:
        topic, action = message.topic, self._interface.action
        take, gripper = self._take_of(era, stamp), action.gripper
        try:
            if topic == action.topic:
                take.commands.add(stamp, read_command(message.content, action))
            elif gripper is not None and topic == gripper.topic:
                grip = read_gripper(message.content, gripper)
                take.grips.add(stamp, np.array([grip], np.float32))
            else:
                take.add(topic, stamp, message.content, message.received_ns)
            take.advance(stamp)
        except MessageError as error:
            self._refused[topic] += 1
            self._refusals.setdefault(topic, str(error))

    @property
    def takes(self) -> list[Take]:
        """In the order of their receipt."""
        return [take for takes in self._takes for take in takes]

    def steps(self, complete: bool) -> list[Step]:
        """All steps that can be used; `complete`: whether the bag has its end."""
        takes = self.takes
        last = len(takes) - 1
        return [s for i, take in enumerate(takes) for s in take.steps(complete and i == last)]

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
        takes = self.takes
        notes = [
            f"{topic}: {count} of {clock.total} messages {what}"
            for topic, clock in self.clocks.items()
            for what, count in clock.counts.items()
            if count
        ]
        notes += [
            f"{topic}: {count} commands can't be used, the first since: {self._refusals[topic]}"
            for topic, count in self._refused.items()
        ]
        if replaced := sum(take.commands.replaced for take in takes):
            topic = self._interface.action.topic
            notes.append(
                f"{topic}: {replaced} commands had the stamp of a later one, which counts"
            )
        if len(takes) > 1:
            notes.append(f"a clock was set back; read in {len(takes)} pieces")
        if not self._ordered:
            notes.append("its messages are not in the order of their receipt; sorted")
        return [*notes, *self._left_out(takes)]

    @staticmethod
    def _left_out(takes: list[Take]) -> list[str]:
        """Steps that can't be used, and what goes on after the last one."""
        left_out = sum((take.left_out for take in takes), Counter())
        problem = next((take.first_problem for take in takes if take.first_problem), "")
        notes = [
            f"{count} steps left out: {reason}"
            + (f", the first: {problem}" if reason == NOT_FRESH else "")
            for reason, count in left_out.items()
        ]
        if takes and takes[-1].commands.stamps:
            after = (takes[-1].last_seen - takes[-1].commands.stamps[-1]) / NANOSECONDS
            if after > _LONG_AFTER:
                notes.append(f"the streams go on for {after:.1f} s after the last command")
        return notes
