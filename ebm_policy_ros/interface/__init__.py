"""Interface files. Only they define the topics, fields, rates and limits of a robot."""

from ebm_policy_ros.interface.action import Action, Gripper, Workspace
from ebm_policy_ros.interface.checks import InterfaceError
from ebm_policy_ros.interface.file import (
    NANOSECONDS,
    Interface,
    interface_from_dict,
    load_interface,
)
from ebm_policy_ros.interface.streams import (
    ImageStream,
    JointStream,
    PoseStream,
    Stream,
    WrenchStream,
)

__all__ = [
    "NANOSECONDS",
    "Action",
    "Gripper",
    "ImageStream",
    "Interface",
    "InterfaceError",
    "JointStream",
    "PoseStream",
    "Stream",
    "Workspace",
    "WrenchStream",
    "interface_from_dict",
    "load_interface",
]
