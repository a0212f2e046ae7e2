"""Joint positions over time, as joint_trajectory_controller takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ebm_policy_ros.interface.command_types.command_type import CommandType, joint_values
from ebm_policy_ros.interface.streams import NANOSECONDS


class JointTrajectory(CommandType):
    """Joint positions with times: all actions of a decision in one message."""

    ROS_TYPE = "trajectory_msgs/msg/JointTrajectory"
    QUANTITY = "position"
    TAKES_HORIZON = True

    def write(self, message: Any, points: Any, seconds: Any) -> None:
        from trajectory_msgs.msg import JointTrajectoryPoint  # only where messages are sent

        message.joint_names = list(self.fields)
        message.points = [JointTrajectoryPoint() for _ in points]
        for point, positions, time in zip(message.points, points, seconds, strict=True):
            point.positions = [float(value) for value in positions]
            start, nanoseconds = point.time_from_start, round(float(time) * NANOSECONDS)
            start.sec, start.nanosec = divmod(nanoseconds, NANOSECONDS)

    def read(self, message: Any) -> Any:
        if not message.points:
            raise ValueError("a trajectory without points")
        names = message.joint_names
        rows = [joint_values(names, point.positions, self.fields) for point in message.points]
        starts = [point.time_from_start for point in message.points]
        times = np.array([start.sec + start.nanosec / NANOSECONDS for start in starts])
        if (np.diff(times) <= 0).any():
            raise ValueError(f"a trajectory whose times don't rise: {times.tolist()} s")
        return rows, times
