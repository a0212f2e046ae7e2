"""Run a trained policy on the arm: ros2 launch ebm_policy_ros policy.launch.py policy:=FILE."""

from launch import LaunchDescription

from ebm_policy_ros.util.launch_description import description


def generate_launch_description() -> LaunchDescription:
    return description(__file__, "policy_node", required=("policy",))
