"""Input topics (streams) of an interface."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from ebm_policy_ros.interface.checks import (
    is_number,
    require,
    require_names,
    require_positive,
    require_text,
)
from ebm_policy_ros.interface.projection import Projection

NANOSECONDS = 1_000_000_000
"""Nanoseconds in a second."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """QoS settings of a subscription; the defaults are compatible with every publisher."""

    RELIABILITY: ClassVar[tuple[str, ...]] = ("best_effort", "reliable")
    DURABILITY: ClassVar[tuple[str, ...]] = ("volatile", "transient_local")

    reliability: str = "best_effort"
    durability: str = "volatile"

    def __post_init__(self) -> None:
        for key, allowed in (("reliability", self.RELIABILITY), ("durability", self.DURABILITY)):
            value = getattr(self, key)
            require(value in allowed, key, value, " or ".join(allowed))


@dataclass(frozen=True, kw_only=True)
class _Stream:
    """Settings common to all input topics."""

    topic: str
    type: str
    max_age: float
    """Maximum age of a usable sample, s."""
    min_rate: float | None = None
    """Minimum rate of new samples, Hz; None: only `max_age` limits it."""
    history: int = 1
    """Number of samples in one observation, one period of the rate apart, oldest first."""
    qos: Quality = dataclasses.field(default_factory=Quality)

    def __post_init__(self) -> None:
        require_text("topic", self.topic)
        require_positive("max_age", self.max_age, "s")
        if self.min_rate is not None:
            require_positive("min_rate", self.min_rate, "Hz")
        valid = isinstance(self.history, int) and self.history >= 1
        require(valid, "history", self.history, ">= 1")

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of a sample if several publishers may each send a part."""
        return ()


@dataclass(frozen=True, kw_only=True)
class ImageStream(_Stream):
    """Camera stream: colour frames as rgb8, or depth, resized to `size`."""

    ROS_TYPES: ClassVar[tuple[str, ...]] = (
        "sensor_msgs/msg/Image",
        "sensor_msgs/msg/CompressedImage",
    )
    RESIZE: ClassVar[tuple[str, ...]] = ("stretch", "crop", "letterbox")

    size: tuple[int, int]
    """Height and width of the frames in an observation, pixels."""
    depth: tuple[float, float] | None = None
    """Nearest and farthest distance of a depth camera, metres; None for a colour camera."""
    resize: str = "stretch"
    """Method for frames with another aspect ratio than `size`: stretch, crop or letterbox."""
    projection: Projection | None = None
    """Place of the camera, to draw into its pictures; None if it is unknown."""

    def __post_init__(self) -> None:
        super().__post_init__()
        valid = len(self.size) == 2 and all(isinstance(n, int) and n > 0 for n in self.size)
        require(valid, "size", list(self.size), "[height, width] in pixels")
        if self.depth is not None:
            valid = len(self.depth) == 2 and all(is_number(value) for value in self.depth)
            valid = valid and 0 <= self.depth[0] < self.depth[1]
            require(valid, "depth", list(self.depth), "[nearest, farthest] in metres")
        require(self.resize in self.RESIZE, "resize", self.resize, ", ".join(self.RESIZE))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stream in an observation, (T, H, W, 3) uint8."""
        return (self.history, *self.size, 3)


@dataclass(frozen=True, kw_only=True)
class JointStream(_Stream):
    """Joint states from one or several publishers, selected by name in the order of `names`."""

    ROS_TYPES: ClassVar[tuple[str, ...]] = ("sensor_msgs/msg/JointState",)
    FIELDS: ClassVar[tuple[str, ...]] = ("position", "velocity", "effort")

    names: tuple[str, ...]
    fields: tuple[str, ...] = ("position",)
    continuous: tuple[str, ...] = ()
    """Continuous joints: they have no end stops, and a full turn leads to the same position."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_names("names", self.names)
        require_names("fields", self.fields, self.FIELDS)
        if self.continuous:
            require_names("continuous", self.continuous, self.names)
            has_positions = "position" in self.fields
            require(has_positions, "continuous", self.continuous, "none without positions")

    @property
    def turning(self) -> list[int]:
        """Indices of the positions of the continuous joints among the values of a sample."""
        first = self.fields.index("position") * len(self.names) if self.continuous else 0
        return [first + self.names.index(name) for name in self.continuous]

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the joints: each publisher may send some of them."""
        return self.names

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stream in an observation, (T, fields * names) float32; SI units."""
        return (self.history, len(self.fields) * len(self.names))


@dataclass(frozen=True, kw_only=True)
class _FramedStream(_Stream):
    """Values that are given in a coordinate frame."""

    FIELDS: ClassVar[tuple[str, ...]]

    frame_id: str
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require_text("frame_id", self.frame_id)
        require_names("fields", self.fields, self.FIELDS)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stream in an observation, (T, fields) float32; SI units."""
        return (self.history, len(self.fields))


@dataclass(frozen=True, kw_only=True)
class PoseStream(_FramedStream):
    """Pose stream: position in metres, orientation as a unit quaternion."""

    ROS_TYPES: ClassVar[tuple[str, ...]] = ("geometry_msgs/msg/PoseStamped",)
    FIELDS: ClassVar[tuple[str, ...]] = ("x", "y", "z", "qx", "qy", "qz", "qw")

    fields: tuple[str, ...] = ("x", "y", "z")


@dataclass(frozen=True, kw_only=True)
class OdometryStream(PoseStream):
    """Odometry: a pose in `frame_id`, and a velocity in the frame of the body that moves."""

    ROS_TYPES: ClassVar[tuple[str, ...]] = ("nav_msgs/msg/Odometry",)
    VELOCITY: ClassVar[tuple[str, ...]] = (
        "linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z",
    )  # fmt: skip
    FIELDS: ClassVar[tuple[str, ...]] = PoseStream.FIELDS + VELOCITY


@dataclass(frozen=True, kw_only=True)
class TransformStream(PoseStream):
    """Pose of a frame in `frame_id` by tf: its topic and that of the static transforms."""

    ROS_TYPES: ClassVar[tuple[str, ...]] = ("tf2_msgs/msg/TFMessage",)

    child_frame_id: str
    """Frame whose pose it is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_text("child_frame_id", self.child_frame_id)
        other = self.child_frame_id != self.frame_id
        require(other, "child_frame_id", self.child_frame_id, "another frame than frame_id")

    @property
    def static_topic(self) -> str:
        """Topic of the transforms that never change, beside the stream's own."""
        return f"{self.topic}_static"


@dataclass(frozen=True, kw_only=True)
class NumberStream(_Stream):
    """One number, as a gripper's opening or the distance of a range finder."""

    ROS_TYPES: ClassVar[tuple[str, ...]] = ("std_msgs/msg/Float64", "std_msgs/msg/Float32")

    fields: ClassVar[tuple[str, ...]] = ("data",)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stream in an observation, (T, 1) float32."""
        return (self.history, 1)


@dataclass(frozen=True, kw_only=True)
class WrenchStream(_FramedStream):
    """Wrench stream: forces in newtons and torques in newton metres."""

    ROS_TYPES: ClassVar[tuple[str, ...]] = ("geometry_msgs/msg/WrenchStamped",)
    FIELDS: ClassVar[tuple[str, ...]] = (
        "force.x", "force.y", "force.z", "torque.x", "torque.y", "torque.z",
    )  # fmt: skip

    fields: tuple[str, ...] = FIELDS


# The other kinds of poses are PoseStreams.
Stream = ImageStream | JointStream | PoseStream | WrenchStream | NumberStream
STREAM_TYPES: dict[str, type[Stream]] = {
    name: kind
    for kind in (
        ImageStream,
        JointStream,
        PoseStream,
        OdometryStream,
        TransformStream,
        WrenchStream,
        NumberStream,
    )
    for name in kind.ROS_TYPES
}
