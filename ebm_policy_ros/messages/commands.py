"""Actions to command messages and back."""

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
        message: A new message; what the action doesn't name stays as it is.
        action: The interface's action.
        values: Of its fields, without the gripper: shape (D,), or (H, D) for a trajectory.
        time_ns: The stamp, nanoseconds; a trajectory's times count from it.
        times: For a trajectory, when to be at each point, seconds after the stamp, shape (H,).
        point: The class of a trajectory's points.

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
    """Write a gripper's position, to be reached in some seconds; see `fill_command`."""
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
    """A point of a trajectory with its positions and time."""
    point.positions = [float(value) for value in positions]
    nanoseconds = round(float(seconds) * NANOSECONDS)
    point.time_from_start.sec, point.time_from_start.nanosec = divmod(nanoseconds, NANOSECONDS)
    return point


def read_command(message: Any, action: Action) -> npt.NDArray[np.float32]:
    """The action in a command, shape (D,), without the gripper; of a trajectory its first point.

    Raises:
        MessageError: If it is in another frame, lacks a joint or is not finite.
    """
    if action.frame_id and message.header.frame_id != action.frame_id:
        raise MessageError(
            f"{action.topic}: frame {message.header.frame_id!r}, expected {action.frame_id!r}"
        )
    if action.type == TWIST:
        parts = [field.split(".") for field in action.fields]
        values = [getattr(getattr(message.twist, part), axis) for part, axis in parts]
    elif action.type == POSE:
        values = [pose_value(message, field) for field in action.fields]
    elif action.type == ARRAY:
        values = _numbers(message.data, len(action.fields), action.topic)
    elif action.type == JOINTS:
        column = getattr(message, action.quantity)
        values = _joints(message.name, column, action.fields, action.topic)
    else:
        values = read_points(message, action)[0][0]
    return finite(values, action.topic)


def read_points(message: Any, action: Action) -> tuple[Values, Values]:
    """The positions, shape (H, D), and times after the stamp in seconds, (H,), of a trajectory.

    Raises:
        MessageError: If it has no points, lacks a joint, or is not finite.
    """
    if not message.points:
        raise MessageError(f"{action.topic}: a trajectory without points")
    rows = [
        _joints(message.joint_names, p.positions, action.fields, action.topic)
        for p in message.points
    ]
    durations = [point.time_from_start for point in message.points]
    times = [d.sec + d.nanosec / NANOSECONDS for d in durations]
    return finite(rows, action.topic), np.asarray(times)


def read_gripper(message: Any, gripper: Gripper) -> float:
    """The position in a gripper's command.

    Raises:
        MessageError: If there is none, or it is not finite.
    """
    if gripper.type == ARRAY:
        values = _numbers(message.data, 1, gripper.topic)
    elif gripper.type == TRAJECTORY:
        positions = message.points[0].positions if message.points else []
        values = _joints(message.joint_names, positions, (gripper.name,), gripper.topic)
    else:
        values = _joints(message.name, message.position, (gripper.name,), gripper.topic)
    return float(finite(values, gripper.topic)[0])


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
