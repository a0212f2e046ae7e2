"""Move the arm by hand: ros2 launch ebm_policy_ros teleop.launch.py source:=keyboard."""

from launch import LaunchDescription

from ebm_policy_ros.util.launch_description import description


def generate_launch_description() -> LaunchDescription:
    return description(__file__, "teleop_node")
