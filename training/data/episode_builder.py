"""Episode builder: sorts the messages of a bag into segments with increasing time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ebm_policy_ros.bags.bag import Message
from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.execution import read_execution
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.observation.transforms import StaticMessages
from ebm_policy_ros.training.data.commands import Commands
from ebm_policy_ros.training.data.eras import Eras
from ebm_policy_ros.training.data.execution import Execution
from ebm_policy_ros.training.data.segments import NOT_FRESH, Segment, Step
from ebm_policy_ros.training.data.timeline import (
    CLOCK,
    NO_CLOCK,
    TopicClock,
    clock_ns,
    is_same_clock,
    static_topics,
    wanted_topics,
)

# Largest step back of the times of receipt of one topic: several threads write, or several
# publishers send. Stamps of a simulation may go back further, since a message counts when it
# arrives.
_DISORDER_NS = NANOSECONDS // 10
_SIMULATED_DISORDER_NS = NANOSECONDS
_MOST_ERAS = 5
# Time that the streams may continue after the last command without a note, s.
_LONG_AFTER = 2.0


class Unordered(Exception):
    """Error if the messages of a bag are not in the order of their receipt."""


class ClockNeeded(Exception):
    """Error if some messages have no stamp, so /clock is needed to date them."""


class EpisodeBuilder:
    """Builder that sorts the messages of a bag into segments and commands."""

    def __init__(
        self,
        interface: Interface,
        ordered: bool = True,
        has_clock: bool | None = None,
        execution: str = "",
    ) -> None:
        """Start with one empty segment.

        Args:
            interface: Topics, rate and ages.
            ordered: True to refuse messages that are not in the order of their receipt.
            has_clock: True if /clock is among the messages; None if not known yet.
            execution: Topic of the execution of a policy; empty for none.
        """
        self._interface, self._ordered, self._has_clock = interface, ordered, has_clock
        ages = {s.topic: round(s.max_age * NANOSECONDS) for s in interface.observation.values()}
        # A command older than the maximum age of any sample belongs to another time too.
        self._static = static_topics(interface)
        dated = [topic for topic in wanted_topics(interface) if topic not in self._static]
        patience = dict.fromkeys(dated, max(ages.values())) | ages
        self._execution = execution
        if execution:  # it tells about the past
            patience[execution] = NANOSECONDS
        self.clocks = {
            topic: TopicClock(limit, limit + interface.period_ns)
            for topic, limit in patience.items()
        }
        self.segments: list[Segment] = [Segment(interface)]
        """Segments in the order of their receipt: a new one after each clock reset."""
        self._fixed = {topic: StaticMessages[Any]() for topic in self._static}
        self._same = True
        self._simulated_ns = 0
        """Last time received on /clock, nanoseconds."""
        self._eras: Eras[Message] = Eras(_DISORDER_NS)
        self._received, self._received_of = 0, dict[str, int]()
        self._refused: Counter[str] = Counter()
        self._refusals: dict[str, str] = {}

    def take_all(self, messages: Iterator[Message]) -> None:
        """Add every message of a bag.

        Raises:
            Unordered: If they are not in the order of their receipt.
            ClockNeeded: If /clock is needed but it is not known whether the bag has it.
        """
        self._same, begun = is_same_clock(messages)
        if not self._same:
            self._eras = Eras(_SIMULATED_DISORDER_NS)
        for message in chain(begun, messages):
            self._check_order(message)
            for found in self._eras.add(message.topic, self._time(message), message):
                self._take(found)
        for found in self._eras.rest():
            self._take(found)

    def _time(self, message: Message) -> int | None:
        """Time on the clock that may have been reset, nanoseconds; None if unknown."""
        if self._same:
            return message.received_ns or None  # a recorder writes zero before the first /clock
        if message.topic in self._static:  # stamped long ago, or received at every beginning
            return None
        return (clock_ns(message) or stamp_ns(message.content)) or None

    def _check_order(self, message: Message) -> None:
        """Refuse a bag if one topic goes back alone; at a clock reset every topic goes back."""
        received = message.received_ns
        back = self._received - received
        own = self._received_of.get(message.topic, 0)
        self._received = self._received_of[message.topic] = received
        alone = back > NANOSECONDS and received >= own - _DISORDER_NS
        if self._ordered and received and (alone or self._eras.number > _MOST_ERAS):
            raise Unordered

    def _take(self, message: Message) -> None:
        while len(self.segments) <= self._eras.number:
            self.segments.append(Segment(self._interface))
            for topic, contents in self._fixed.items():
                for fixed in contents:
                    self.segments[-1].fix(topic, fixed)
            for clock in self.clocks.values():
                clock.set_back()
        if simulated := clock_ns(message):
            self._simulated_ns = simulated
            return
        content = message.content
        if message.topic in self._static:
            self._fixed[message.topic].add(content, content)
            self.segments[-1].fix(message.topic, content)
            return
        if not self._same and self._has_clock is None and stamp_ns(content) == 0:
            raise ClockNeeded
        clock = self.clocks[message.topic]
        stamp = clock.stamp(content, message.received_ns, self._same, self._simulated_ns)
        if stamp is not None:
            self._add(message, stamp)

    def _add(self, message: Message, stamp: int) -> None:
        topic, segment = message.topic, self.segments[-1]
        try:
            if topic == self._execution:
                segment.execution.add(stamp, read_execution(message.content))
            elif topic in segment.commands:
                segment.commands.add(topic, stamp, message.content)
            else:
                segment.add(topic, stamp, message.content, message.received_ns)
            segment.advance(stamp)
        except MessageError as error:
            segment.execution.is_told |= topic == self._execution
            self._refused[topic] += 1
            self._refusals.setdefault(topic, str(error))

    def steps(self, complete: bool, whole: bool = False) -> list[Step]:
        """All usable steps; see `Segment.steps`.

        Args:
            complete: True if the end of the bag is present.
            whole: True to return the policy's steps of an execution too.
        """
        last = len(self.segments) - 1
        return [
            s
            for i, segment in enumerate(self.segments)
            for s in segment.steps(complete and i == last, whole)
        ]

    def execution(self, steps: Sequence[Step]) -> Execution | None:
        """Execution of a policy with these steps; None if the bag has none."""
        if not any(segment.execution.is_told for segment in self.segments):
            return None
        ticks = [tick for segment in self.segments if (tick := segment.execution.last)]
        return Execution(
            policy=ticks[-1].policy if ticks else "",
            sha256=ticks[-1].sha256 if ticks else "",
            commanders=np.array([step.commander for step in steps], dtype="<U6"),
            stops=tuple(stop for segment in self.segments for stop in segment.execution.stops()),
        )

    def untaught(self) -> str:
        """Reason why an execution without a usable step gives nothing; empty if it is no such one.

        Known after `steps`.
        """
        if not any(segment.unlearned for segment in self.segments):
            return ""
        if any(segment.execution.has_person for segment in self.segments):
            return "nothing that a person commanded in this execution can be learned"
        return "no person took over from the policy"

    def problem(self) -> str:
        """Reason why there is no usable step, as far as known."""
        for topic, commands in self._commands():
            if any(one.stamps for one in commands):
                continue
            if self.clocks[topic].counts[NO_CLOCK]:
                return (
                    f"{topic}: its messages have no stamp, those of the streams are not of "
                    f"the recorder's clock, as in a simulation, and the bag has no {CLOCK} to "
                    f"tell when they came; record {CLOCK} too, or run the recorder with "
                    "use_sim_time"
                )
            return self._refusals.get(topic) or f"no command on {topic}; nothing to learn from it"
        if any(segment.left_out[NOT_FRESH] for segment in self.segments) or not self._slow():
            return "no step at which every stream was fresh"
        return "no step can be used"

    def _slow(self) -> list[str]:
        parts = [part for segment in self.segments for part in segment.commands.parts]
        return [slow for part in parts if (slow := part.arm.slow())][:1]

    def _commands(self) -> Iterator[tuple[str, list[Commands]]]:
        """Topics that are commanded, with the commands of each segment."""
        for parts in zip(*(segment.commands.parts for segment in self.segments), strict=True):
            for of_segments in zip(*(part.of_topics() for part in parts), strict=True):
                yield of_segments[0][0], [commands for _, commands in of_segments]

    def notes(self) -> list[str]:
        """Notes about irregular messages, one line each."""
        segments = self.segments
        notes = [
            f"{topic}: {count} of {clock.total} messages {what}"
            for topic, clock in self.clocks.items()
            for what, count in clock.counts.items()
            if count
        ]
        notes += [
            f"{topic}: {count} {'ticks' if topic == self._execution else 'commands'} can't be "
            f"used, the first since: {self._refusals[topic]}"
            for topic, count in self._refused.items()
        ]
        replaced: Counter[str] = Counter()
        for part in (part for segment in segments for part in segment.commands.parts):
            replaced[part.action.topic] += part.arm.replaced
        notes += [
            f"{topic}: {count} commands had the stamp of a later one, which counts"
            for topic, count in replaced.items()
            if count
        ]
        if len(segments) > 1:
            notes.append(f"a clock was set back; read in {len(segments)} pieces")
        if not self._ordered:
            notes.append("its messages are not in the order of their receipt; sorted")
        return [*notes, *self.jumps(), *self._slow(), *self._left_out(segments)]

    def jumps(self) -> tuple[str, ...]:
        """Descriptions of jumps of the arm, one line each; known after `steps`."""
        return tuple(jump.words for segment in self.segments for jump in segment.jumps)

    @staticmethod
    def _left_out(segments: list[Segment]) -> list[str]:
        """Notes about unusable steps, and about streams that continue after the last command."""
        left_out = sum((segment.left_out for segment in segments), Counter())
        problem = next(
            (segment.first_problem for segment in segments if segment.first_problem), ""
        )
        notes = [
            f"{count} steps left out: {reason}"
            + (f", the first: {problem}" if reason == NOT_FRESH else "")
            for reason, count in left_out.items()
        ]
        if segments and (last := segments[-1].commands.last) is not None:
            after = (segments[-1].last_seen - last) / NANOSECONDS
            if after > _LONG_AFTER:
                notes.append(f"the streams go on for {after:.1f} s after the last command")
        return notes
