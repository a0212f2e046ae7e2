"""The input topics of an interface."""

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


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How a topic is subscribed to; the defaults suit every publisher."""

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
    """What every input topic has."""

    topic: str
    type: str
    max_age: float
    """Oldest sample that may still be used, seconds."""
    min_rate: float | None = None
    """Fewest new samples per second, Hz; None for as few as `max_age` lets through."""
    history: int = 1
    """Samples in one observation, one period of the rate apart, oldest first."""
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
        """What a sample is made of, where several publishers may each send a part."""
        return ()


@dataclass(frozen=True, kw_only=True)
class ImageStream(_Stream):
    """A camera: colour frames as rgb8, or depth, resized to `size`."""

    ROS_TYPES: ClassVar[tuple[str, ...]] = (
        "sensor_msgs/msg/Image",
        "sensor_msgs/msg/CompressedImage",
    )
    RESIZE: ClassVar[tuple[str, ...]] = ("stretch", "crop", "letterbox")

    size: tuple[int, int]
    """Height and width as the policy sees them, pixels."""
    depth: tuple[float, float] | None = None
    """For a depth camera: the nearest and the farthest distance that count, metres."""
    resize: str = "stretch"
    """What becomes of frames of another aspect ratio than `size`."""

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
    """Joint states, selected by name in the order given here, from one publisher or several."""

    ROS_TYPES: ClassVar[tuple[str, ...]] = ("sensor_msgs/msg/JointState",)
    FIELDS: ClassVar[tuple[str, ...]] = ("position", "velocity", "effort")

    names: tuple[str, ...]
    fields: tuple[str, ...] = ("position",)
    continuous: tuple[str, ...] = ()
    """Joints that turn without end: a full turn leads to the same place."""

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
        """Indices of the continuous joints' positions among the numbers of a sample."""
        first = self.fields.index("position") * len(self.names) if self.continuous else 0
        return [first + self.names.index(name) for name in self.continuous]

    @property
    def parts(self) -> tuple[str, ...]:
        """The joints."""
        return self.names

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stream in an observation, (T, fields * names) float32; SI units."""
        return (self.history, len(self.fields) * len(self.names))


@dataclass(frozen=True, kw_only=True)
class _FramedStream(_Stream):
    """Numbers that are given in a frame."""

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
    """A pose: position in metres, orientation as a unit quaternion."""

    ROS_TYPES: ClassVar[tuple[str, ...]] = ("geometry_msgs/msg/PoseStamped",)
    FIELDS: ClassVar[tuple[str, ...]] = ("x", "y", "z", "qx", "qy", "qz", "qw")

    fields: tuple[str, ...] = ("x", "y", "z")


@dataclass(frozen=True, kw_only=True)
class WrenchStream(_FramedStream):
    """Forces in newtons and torques in newton metres."""

    ROS_TYPES: ClassVar[tuple[str, ...]] = ("geometry_msgs/msg/WrenchStamped",)
    FIELDS: ClassVar[tuple[str, ...]] = (
        "force.x", "force.y", "force.z", "torque.x", "torque.y", "torque.z",
    )  # fmt: skip

    fields: tuple[str, ...] = FIELDS


Stream = ImageStream | JointStream | PoseStream | WrenchStream
STREAM_TYPES: dict[str, type[Stream]] = {
    name: kind
    for kind in (ImageStream, JointStream, PoseStream, WrenchStream)
    for name in kind.ROS_TYPES
}
