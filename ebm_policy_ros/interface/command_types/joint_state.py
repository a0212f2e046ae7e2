"""Named joint positions or velocities, as many simulators and drivers take them."""

from __future__ import annotations

from typing import Any

from ebm_policy_ros.interface.command_types.command_type import CommandType, joint_values


class JointState(CommandType):
    """Joint positions or velocities by name."""

    ROS_TYPE = "sensor_msgs/msg/JointState"

    def write(self, message: Any, points: Any, seconds: Any) -> None:
        message.name = list(self.fields)
        setattr(message, self.quantity, [float(value) for value in points[0]])

    def read(self, message: Any) -> Any:
        values = getattr(message, self.quantity)
        return [joint_values(message.name, values, self.fields)], [0.0]
