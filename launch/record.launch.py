"""Record demonstrations: ros2 launch ebm_policy_ros record.launch.py folder:=demos."""

from launch import LaunchDescription

from ebm_policy_ros.util.launch_description import description


def generate_launch_description() -> LaunchDescription:
    return description(__file__, "recorder_node")
