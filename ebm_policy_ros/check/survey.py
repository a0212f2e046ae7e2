"""Survey of the topics of a running robot, from which an interface file is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ebm_policy_ros.check.urdf import JointLimits
from ebm_policy_ros.interface.command_types import find_command_type
from ebm_policy_ros.interface.streams import ImageStream, JointStream, PoseStream, WrenchStream
from ebm_policy_ros.messages.encodings import is_distance, normal_name
from ebm_policy_ros.messages.image_shapes import image_shape
from ebm_policy_ros.util.quoting import cut

_NUMERIC = (*JointStream.ROS_TYPES, *PoseStream.ROS_TYPES, *WrenchStream.ROS_TYPES)
SURVEYED = (*ImageStream.ROS_TYPES, *_NUMERIC)
"""Message types that may be streams of an interface."""
# Endings of topics that show something to people.
_NOT_SENSORS = ("/debug_image", "/compressedDepth", "/theora")


@dataclass(frozen=True)
class Sensor:
    """A topic that may be a stream."""

    topic: str
    """Name without the first slash."""
    type: str
    rate: float
    """Messages per second, Hz."""
    delay: float
    """Usual time from the stamp to the receipt, s; 0 if the stamp is zero."""
    message: Any
    """Newest message."""
    joints: tuple[str, ...] = ()
    """Names of all joints in its messages."""

    @property
    def is_camera(self) -> bool:
        """True for images."""
        return self.type in ImageStream.ROS_TYPES

    @property
    def is_joints(self) -> bool:
        """True for joint states."""
        return self.type in JointStream.ROS_TYPES

    @property
    def is_pose(self) -> bool:
        """True for a pose, as of the tool."""
        return self.type in PoseStream.ROS_TYPES

    @property
    def is_depth(self) -> bool:
        """True for a camera of distances."""
        return is_distance(normal_name(getattr(self.message, "encoding", "")))

    @property
    def is_wanted(self) -> bool:
        """True if it is no picture for people."""
        return not f"/{self.topic}".endswith(_NOT_SENSORS)

    @property
    def about(self) -> str:
        """Content, in a few words."""
        if self.is_camera:
            height, width = image_shape(self.message) or (0, 0)
            kind = getattr(self.message, "encoding", None) or self.message.format
            return f"{width}x{height} {cut(kind, 20)}, {self.rate:.1f} Hz"
        if self.is_joints:
            return f"{len(self.joints)} joints, {self.rate:.1f} Hz"
        frame = cut(self.message.header.frame_id) or "no frame"
        return f"in {frame}, {self.rate:.1f} Hz"


@dataclass(frozen=True)
class Commandable:
    """A topic on which somebody listens for commands, with one quantity."""

    topic: str
    """Name without the first slash."""
    type: str
    quantity: str
    """Quantity for the interface file; empty if the type tells it."""
    listeners: tuple[str, ...]
    is_published: bool
    """True if somebody publishes there too."""

    @property
    def is_velocity(self) -> bool:
        """True for velocities."""
        return (self.quantity or find_command_type(self.type).QUANTITY) == "velocity"

    @property
    def is_joints(self) -> bool:
        """True if it commands joints."""
        return not find_command_type(self.type).FIELDS

    @property
    def names_joints(self) -> bool:
        """False if a command has values alone, whose order no topic tells."""
        return find_command_type(self.type).NAMES_JOINTS

    @property
    def name(self) -> str:
        """Topic, and the quantity if the type doesn't tell it."""
        return f"{self.topic}:{self.quantity}" if self.quantity else self.topic


@dataclass(frozen=True)
class Survey:
    """Everything that was seen."""

    sensors: tuple[Sensor, ...]
    commands: tuple[Commandable, ...]
    described: Mapping[str, JointLimits]
    """Limits of joints from /robot_description; empty if nobody publishes it."""

    @property
    def cameras(self) -> list[Sensor]:
        """Cameras; raw pictures before compressed ones, and colours before distances."""
        found = [s for s in self.sensors if s.is_camera and s.is_wanted]
        kinds = ImageStream.ROS_TYPES
        return sorted(found, key=lambda s: (kinds.index(s.type), s.is_depth, s.topic))

    @property
    def numeric(self) -> list[Sensor]:
        """Joints, poses and wrenches, in this order."""
        found = [s for s in self.sensors if s.type in _NUMERIC]
        return sorted(found, key=lambda s: (_NUMERIC.index(s.type), s.topic))


def commandables(
    topic: str, ros_type: str, listeners: tuple[str, ...], is_published: bool
) -> list[Commandable]:
    """Ways to command a topic: one for each quantity that its type allows."""
    told = find_command_type(ros_type).QUANTITY
    quantities = [""] if told else ["position", "velocity"]
    if not told and "vel" in topic:
        quantities.reverse()
    return [Commandable(topic, ros_type, q, listeners, is_published) for q in quantities]
