"""Pose of the tool, as a Cartesian impedance controller takes it."""

from __future__ import annotations

from typing import Any

from ebm_policy_ros.interface.command_types.command_type import TOOL_POSE, CommandType


class PoseStamped(CommandType):
    """Pose of the tool; the fields that the action does not have are fixed."""

    ROS_TYPE = "geometry_msgs/msg/PoseStamped"
    FIELDS = TOOL_POSE
    QUANTITY = "position"

    def write(self, message: Any, points: Any, seconds: Any) -> None:
        named = dict(zip(self.fields, points[0], strict=True))
        for field, value in {**self.fixed, **named}.items():
            setattr(_part(message, field), field[-1], float(value))

    def read(self, message: Any) -> Any:
        return [[pose_value(message, field) for field in self.fields]], [0.0]


def pose_value(message: Any, field: str) -> float:
    """Value of a field, x to z or qx to qw, of a geometry_msgs/PoseStamped."""
    return float(getattr(_part(message, field), field[-1]))


def _part(message: Any, field: str) -> Any:
    return message.pose.orientation if field.startswith("q") else message.pose.position
