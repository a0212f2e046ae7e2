"""Shipped policy and simulated arm in real time: ros2 launch ebm_policy_ros demo.launch.py."""

from launch.actions import OpaqueFunction

from ebm_policy_ros.launching import arguments, node
from launch import LaunchContext, LaunchDescription


def _nodes(context: LaunchContext) -> list:
    bridge = {name: name for name in ("task", "interface")}
    policy = {name: name for name in ("policy", "interface", "device", "autostart")}
    return [
        node(context, "sim_bridge_node", "sim.yaml", bridge),
        node(context, "policy_node", "policy.yaml", policy),
    ]


def generate_launch_description() -> LaunchDescription:
    declared = arguments("task", "policy", "device", "autostart", use_sim_time="true")
    return LaunchDescription([*declared, OpaqueFunction(function=_nodes)])
