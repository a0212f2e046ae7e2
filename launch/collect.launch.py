"""Move an arm and record it: ros2 launch ebm_policy_ros collect.launch.py folder:=demos."""

from launch import LaunchDescription
from launch.substitutions import LaunchConfiguration

from ebm_policy_ros.util.launch_description import description


def generate_launch_description() -> LaunchDescription:
    return description(
        __file__,
        "sim_bridge_node",
        "recorder_node",
        "teleop_node",
        defaults={"keys": "false", "use_sim_time": LaunchConfiguration("simulation")},
        optional={"sim_bridge_node": "simulation"},
    )
