"""Velocity of the tool or of a mobile base, as drivers without a stamp take it."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from ebm_policy_ros.interface.command_types.command_type import TOOL_VELOCITY, CommandType


class Twist(CommandType):
    """Velocity without a stamp; fields that the action does not have are zero."""

    ROS_TYPE = "geometry_msgs/msg/Twist"
    FIELDS = TOOL_VELOCITY
    QUANTITY = "velocity"

    def write(self, message: Any, points: Any, seconds: Any) -> None:
        for field, value in zip(self.fields, points[0], strict=True):
            part, axis = field.split(".")
            setattr(getattr(message, part), axis, float(value))

    def read(self, message: Any) -> Any:
        return [[attrgetter(field)(message) for field in self.fields]], [0.0]
