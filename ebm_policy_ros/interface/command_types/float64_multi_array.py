"""Numbers in the controller's order, as the forward command controllers take them."""

from __future__ import annotations

from typing import Any

from ebm_policy_ros.interface.command_types.command_type import CommandType


class Float64MultiArray(CommandType):
    """Joint positions or velocities in the order of the fields, without names or a stamp."""

    ROS_TYPE = "std_msgs/msg/Float64MultiArray"
    NAMES_JOINTS = False

    def write(self, message: Any, points: Any, seconds: Any) -> None:
        message.data = [float(value) for value in points[0]]

    def read(self, message: Any) -> Any:
        if len(message.data) != len(self.fields):
            raise ValueError(f"{len(message.data)} numbers, expected {len(self.fields)}")
        return [message.data], [0.0]
