"""Conversion of the messages of one segment to steps at the interface's rate."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import Counter
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Interface, TransformStream
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.observation.buffer import Observation, ObservationBuffer, StaleObservation
from ebm_policy_ros.observation.transforms import transform_readers
from ebm_policy_ros.training.data.action_commands import ActionCommands
from ebm_policy_ros.training.data.execution import (
    BY_POLICY,
    LEARNED,
    NO_GRIP,
    REACHES,
    UNTOLD,
    ExecutionLog,
)
from ebm_policy_ros.training.data.jumps import Jump, find_jumps

# Maximum delay behind newer messages: later ones would be too late on the robot as well.
_PATIENCE_NS = NANOSECONDS


# Time after the first command within which a stream may not have been received yet.
_BEGINNING_NS = NANOSECONDS // 5
NOT_FRESH = "no fresh observation"
NOBODY = "nobody commanded then"
JUMP = "around a jump of the arm"


class Step(NamedTuple):
    """An observation and the actions commanded at its time."""

    time_ns: int
    observation: Observation
    actions: npt.NDArray[np.float32]
    """Shape (H, D)."""
    commander: str = ""
    """Commander in the execution of a policy; empty if it is none, or unknown."""


class Segment:
    """Messages of a bag between two resets of the clock.

    Messages may arrive in any order within one second: each is held back until no older message is
    expected. At most one second of messages is held.
    """

    def __init__(self, interface: Interface) -> None:
        self.commands = ActionCommands(interface)
        self.execution = ExecutionLog(interface.period_ns, interface.hold_ns)
        self.left_out: Counter[str] = Counter()
        """Number of unusable steps, by reason."""
        self.unlearned = 0
        """Number of steps that are left out since of who commanded."""
        self.first_problem = ""
        """Error of the first observation that could not be built."""
        self.jumps: list[Jump] = []
        """Jumps of the arm; known after `steps`."""
        self._interface = interface
        # The next command shows whether the previous one was still held.
        self._patience_ns = max(_PATIENCE_NS, interface.hold_ns + interface.period_ns)
        self._buffer = ObservationBuffer(interface)
        self._streams: dict[str, list[str]] = {}
        for name, stream in interface.observation.items():
            self._streams.setdefault(stream.topic, []).append(name)
        self._readers = transform_readers(interface.observation)
        self._waiting: list[tuple[int, int, str, Any, int]] = []
        self._number = count()
        self.last_seen = 0
        """Newest stamp of a stream, nanoseconds."""
        self.newest = 0
        """Newest of all stamps so far, nanoseconds."""
        self._next: int | None = None
        self._seen: list[tuple[int, Observation]] = []

    def add(self, topic: str, stamp: int, message: Any, received_ns: int) -> None:
        """Add a message of a stream, with its stamp and time of receipt in nanoseconds."""
        self.last_seen = max(self.last_seen, stamp)
        heapq.heappush(self._waiting, (stamp, next(self._number), topic, message, received_ns))
        self.advance(stamp)

    def fix(self, topic: str, message: Any) -> None:
        """Add a message of static transforms, which hold at every time."""
        for name, reader in self._readers.items():
            stream = self._interface.observation[name]
            if isinstance(stream, TransformStream) and stream.static_topic == topic:
                reader.add_static(message)

    def advance(self, stamp: int) -> None:
        """Register that a message with this stamp has been received."""
        self.newest = max(self.newest, stamp)
        self._look_until(self.newest - self._patience_ns)

    def steps(self, ended: bool, whole: bool = False) -> list[Step]:
        """All usable steps; to be called after the last message.

        In the execution of a policy they are those whose actions a person commanded, all of their
        horizon, and those of a time in which the node tells that somebody else may command. Their
        observations may reach back to before the takeover: so they will when the policy runs,
        whoever commanded before.

        Args:
            ended: True if the demonstration ended after the last command.
            whole: True to return the policy's steps of an execution too.
        """
        end = self.newest + self._interface.period_ns
        self._look_until(end)
        self.left_out[NOBODY] += self._partly_commanded(end)
        self.jumps = find_jumps(
            [time for time, _ in self._seen], [seen for _, seen in self._seen], self._interface
        )
        torn = self._torn(self.jumps)
        steps = []
        for time, observation in self._seen:
            if time in torn:
                self.left_out[JUMP] += 1
                continue
            if reason := self._not_learned(time):
                self.left_out[reason] += 1
                self.unlearned += reason != UNTOLD
                if not whole:
                    continue
            chunk = self.commands.chunk(time, ended)
            if chunk is None:
                self.left_out["their actions reach over a gap in the commands"] += 1
                continue
            # What the policy commanded the gripper is nothing that the person shows.
            since = 0 if whole else self.execution.since(time)
            actions = self.commands.with_grippers(time, chunk, since)
            if actions is None:
                self.left_out[NO_GRIP if since else "the gripper had not been commanded yet"] += 1
                self.unlearned += since > 0
                continue
            steps.append(Step(time, observation, actions, self.execution.commander(time)))
        return steps

    def _not_learned(self, time: int) -> str:
        """Reason why nothing is learned from a step of an execution; empty if it is learned."""
        if not self.execution.is_told:
            return ""
        commander = self.execution.commander(time)
        if commander not in LEARNED:
            return {"policy": BY_POLICY, "nobody": NOBODY}.get(commander, UNTOLD)
        period = self._interface.period_ns
        ahead = [time + n * period for n in range(1, self._interface.action.horizon)]
        told = (self.execution.commander(t) for t in ahead if self.commands.cover(t))
        return REACHES if any(commander not in LEARNED for commander in told) else ""

    def _partly_commanded(self, end: int) -> int:
        """Steps up to a time, before and after those for which all parts are commanded."""
        commands, period = self.commands, self._interface.period_ns
        begin, first = commands.first_of_any, commands.first
        if begin is None:
            return 0
        before = 0 if first is None else round((first - begin) / period)
        after = begin if self._next is None else self._next
        return before + max(0, (min(commands.until_of_any, end) - after) // period + 1)

    def _torn(self, jumps: list[Jump]) -> set[int]:
        """Times of the steps whose actions or history span a jump, nanoseconds."""
        horizon = self._interface.action.horizon
        history = max(stream.history for stream in self._interface.observation.values())
        times, period = [time for time, _ in self._seen], self._interface.period_ns
        torn: set[int] = set()
        for jump in jumps:
            before, after = times[jump.step], times[jump.step + 1]
            first = bisect_right(times, before - horizon * period)
            torn.update(times[first : bisect_left(times, after + (history - 1) * period)])
        return torn

    def _look_until(self, end: int) -> None:
        """Process all steps up to a time for which there are commands."""
        begin, period = self.commands.first, self._interface.period_ns
        if begin is not None:
            if self._next is None:
                self._next = begin
            # A command may come slightly before its step.
            while self._next <= min(end, self.commands.until + period // 2):
                if self.commands.cover(self._next):
                    self._look(self._next)
                    self._next += period
                    continue
                # Skip a gap at once: after a jump of the clock it may be years long.
                ahead = self.commands.following(self._next) - self._next
                steps = max(1, min(ahead, end - self._next) // period)
                self.left_out[NOBODY] += steps
                self._next += steps * period
        self._take_until(end)

    def _take_until(self, time: int) -> None:
        while self._waiting and self._waiting[0][0] <= time:
            _, _, topic, message, received_ns = heapq.heappop(self._waiting)
            for name in self._streams[topic]:
                found = self._readers[name].add(message) if name in self._readers else message
                if found is not None:
                    self._buffer.add(name, found, received_ns)

    def _look(self, time: int) -> None:
        self._take_until(time)
        try:
            self._seen.append((time, self._buffer.observe(time)))
        except (StaleObservation, MessageError) as error:
            began = self.commands.first
            if not self._seen and began is not None and time - began < _BEGINNING_NS:
                return  # the first recorded message was a command
            self.left_out[NOT_FRESH] += 1
            self.first_problem = self.first_problem or str(error)
