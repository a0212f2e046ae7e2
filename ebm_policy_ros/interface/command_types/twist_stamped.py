"""Velocity of the tool, as MoveIt Servo takes it."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from ebm_policy_ros.interface.command_types.command_type import TOOL_VELOCITY, CommandType


class TwistStamped(CommandType):
    """Velocity of the tool; fields that the action does not have are zero."""

    ROS_TYPE = "geometry_msgs/msg/TwistStamped"
    FIELDS = TOOL_VELOCITY
    QUANTITY = "velocity"

    def write(self, message: Any, points: Any, seconds: Any) -> None:
        for field, value in zip(self.fields, points[0], strict=True):
            part, axis = field.split(".")
            setattr(getattr(message.twist, part), axis, float(value))

    def read(self, message: Any) -> Any:
        return [[attrgetter(field)(message.twist) for field in self.fields]], [0.0]
