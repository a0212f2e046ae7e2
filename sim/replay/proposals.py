"""Proposals of a policy in shadow mode, paired with the demonstrated actions."""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import Any, NamedTuple

from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.messages.commands import read_command
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.training.data.action_commands import ActionCommands

Pair = tuple[float, list[float], list[float]]
"""Time after the start, s, and the demonstrated and the proposed action of all parts."""


class _Proposal(NamedTuple):
    """Proposed command of one part."""

    received: int
    stamp: int
    values: list[float]


class Proposals:
    """Commands of all parts, grouped by decision.

    The commands of a decision are sent one directly after the other. Their stamps may differ, as
    a trajectory has that of its observation, so the times of receipt tell which belong together.
    """

    def __init__(self, interface: Interface) -> None:
        """Start without proposals."""
        self._interface = interface
        self._waiting = [deque[_Proposal]() for _ in interface.parts]
        self._decisions: list[list[_Proposal]] = []

    def clear(self) -> None:
        """Forget all proposals."""
        self._decisions.clear()
        for waiting in self._waiting:
            waiting.clear()

    def add(self, index: int, message: Any, received: int) -> None:
        """Note a command; it counts once that of each part has come.

        Args:
            index: Number of the part.
            message: Its command.
            received: Time of receipt, nanoseconds; used as the stamp if the message has none.

        Raises:
            MessageError: If it is not a command of this part.
        """
        action = self._interface.parts[index].interface.command
        values = read_command(message, action, 1.0 / self._interface.rate)  # the first action
        stamp = stamp_ns(message) or received
        self._waiting[index].append(_Proposal(received, stamp, [float(v) for v in values]))
        while all(self._waiting):
            times = [waiting[0].received for waiting in self._waiting]
            if max(times) - min(times) > self._interface.period_ns // 2:
                self._waiting[times.index(min(times))].popleft()  # the others' were lost
                continue
            self._decisions.append([waiting.popleft() for waiting in self._waiting])

    def pairs(self, demonstrated: ActionCommands, start: int) -> list[Pair]:
        """Decisions at whose stamps each part was commanded in the demonstration.

        Args:
            demonstrated: Commands of the demonstration.
            start: Start of the demonstration, nanoseconds.
        """
        found = []
        for decision in self._decisions:
            rows = [
                part.arm.action(proposal.stamp)
                for part, proposal in zip(demonstrated.parts, decision, strict=True)
            ]
            wanted = [[float(v) for v in row] for row in rows if row is not None]
            if len(wanted) == len(rows):
                time = (max(proposal.stamp for proposal in decision) - start) / NANOSECONDS
                values = [proposal.values for proposal in decision]
                found.append((time, [*chain(*wanted)], [*chain(*values)]))
        return found
