"""Commands of all parts of an action over time: a step needs a command of each."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface, Part
from ebm_policy_ros.messages.commands import read_points
from ebm_policy_ros.training.data.commands import Commands, Values


class PartCommands:
    """Commands of one part: those of the arm and those of its gripper."""

    def __init__(self, part: Part) -> None:
        self.action = part.interface.command
        self.arm = Commands(part.interface)
        self.grips = Commands(part.interface, of_gripper=True)
        self._period = part.interface.period_ns

    def of_topics(self) -> Iterator[tuple[str, Commands]]:
        """Topics that are commanded, with their commands."""
        yield self.action.topic, self.arm
        if self.action.gripper is not None:
            yield self.action.gripper.topic, self.grips

    def add(self, topic: str, stamp: int, message: Any) -> None:
        """Add a message of one of the topics.

        Raises:
            MessageError: If it is not a command of this part.
        """
        gripper = self.action.gripper
        if topic == self.action.topic:
            self.arm.add(stamp, *read_points(message, self.action))
        elif gripper is not None:
            self.grips.add(stamp, *read_points(message, gripper))

    def with_gripper(self, time: int, chunk: Values, since: int) -> Values | None:
        """Append the gripper's actions to the arm's; the gripper keeps its last command."""
        if self.action.gripper is None:
            return chunk
        ends = [time + (number + 1) * self._period - 1 for number in range(len(chunk))]
        grips = [self.grips.newest(end, since) for end in ends]
        told = [grip for grip in grips if grip is not None]
        if len(told) < len(grips):
            return None
        return np.concatenate((chunk, np.stack(told)), axis=1)


class ActionCommands:
    """Commands of every part by stamp; see `Commands`."""

    def __init__(self, interface: Interface) -> None:
        """Start without commands."""
        self.parts = [PartCommands(part) for part in interface.parts]
        self._holds = [part.interface.hold_ns for part in interface.parts]
        self._of_topic = {topic: part for part in self.parts for topic, _ in part.of_topics()}

    def __contains__(self, topic: str) -> bool:
        """True for a topic that is commanded."""
        return topic in self._of_topic

    def add(self, topic: str, stamp: int, message: Any) -> None:
        """Add a command.

        Raises:
            MessageError: If it is not one of its topic.
        """
        self._of_topic[topic].add(topic, stamp, message)

    @property
    def first(self) -> int | None:
        """Time from which every part was commanded, nanoseconds; None if one was not yet."""
        stamps = [part.arm.stamps for part in self.parts]
        return max(own[0] for own in stamps) if all(stamps) else None

    @property
    def first_of_any(self) -> int | None:
        """Time of the first command of any part, nanoseconds."""
        return min((part.arm.stamps[0] for part in self.parts if part.arm.stamps), default=None)

    @property
    def last(self) -> int | None:
        """Time of the last command of the part that ended first, nanoseconds."""
        return min((part.arm.stamps[-1] for part in self.parts if part.arm.stamps), default=None)

    @property
    def until(self) -> int:
        """Start of the last period for which every part is certainly commanded, nanoseconds."""
        return min(part.arm.until for part in self.parts)

    @property
    def until_of_any(self) -> int:
        """Start of the last period for which any part is certainly commanded, nanoseconds."""
        return max(part.arm.until for part in self.parts)

    def cover(self, time: int) -> bool:
        """True if every part has a command for the period that starts at a time, nanoseconds."""
        return all(part.arm.cover(time) for part in self.parts)

    def following(self, time: int) -> int:
        """Time, nanoseconds, from which each part that is not commanded then may be again."""
        found = [time]
        for stamps in (part.arm.stamps for part in self.parts if not part.arm.cover(time)):
            place = bisect_left(stamps, time)
            found += stamps[place : place + 1]
        return max(found)

    def action(self, time: int) -> Values | None:
        """Action commanded for the period that starts at a time, without grippers, shape (D,)."""
        rows = [part.arm.action(time) for part in self.parts]
        told = [row for row in rows if row is not None]
        return np.concatenate(told) if len(told) == len(rows) else None

    def chunk(self, time: int, ended: bool) -> list[npt.NDArray[np.float32]] | None:
        """Actions of each part for a step, without grippers; see `Commands.chunk`.

        The demonstration did not end with a part's last command if another part was commanded for
        more than a hold after it.
        """
        end = self.until_of_any
        chunks = [
            part.arm.chunk(time, ended and end - part.arm.until <= hold)
            for part, hold in zip(self.parts, self._holds, strict=True)
        ]
        told = [chunk for chunk in chunks if chunk is not None]
        return told if len(told) == len(chunks) else None

    def with_grippers(self, time: int, chunks: list[Values], since: int = 0) -> Values | None:
        """Complete actions of a step, shape (H, D); None if a gripper had no command yet.

        Args:
            time: Time of the step, nanoseconds.
            chunks: Actions of each part without its gripper, shape (H, D) each.
            since: Time before which commands of grippers are somebody else's, nanoseconds.
        """
        pairs = zip(self.parts, chunks, strict=True)
        rows = [part.with_gripper(time, chunk, since) for part, chunk in pairs]
        told = [row for row in rows if row is not None]
        return np.concatenate(told, axis=1) if len(told) == len(rows) else None
