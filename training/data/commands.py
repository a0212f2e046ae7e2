"""Commands of an episode over time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.messages.commands import along
from ebm_policy_ros.util.geometry import follow, near, wrap

Values = npt.NDArray[np.float32]
Points = npt.NDArray[np.floating]


@dataclass(frozen=True)
class _Command:
    """Points of one message, shape (P, D), and their times after the stamp in s, shape (P,)."""

    points: Points
    seconds: npt.NDArray[np.float64]

    def at(self, seconds: float) -> Values:
        return along(self.points, self.seconds, seconds)


class Commands:
    """Commands by stamp; each holds until the next one, up to a maximum age.

    The action of a period is the command in force in the middle of the period, so jitter of less
    than half a period changes nothing. For a trajectory it is the value at the end of the period.
    """

    def __init__(self, interface: Interface, of_gripper: bool = False) -> None:
        """Start without commands.

        Args:
            interface: Rate, horizon, hold time of a command, and continuous joints.
            of_gripper: True for commands of the gripper, which has no continuous joints.
        """
        self._action, self._period = interface.command, interface.period_ns
        self._hold = interface.hold_ns
        self._turning = [] if of_gripper else interface.continuous
        self._commands: dict[int, _Command] = {}
        self._begins: dict[int, Values] | None = None
        self.stamps: list[int] = []
        """Stamps, nanoseconds, increasing."""
        self.replaced = 0
        """Number of commands replaced by a later one with the same stamp."""

    def add(self, stamp: int, points: Points, seconds: npt.NDArray[np.float64]) -> None:
        """Add a command; of two with the same stamp the last one is kept.

        Args:
            stamp: Nanoseconds.
            points: Commanded values, shape (P, D); P is 1 except for a trajectory.
            seconds: Time of each point after the stamp, shape (P,).
        """
        if self._turning:  # between two points the shorter way is taken, without turns
            points = points.copy()
            angles = points[:, self._turning]
            points[:, self._turning] = follow(angles, wrap(angles[0]))
        old = self._commands.get(stamp)
        if old is None:
            insort(self.stamps, stamp)
        else:
            self.replaced += not np.array_equal(old.points, points)
        self._commands[stamp] = _Command(points, seconds)
        self._begins = None

    @property
    def until(self) -> int:
        """Start of the last period that is certainly commanded, nanoseconds."""
        return self._busy(self.stamps[-1]) if self.stamps else 0

    def _busy(self, stamp: int) -> int:
        """Start of the last period that a command has a point for, nanoseconds."""
        last = round(float(self._commands[stamp].seconds[-1]) * NANOSECONDS)
        return stamp + max(0, last - self._period)

    def _in_force(self, time: int) -> int | None:
        """Stamp of the command in force for the period that starts at a time."""
        place = bisect_left(self.stamps, time + self._period // 2) - 1
        if place < 0:
            return None
        stamp = self.stamps[place]
        # The intended duration of the very last command is unknown.
        last = place == len(self.stamps) - 1
        age = time - self._busy(stamp)
        return stamp if age <= (self._period // 2 if last else self._hold) else None

    def cover(self, time: int) -> bool:
        """True if there is a command for the period that starts at a time, nanoseconds."""
        return self._in_force(time) is not None

    def action(self, time: int) -> Values | None:
        """Action commanded for the period that starts at a time, shape (D,).

        Args:
            time: Nanoseconds.

        Returns:
            The action, or None if there is no command.
        """
        stamp = self._in_force(time)
        return None if stamp is None else self._value(stamp, time + self._period)

    def _value(self, stamp: int, time: int) -> Values:
        """Value of a command at a time, nanoseconds."""
        command, seconds = self._commands[stamp], (time - stamp) / NANOSECONDS
        if seconds >= command.seconds[0]:
            return command.at(seconds)
        if self._begins is None:
            self._begins = self._find_begins()
        if stamp not in self._begins:
            first: Values = command.points[0].astype(np.float32)
            return first
        begin = self._begins[stamp].copy()
        begin[self._turning] = near(begin[self._turning], command.points[0][self._turning])
        way = np.stack((begin, command.points[0]))
        return along(way, np.array([0.0, command.seconds[0]]), seconds)

    def _find_begins(self) -> dict[int, Values]:
        """Start values of trajectories with a later first point: the previous command's value."""
        self._begins = {}
        for before, stamp in zip(self.stamps, self.stamps[1:], strict=False):
            awaited = self._commands[stamp].seconds[0] > 0
            if awaited and stamp - self._busy(before) <= self._hold:
                self._begins[stamp] = self._value(before, stamp)
        return self._begins

    def newest(self, time: int, since: int = 0) -> Values | None:
        """Value for a time of the last command stamped by then, but not before `since`."""
        place = bisect_right(self.stamps, time)
        if not place or (stamp := self.stamps[place - 1]) < since:
            return None
        return self._commands[stamp].at((time - stamp) / NANOSECONDS)

    def chunk(self, time: int, ended: bool) -> Values | None:
        """Actions of a step, shape (H, D); None if one is missing.

        Actions without a command are unknown, except after the very last command: if the
        demonstration ended there, a position is held and a velocity is zero.

        Args:
            time: Time of the step, nanoseconds.
            ended: True if the demonstration ended after the last command.
        """
        rows: list[Values] = []
        for number in range(self._action.horizon):
            slot = time + number * self._period
            found = self.action(slot)
            if found is None:
                if not rows or not ended or slot - self.until <= self._period // 2:
                    return None
                found = np.zeros_like(rows[-1]) if self._action.is_velocity else rows[-1]
            rows.append(found)
        return np.stack(rows)

    def slow(self) -> str:
        """Message if commands are too rare for training, with the remedy; empty otherwise."""
        if len(self.stamps) < 3:
            return ""
        gaps = np.array(self.stamps[1:]) - [self._busy(stamp) for stamp in self.stamps[:-1]]
        usual = float(np.median(gaps))
        if usual <= self._hold + self._period / 2:
            return ""
        return (
            f"{self._action.topic}: commands come at {NANOSECONDS / usual:.2g} Hz, but hold for "
            f"{self._hold / NANOSECONDS:.2g} s only, so steps in between have none; if each was "
            f"to hold until the next one, set action.hold: "
            f"{np.ceil(11 * usual / NANOSECONDS) / 10:.1f} in the interface, else send them "
            f"at {NANOSECONDS / self._period:.3g} Hz"
        )
