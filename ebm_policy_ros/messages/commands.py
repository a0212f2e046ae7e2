"""Conversion between actions and command messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Action, Gripper
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.streams import finite
from ebm_policy_ros.messages.types import message_class

Values = npt.NDArray[Any]


def command_message(
    command: Action | Gripper, points: Values, time_ns: int, seconds: Values
) -> Any:
    """Create a command message.

    Args:
        command: Action of the interface, or its gripper.
        points: Values of its fields, without the gripper's, shape (P, D); P is 1 unless the type
            takes a horizon.
        time_ns: Stamp in nanoseconds.
        seconds: Times of the points, in seconds after the stamp, shape (P,). Types of a single
            point ignore them.
    """
    message = message_class(command.command_type.ROS_TYPE)()
    if hasattr(message, "header"):
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ns, NANOSECONDS)
        message.header.frame_id = command.frame_id
    command.command_type.write(message, points, seconds)
    return message


def along(
    points: npt.NDArray[np.floating], seconds: Values, time: float
) -> npt.NDArray[np.float32]:
    """Interpolate timed points linearly; before and after them the position is constant.

    Args:
        points: Positions, shape (P, D).
        seconds: Times of the points in seconds, ascending, shape (P,).
        time: Time of the requested position, on the same clock.

    Returns:
        Position, shape (D,).
    """
    columns = [np.interp(time, seconds, column) for column in points.T]
    return np.array(columns, dtype=np.float32)


def read_command(message: Any, action: Action, seconds: float = 0.0) -> npt.NDArray[np.float32]:
    """Read the action in a command, shape (D,), without the gripper.

    Args:
        message: Command message.
        action: Action of the interface.
        seconds: Time after the stamp in seconds; used only for a trajectory. The action of a
            period is the position at its end: the first point of a trajectory may be the current
            position of the arm.

    Raises:
        MessageError: If the command is in another frame, lacks a joint or is not finite.
    """
    return along(*read_points(message, action), seconds)


def read_points(
    message: Any, command: Action | Gripper
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Read a command over time: points, shape (P, D), and seconds after the stamp, (P,).

    A trajectory has any number of points; every other type has a single point at time 0.

    Args:
        message: Command message.
        command: Action of the interface, or its gripper, whose commands have D = 1.

    Raises:
        MessageError: If the command is in another frame, lacks a joint or is not finite, or if a
            trajectory has no points or its times do not increase.
    """
    framed = bool(command.frame_id) and hasattr(message, "header")
    if framed and message.header.frame_id != command.frame_id:
        raise MessageError(
            f"{command.topic}: frame {message.header.frame_id!r}, expected {command.frame_id!r}"
        )
    try:
        rows, seconds = command.command_type.read(message)
    except ValueError as error:
        raise MessageError(f"{command.topic}: {error}") from None
    return finite(rows, command.topic), np.asarray(seconds, dtype=np.float64)
