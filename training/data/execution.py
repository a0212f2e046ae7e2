"""Execution of a policy, as its node told it tick by tick: who commanded, and where it stopped."""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.messages.execution import ExecutionTick, execution_topic
from ebm_policy_ros.util.yaml_file import parse_json

CUSTOM = "execution"
"""Key of the custom data of a bag that names the topic and the policy."""
USUAL_TOPIC = execution_topic("policy_node")
"""Topic of a bag that names none, in any namespace."""
OTHER = "other"
"""Commander while the node tells that it does not publish: anybody else."""
LEARNED = ("person", OTHER)
"""Commanders whose actions are learned."""
BY_POLICY = "commanded by the policy"
UNTOLD = "the execution does not tell who commanded then"
NO_GRIP = "the person had not commanded the gripper yet in this takeover"
REACHES = "their actions reach into what no person commanded"

# A tick holds until the next one, or for so many periods: ticks come at the rate of the interface,
# and after the last one the node may have commanded to stand still.
_HOLD_PERIODS = 1.5
_TOPIC = re.compile(r"/?[A-Za-z_][A-Za-z0-9_/]{0,255}")


class Stop(NamedTuple):
    """A stop that stays until an operator resets it."""

    time_ns: int
    reason: str


@dataclass(frozen=True)
class Execution:
    """Execution of a policy, for the M steps of an episode."""

    policy: str
    """Name of the policy."""
    sha256: str
    """Digest of its file; empty if it is unknown."""
    commanders: npt.NDArray[np.str_]
    """Commander of each step, policy, person, nobody or other; empty if unknown; shape (M,)."""
    stops: tuple[Stop, ...]
    """Stops, in order."""

    @property
    def corrected(self) -> npt.NDArray[np.bool_]:
        """True for a step that a person commanded, shape (M,)."""
        found: npt.NDArray[np.bool_] = self.commanders == "person"
        return found


class ExecutionLog:
    """Ticks by stamp."""

    def __init__(self, period_ns: int, command_ns: int) -> None:
        """Start without ticks.

        Args:
            period_ns: Time from step to step, nanoseconds.
            command_ns: Longest time that a command holds, nanoseconds.
        """
        self._period_ns, self._command_ns = period_ns, command_ns
        self._stamps: list[int] = []
        self._published: list[int] = []
        self._begins: list[int] = []
        self._ticks: dict[int, ExecutionTick] = {}
        self.is_told = False
        """True if any tick was of a node that publishes, or cannot be read."""

    def add(self, stamp: int, tick: ExecutionTick) -> None:
        """Add a tick; of two with the same stamp, nanoseconds, the last one is kept."""
        if stamp not in self._ticks:
            insort(self._stamps, stamp)
        if tick.publishes:
            insort(self._published, stamp)
            self.is_told = True
        self._ticks[stamp] = tick

    def commander(self, time: int) -> str:
        """Commander of the period that starts at a time, nanoseconds; empty if unknown.

        It is OTHER if the node does not publish, and what it last sent does not hold any more.

        As for the command, that in the middle of the period counts. In the period in which a
        person lets go the node commands to stand still, before it tells so at its next tick.
        """
        commander = self._told(time)
        if commander == OTHER and self._still_holds(time):
            return "nobody"
        lets_go = commander == "person" != self._told(time + self._period_ns)
        return "nobody" if lets_go else commander

    def since(self, time: int) -> int:
        """Stamp of the first tick of the run of one commander at a time; 0 if none is told."""
        if not self.is_told or not self._told(time):
            return 0
        if len(self._begins) != len(self._stamps):
            self._begins = self._find_begins()
        return self._begins[self._place(time)]

    def _find_begins(self) -> list[int]:
        """Stamp of the first tick of the run that each tick is in."""
        begins: list[int] = []
        before = ""
        for stamp in self._stamps:
            commander = self._commander_of(stamp)
            begins.append(begins[-1] if commander == before else stamp)
            before = commander
        return begins

    def _place(self, time: int) -> int:
        """Index of the tick in force for the period that starts at a time; -1 for none."""
        return bisect_left(self._stamps, time + self._period_ns // 2) - 1

    def _commander_of(self, stamp: int) -> str:
        tick = self._ticks[stamp]
        return tick.commander if tick.publishes else OTHER

    def _told(self, time: int) -> str:
        place = self._place(time)
        if place < 0 or time - self._stamps[place] > _HOLD_PERIODS * self._period_ns:
            return ""
        return self._commander_of(self._stamps[place])

    def _still_holds(self, time: int) -> bool:
        """True if the command in force then may be one of the node."""
        place = bisect_left(self._published, time + self._period_ns // 2) - 1
        longest = self._command_ns + self._period_ns
        return place >= 0 and time - self._published[place] <= longest

    @property
    def has_person(self) -> bool:
        """True if a person commanded at any tick."""
        return any(t.publishes and t.commander == "person" for t in self._ticks.values())

    def stops(self) -> list[Stop]:
        """Ticks at which the node stopped."""
        found, before = [], ""
        for stamp in self._stamps:
            tick = self._ticks[stamp]
            if tick.state == "stopped" != before:
                found.append(Stop(stamp, tick.reason))
            before = tick.state
        return found

    @property
    def last(self) -> ExecutionTick | None:
        """Last tick; None if there is none."""
        return self._ticks[self._stamps[-1]] if self._stamps else None


def recorded_topic(custom: Mapping[str, str]) -> str:
    """Topic of the execution in a bag, by its custom data.

    Raises:
        ValueError: If the custom data names something that is no topic.
    """
    if CUSTOM not in custom:
        return USUAL_TOPIC
    topic = dict(parse_json(custom[CUSTOM])).get("topic", USUAL_TOPIC)
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
        raise ValueError("its topic is none")
    return topic
