"""Run a trained policy on the arm: ros2 launch ebm_policy_ros policy.launch.py policy:=FILE."""

from launch.actions import OpaqueFunction

from ebm_policy_ros.launching import arguments, node
from launch import LaunchContext, LaunchDescription


def _nodes(context: LaunchContext) -> list:
    names = ("policy", "interface", "device", "autostart")
    return [node(context, "policy_node", "policy.yaml", {name: name for name in names})]


def generate_launch_description() -> LaunchDescription:
    declared = arguments("policy", "device", "autostart")
    return LaunchDescription([*declared, OpaqueFunction(function=_nodes)])
