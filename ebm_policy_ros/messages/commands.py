"""Conversion between actions and command messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Action, Gripper
from ebm_policy_ros.interface.action import ARRAY, JOINTS, POSE, TRAJECTORY, TWIST
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.streams import finite, pose_value

Values = npt.NDArray[Any]


def fill_command(
    message: Any,
    action: Action,
    values: Values,
    time_ns: int,
    times: Values | None = None,
    point: Any = None,
) -> Any:
    """Write actions into a message of the interface's command type.

    Args:
        message: New message; fields that the action does not name stay unchanged.
        action: Action of the interface.
        values: Values of its fields, without the gripper: shape (D,), or (H, D) for a trajectory.
        time_ns: Stamp in nanoseconds; the times of a trajectory are relative to it.
        times: Times of the points of a trajectory, in seconds after the stamp, shape (H,).
        point: Class of the points of a trajectory.

    Returns:
        The same message.
    """
    if action.type == ARRAY:
        message.data = [float(value) for value in values]
        return message
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ns, NANOSECONDS)
    message.header.frame_id = action.frame_id
    if action.type == TWIST:
        for field, value in zip(action.fields, values, strict=True):
            part, axis = field.split(".")
            setattr(getattr(message.twist, part), axis, float(value))
    elif action.type == POSE:
        named = dict(zip(action.fields, values, strict=True))
        for field, value in {**action.fixed, **named}.items():
            part = message.pose.orientation if field.startswith("q") else message.pose.position
            setattr(part, field[-1], float(value))
    elif action.type == JOINTS:
        message.name = list(action.fields)
        setattr(message, action.quantity, [float(value) for value in values])
    else:
        assert times is not None
        message.joint_names = list(action.fields)
        message.points = [_at(point(), *pair) for pair in zip(values, times, strict=True)]
    return message


def fill_gripper(
    message: Any, gripper: Gripper, value: float, time_ns: int, seconds: float, point: Any
) -> Any:
    """Write a gripper position, to be reached after `seconds`; see `fill_command`."""
    if gripper.type == ARRAY:
        message.data = [float(value)]
        return message
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ns, NANOSECONDS)
    if gripper.type == JOINTS:
        message.name, message.position = [gripper.name], [float(value)]
    else:
        message.joint_names = [gripper.name]
        message.points = [_at(point(), [value], seconds)]
    return message


def _at(point: Any, positions: Any, seconds: float) -> Any:
    """Fill a point of a trajectory with positions and time."""
    point.positions = [float(value) for value in positions]
    nanoseconds = round(float(seconds) * NANOSECONDS)
    point.time_from_start.sec, point.time_from_start.nanosec = divmod(nanoseconds, NANOSECONDS)
    return point


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


def read_points(message: Any, action: Action) -> tuple[npt.NDArray[np.float64], Values]:
    """Read a command over time: points, shape (P, D), and seconds after the stamp, (P,).

    A trajectory has any number of points; every other type has a single point at time 0.

    Raises:
        MessageError: If the command is in another frame, lacks a joint or is not finite, or if a
            trajectory has no points or its times do not increase.
    """
    if action.frame_id and message.header.frame_id != action.frame_id:
        raise MessageError(
            f"{action.topic}: frame {message.header.frame_id!r}, expected {action.frame_id!r}"
        )
    if action.type == TRAJECTORY:
        return _timed(message, action.fields, action.topic)
    return finite([_values(message, action)], action.topic), np.zeros(1)


def _values(message: Any, action: Action) -> list[float]:
    """Values of a command that is not a trajectory."""
    if action.type == TWIST:
        parts = [field.split(".") for field in action.fields]
        return [getattr(getattr(message.twist, part), axis) for part, axis in parts]
    if action.type == POSE:
        return [pose_value(message, field) for field in action.fields]
    if action.type == ARRAY:
        return _numbers(message.data, len(action.fields), action.topic)
    column = getattr(message, action.quantity)
    return _joints(message.name, column, action.fields, action.topic)


def _timed(
    message: Any, names: tuple[str, ...], topic: str
) -> tuple[npt.NDArray[np.float64], Values]:
    """Points and times of a trajectory, as returned by `read_points`."""
    if not message.points:
        raise MessageError(f"{topic}: a trajectory without points")
    rows = [_joints(message.joint_names, p.positions, names, topic) for p in message.points]
    durations = [point.time_from_start for point in message.points]
    times = np.array([d.sec + d.nanosec / NANOSECONDS for d in durations])
    if (np.diff(times) <= 0).any():
        raise MessageError(f"{topic}: a trajectory whose times don't rise: {times.tolist()} s")
    return finite(rows, topic), times


def read_gripper(message: Any, gripper: Gripper) -> float:
    """Read the final position of a gripper command.

    Raises:
        MessageError: If there is no position, or it is not finite.
    """
    return float(read_gripper_points(message, gripper)[0][-1, 0])


def read_gripper_points(message: Any, gripper: Gripper) -> tuple[npt.NDArray[np.float64], Values]:
    """Read a gripper command over time, as `read_points` does for an arm; shape (P, 1).

    Raises:
        MessageError: If there is no position, or it is not finite.
    """
    if gripper.type == TRAJECTORY:
        return _timed(message, (gripper.name,), gripper.topic)
    if gripper.type == ARRAY:
        values = _numbers(message.data, 1, gripper.topic)
    else:
        values = _joints(message.name, message.position, (gripper.name,), gripper.topic)
    return finite([values], gripper.topic), np.zeros(1)


def _numbers(data: Any, count: int, topic: str) -> list[float]:
    if len(data) != count:
        raise MessageError(f"{topic}: {len(data)} numbers, expected {count}")
    return [float(value) for value in data]


def _joints(names: Any, column: Any, wanted: tuple[str, ...], topic: str) -> list[float]:
    index = {name: i for i, name in enumerate(names)}
    missing = [name for name in wanted if name not in index]
    if missing or len(column) != len(index):
        what = f"no joint {missing[0]!r}" if missing else f"{len(column)} values"
        raise MessageError(f"{topic}: {what} for {', '.join(index) or 'no names'}")
    return [float(column[index[name]]) for name in wanted]
