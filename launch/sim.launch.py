"""The simulated arm, in real time: ros2 launch ebm_policy_ros sim.launch.py task:=push."""

from launch import LaunchDescription

from ebm_policy_ros.util.launch_description import description


def generate_launch_description() -> LaunchDescription:
    return description(__file__, "sim_bridge_node")
