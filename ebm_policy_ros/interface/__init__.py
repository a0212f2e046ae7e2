"""Interface files. Only they define the topics, fields, rates and limits of a robot."""

from ebm_policy_ros.interface.action import Action, Gripper, GripperServer, Workspace
from ebm_policy_ros.interface.checks import InterfaceError
from ebm_policy_ros.interface.command_types import (
    COMMAND_TYPES,
    TOOL_POSE,
    TOOL_VELOCITY,
    CommandType,
)
from ebm_policy_ros.interface.file import (
    Interface,
    Part,
    interface_from_dict,
    load_interface,
)
from ebm_policy_ros.interface.parts import CombinedAction
from ebm_policy_ros.interface.projection import Projection
from ebm_policy_ros.interface.streams import (
    NANOSECONDS,
    ImageStream,
    JointStream,
    NumberStream,
    OdometryStream,
    PoseStream,
    Stream,
    TransformStream,
    WrenchStream,
)

__all__ = [
    "COMMAND_TYPES",
    "NANOSECONDS",
    "TOOL_POSE",
    "TOOL_VELOCITY",
    "Action",
    "CombinedAction",
    "CommandType",
    "Gripper",
    "GripperServer",
    "ImageStream",
    "Interface",
    "InterfaceError",
    "JointStream",
    "NumberStream",
    "OdometryStream",
    "Part",
    "PoseStream",
    "Projection",
    "Stream",
    "TransformStream",
    "Workspace",
    "WrenchStream",
    "interface_from_dict",
    "load_interface",
]
