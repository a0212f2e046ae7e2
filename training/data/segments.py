"""From the messages of one clock to steps at the interface's rate."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import Counter
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.observation.buffer import Observation, ObservationBuffer, StaleObservation
from ebm_policy_ros.training.data.commands import Commands
from ebm_policy_ros.training.data.jumps import Jump, find_jumps

# What comes so much later than newer messages would have been too late on the robot as well.
_PATIENCE_NS = NANOSECONDS


# So soon after the first command some stream may not have been heard yet.
_BEGINNING_NS = NANOSECONDS // 5
NOT_FRESH = "no fresh observation"
NOBODY = "nobody commanded then"
JUMP = "around a jump of the arm"


class Step(NamedTuple):
    """An observation, and what was commanded then."""

    time_ns: int
    observation: Observation
    actions: npt.NDArray[np.float32]
    """Shape (H, D)."""


class Segment:
    """What was recorded while no clock was set back.

    Messages may come in any order within a second of one another: each waits until nothing older
    is expected. So only a second of them is ever held.
    """

    def __init__(self, interface: Interface) -> None:
        self.commands = Commands(interface)
        self.grips = Commands(interface, of_gripper=True)
        self.left_out: Counter[str] = Counter()
        """Steps that can't be used, by the reason."""
        self.first_problem = ""
        """Of an observation."""
        self.jumps: list[Jump] = []
        """Where the arm is suddenly elsewhere; known after `steps`."""
        self._interface = interface
        # Whether a command still held shows when the next one comes.
        self._patience_ns = max(_PATIENCE_NS, interface.hold_ns + interface.period_ns)
        self._buffer = ObservationBuffer(interface)
        self._streams: dict[str, list[str]] = {}
        for name, stream in interface.observation.items():
            self._streams.setdefault(stream.topic, []).append(name)
        self._waiting: list[tuple[int, int, str, Any, int]] = []
        self._number = count()
        self.last_seen = 0
        """Newest stamp of a stream, nanoseconds."""
        self.newest = 0
        """Of the stamps so far, nanoseconds."""
        self._next: int | None = None
        self._seen: list[tuple[int, Observation]] = []

    def add(self, topic: str, stamp: int, message: Any, received_ns: int) -> None:
        """Take a message of a stream; its stamp and the time of its receipt in nanoseconds."""
        self.last_seen = max(self.last_seen, stamp)
        heapq.heappush(self._waiting, (stamp, next(self._number), topic, message, received_ns))
        self.advance(stamp)

    def advance(self, stamp: int) -> None:
        """Note that messages with this stamp have come."""
        self.newest = max(self.newest, stamp)
        self._look_until(self.newest - self._patience_ns)

    def steps(self, ended: bool) -> list[Step]:
        """All steps that can be used, once every message is in.

        Args:
            ended: Whether the demonstration was over after the last command.
        """
        self._look_until(self.newest + self._interface.period_ns)
        self.jumps = find_jumps(
            [time for time, _ in self._seen], [seen for _, seen in self._seen], self._interface
        )
        torn = self._torn(self.jumps)
        steps = []
        for time, observation in self._seen:
            if time in torn:
                self.left_out[JUMP] += 1
                continue
            chunk = self.commands.chunk(time, ended)
            if chunk is None:
                self.left_out["their actions reach over a gap in the commands"] += 1
                continue
            actions = self._with_gripper(time, chunk)
            if actions is None:
                self.left_out["the gripper had not been commanded yet"] += 1
                continue
            steps.append(Step(time, observation, actions))
        return steps

    def _torn(self, jumps: list[Jump]) -> set[int]:
        """The times of the steps whose actions or history reach over a jump, nanoseconds."""
        horizon = self._interface.action.horizon
        history = max(stream.history for stream in self._interface.observation.values())
        times, period = [time for time, _ in self._seen], self._interface.period_ns
        torn: set[int] = set()
        for jump in jumps:
            before, after = times[jump.step], times[jump.step + 1]
            first = bisect_right(times, before - horizon * period)
            torn.update(times[first : bisect_left(times, after + (history - 1) * period)])
        return torn

    def _with_gripper(
        self, time: int, chunk: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32] | None:
        """The actions with those of the gripper, which keeps what it was told last."""
        if self._interface.action.gripper is None:
            return chunk
        period = self._interface.period_ns
        ends = [time + (number + 1) * period - 1 for number in range(len(chunk))]
        grips = [self.grips.newest(end) for end in ends]
        told = [grip for grip in grips if grip is not None]
        if len(told) < len(grips):
            return None
        return np.concatenate((chunk, np.stack(told)), axis=1)

    def _look_until(self, end: int) -> None:
        """Look at every step up to a time, as far as there are commands."""
        stamps, period = self.commands.stamps, self._interface.period_ns
        if stamps:
            if self._next is None:
                self._next = stamps[0]
            # A command may come a little before its step.
            while self._next <= min(end, self.commands.until + period // 2):
                if self.commands.cover(self._next):
                    self._look(self._next)
                    self._next += period
                    continue
                # At once over a gap, which a clock that jumps may make years long.
                following = bisect_left(stamps, self._next)
                ahead = stamps[following] - self._next if following < len(stamps) else 0
                steps = max(1, min(ahead, end - self._next) // period)
                self.left_out[NOBODY] += steps
                self._next += steps * period
        self._take_until(end)

    def _take_until(self, time: int) -> None:
        while self._waiting and self._waiting[0][0] <= time:
            _, _, topic, message, received_ns = heapq.heappop(self._waiting)
            for name in self._streams[topic]:
                self._buffer.add(name, message, received_ns)

    def _look(self, time: int) -> None:
        self._take_until(time)
        try:
            self._seen.append((time, self._buffer.observe(time)))
        except (StaleObservation, MessageError) as error:
            began = self.commands.stamps[0]
            if not self._seen and time - began < _BEGINNING_NS:
                return  # a command was the first message that was recorded
            self.left_out[NOT_FRESH] += 1
            self.first_problem = self.first_problem or str(error)
