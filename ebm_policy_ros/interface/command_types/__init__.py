"""Command types: what can be sent to a controller. One file and one class for each."""

from ebm_policy_ros.interface.command_types.command_type import (
    COMMAND_TYPES,
    TOOL_POSE,
    TOOL_VELOCITY,
    CommandType,
    find_command_type,
)
from ebm_policy_ros.interface.command_types.float32_multi_array import Float32MultiArray
from ebm_policy_ros.interface.command_types.float64_multi_array import Float64MultiArray
from ebm_policy_ros.interface.command_types.joint_jog import JointJog
from ebm_policy_ros.interface.command_types.joint_state import JointState
from ebm_policy_ros.interface.command_types.joint_trajectory import JointTrajectory
from ebm_policy_ros.interface.command_types.pose_stamped import PoseStamped
from ebm_policy_ros.interface.command_types.twist import Twist
from ebm_policy_ros.interface.command_types.twist_stamped import TwistStamped

for kind in (
    TwistStamped,
    Twist,
    PoseStamped,
    JointTrajectory,
    Float64MultiArray,
    Float32MultiArray,
    JointState,
    JointJog,
):
    COMMAND_TYPES.register(kind.ROS_TYPE)(kind)

__all__ = ["COMMAND_TYPES", "TOOL_POSE", "TOOL_VELOCITY", "CommandType", "find_command_type"]
