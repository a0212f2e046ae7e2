"""Record demonstrations: ros2 launch ebm_policy_ros record.launch.py folder:=demos."""

from launch.actions import OpaqueFunction

from ebm_policy_ros.launching import arguments, node
from launch import LaunchContext, LaunchDescription


def _nodes(context: LaunchContext) -> list:
    names = ("folder", "interface")
    return [node(context, "recorder_node", "recorder.yaml", {name: name for name in names})]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*arguments("folder"), OpaqueFunction(function=_nodes)])
