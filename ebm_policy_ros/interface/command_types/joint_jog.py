"""Named joint velocities, as MoveIt Servo takes them."""

from __future__ import annotations

from typing import Any

from ebm_policy_ros.interface.command_types.command_type import CommandType, joint_values


class JointJog(CommandType):
    """Joint velocities by name; displacements, which Servo ignores, stay empty."""

    ROS_TYPE = "control_msgs/msg/JointJog"
    QUANTITY = "velocity"

    def write(self, message: Any, points: Any, seconds: Any) -> None:
        message.joint_names = list(self.fields)
        message.velocities = [float(value) for value in points[0]]

    def read(self, message: Any) -> Any:
        return [joint_values(message.joint_names, message.velocities, self.fields)], [0.0]
