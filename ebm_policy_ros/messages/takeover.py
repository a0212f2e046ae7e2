"""Takeover messages: what a person commands in place of a policy, and the end of it.

A message is a JointTrajectory, whatever the arm's own command type is. Its names are those of the
action, with the parts' prefixes, so that one message moves every arm and gripper together. Its
points are actions one period apart, and its frame names the sender. A message without points lets
go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.streams import finite
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.util.quoting import quote

Actions = npt.NDArray[np.float64]

TYPE = "trajectory_msgs/msg/JointTrajectory"
_POINT = "trajectory_msgs/msg/JointTrajectoryPoint"
_MOST_POINTS = 100


@dataclass(frozen=True)
class PersonCommand:
    """Actions that a person commands."""

    rows: tuple[Actions, ...]
    """Actions of each part, shape (H, D) each, in the interface's units."""
    grips: tuple[bool, ...]
    """For each part, true if its gripper is commanded too."""


def takeover_topic(node: str) -> str:
    """Topic on which a policy node takes the commands of a person.

    Args:
        node: Name of the node, or ~ for one's own.
    """
    return f"{node}/takeover"


def letting_go(sender: str, time_ns: int) -> Any:
    """Create the message that ends a takeover.

    Args:
        sender: Name of the sender, which no other has.
        time_ns: Current time, nanoseconds.
    """
    message = message_class(TYPE)()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ns, NANOSECONDS)
    message.header.frame_id = sender
    return message


def takeover_message(
    sender: str, time_ns: int, interface: Interface, command: PersonCommand
) -> Any:
    """Create the message of a command.

    Args:
        sender: Name of the sender, which no other has.
        time_ns: Current time, nanoseconds.
        interface: Defines the dimensions of an action.
        command: Command of the person; parts with fewer actions repeat their last one.
    """
    message = letting_go(sender, time_ns)
    count = max(len(rows) for rows in command.rows)
    filled = [rows[np.minimum(np.arange(count), len(rows) - 1)] for rows in command.rows]
    missing = _grippers(interface, [not grip for grip in command.grips])
    kept = [index for index in range(len(interface.action.names)) if index not in missing]
    message.joint_names = [interface.action.names[index] for index in kept]
    message.points = [
        message_class(_POINT)(positions=row.tolist()) for row in np.hstack(filled)[:, kept]
    ]
    return message


def read_takeover(message: Any, interface: Interface) -> PersonCommand:
    """Read the command of a person.

    Args:
        message: Message with points.
        interface: Defines the dimensions of an action.

    Raises:
        MessageError: If names are missing, unknown or given twice, or if the values are not one
            finite number for each name.
    """
    names, wanted = list(message.joint_names), interface.action.names
    optional = {wanted[i] for i in _grippers(interface, [True] * len(interface.parts))}
    if len(names) > len(wanted) or len(set(names)) < len(names):
        raise MessageError(f"got {len(names)} names, expected each of {', '.join(wanted)} once")
    if unknown := [name for name in names if name not in wanted]:
        raise MessageError(f"got the name {quote(unknown[0])}, expected {', '.join(wanted)}")
    if missing := [n for n in wanted if n not in names and n not in optional]:
        raise MessageError(f"no value for {missing[0]}, expected {', '.join(wanted)}")
    if len(message.points) > _MOST_POINTS:
        raise MessageError(f"got {len(message.points)} points, expected at most {_MOST_POINTS}")
    sizes = {len(point.positions) for point in message.points}
    if sizes != {len(names)}:
        raise MessageError(f"got {sorted(sizes)} values in a point, expected {len(names)}")
    given = finite([list(point.positions) for point in message.points], "~/takeover")
    actions = np.tile(np.array(interface.action.bounds[0]), (len(given), 1))
    actions[:, [wanted.index(name) for name in names]] = given
    rows = tuple(actions[:, part.columns] for part in interface.parts)
    grips = tuple(
        action.gripper is not None and wanted[part.columns.stop - 1] in names
        for part in interface.parts
        if (action := part.interface.command)
    )
    return PersonCommand(rows, grips)


def _grippers(interface: Interface, chosen: Sequence[bool]) -> set[int]:
    """Dimensions of the grippers of the chosen parts."""
    return {
        part.columns.stop - 1
        for part, is_chosen in zip(interface.parts, chosen, strict=True)
        if is_chosen and part.interface.command.gripper is not None
    }
