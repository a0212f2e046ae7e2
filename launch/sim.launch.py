"""The simulated arm, in real time: ros2 launch ebm_policy_ros sim.launch.py task:=push."""

from launch.actions import OpaqueFunction

from ebm_policy_ros.launching import arguments, node
from launch import LaunchContext, LaunchDescription


def _nodes(context: LaunchContext) -> list:
    names = ("task", "interface")
    return [node(context, "sim_bridge_node", "sim.yaml", {name: name for name in names})]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*arguments("task"), OpaqueFunction(function=_nodes)])
