"""Velocity of the tool, as MoveIt Servo takes it."""

from __future__ import annotations

from typing import Any

from ebm_policy_ros.interface.command_types.twist import Twist


class TwistStamped(Twist):
    """Velocity of the tool; fields that the action does not have are zero."""

    ROS_TYPE = "geometry_msgs/msg/TwistStamped"

    def write(self, message: Any, points: Any, seconds: Any) -> None:
        super().write(message.twist, points, seconds)

    def read(self, message: Any) -> Any:
        return super().read(message.twist)
