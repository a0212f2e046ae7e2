"""Actions to command messages and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Action
from ebm_policy_ros.messages.images import MessageError


def fill_twist(message: Any, action: Action, values: npt.NDArray[Any], time_ns: int) -> Any:
    """Write one action into a geometry_msgs/TwistStamped.

    Args:
        message: A new message; dimensions that the action doesn't name stay as they are.
        action: The interface's action.
        values: Shape (D,), in the interface's units.
        time_ns: The stamp.

    Returns:
        The same message.
    """
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ns, NANOSECONDS)
    message.header.frame_id = action.frame_id
    for field, value in zip(action.fields, values, strict=True):
        part, axis = field.split(".")
        setattr(getattr(message.twist, part), axis, float(value))
    return message


def read_twist(message: Any, action: Action) -> npt.NDArray[np.float32]:
    """The action in a geometry_msgs/TwistStamped, shape (D,).

    Raises:
        MessageError: If it is in another frame or not finite.
    """
    if message.header.frame_id != action.frame_id:
        raise MessageError(f"frame {message.header.frame_id!r}, expected {action.frame_id!r}")
    parts = [field.split(".") for field in action.fields]
    values = [getattr(getattr(message.twist, part), axis) for part, axis in parts]
    array = np.asarray(values, dtype=np.float32)
    if not np.isfinite(array).all():
        raise MessageError(f"a value on {action.topic} is not a finite number")
    return array
