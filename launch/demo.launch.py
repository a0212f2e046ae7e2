"""Shipped policy and simulated arm in real time: ros2 launch ebm_policy_ros demo.launch.py."""

from launch import LaunchDescription

from ebm_policy_ros.util.launch_description import description


def generate_launch_description() -> LaunchDescription:
    return description(
        __file__,
        "sim_bridge_node",
        "policy_node",
        defaults={"policy": "ur5e_push", "use_sim_time": "true", "autostart": "true"},
    )
