"""The interface file: the one place that names a robot's topics, fields, rates and limits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

NANOSECONDS = 1_000_000_000


class InterfaceError(ValueError):
    """An interface file, or the interface inside a policy or a bag, that cannot be used."""


def _require(condition: bool, key: str, got: object, expected: str) -> None:
    if not condition:
        raise InterfaceError(f"{key}: got {got!r}, expected {expected}")


def _require_names(key: str, names: tuple[str, ...], allowed: tuple[str, ...] = ()) -> None:
    _require(len(names) > 0 and all(isinstance(n, str) for n in names), key, names, "names")
    _require(len(set(names)) == len(names), key, names, "each name once")
    if allowed:
        unknown = [name for name in names if name not in allowed]
        _require(not unknown, key, ", ".join(unknown), "some of " + ", ".join(allowed))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _require_text(key: str, value: object) -> None:
    _require(isinstance(value, str) and value != "", key, value, "a name")


@dataclass(frozen=True, kw_only=True)
class _Stream:
    """What every input topic has."""

    topic: str
    type: str
    max_age: float
    """Oldest sample that may still be used, seconds."""
    history: int = 1
    """Samples in one observation, one period of the rate apart, oldest first."""

    def __post_init__(self) -> None:
        _require_text("topic", self.topic)
        _require(_is_number(self.max_age) and self.max_age > 0, "max_age", self.max_age, "s > 0")
        _require(
            isinstance(self.history, int) and self.history >= 1, "history", self.history, ">= 1"
        )


@dataclass(frozen=True, kw_only=True)
class ImageStream(_Stream):
    """A camera: rgb8 frames, resized to `size`."""

    ROS_TYPE: ClassVar[str] = "sensor_msgs/msg/Image"

    size: tuple[int, int]
    """Height and width as the policy sees them, pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        valid = len(self.size) == 2 and all(isinstance(n, int) and n > 0 for n in self.size)
        _require(valid, "size", list(self.size), "[height, width] in pixels")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stream in an observation, (T, H, W, 3) uint8."""
        return (self.history, *self.size, 3)


@dataclass(frozen=True, kw_only=True)
class JointStream(_Stream):
    """Joint states, selected by name in the order given here."""

    ROS_TYPE: ClassVar[str] = "sensor_msgs/msg/JointState"
    FIELDS: ClassVar[tuple[str, ...]] = ("position", "velocity", "effort")

    names: tuple[str, ...]
    fields: tuple[str, ...] = ("position",)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_names("names", self.names)
        _require_names("fields", self.fields, self.FIELDS)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stream in an observation, (T, fields * names) float32; SI units."""
        return (self.history, len(self.fields) * len(self.names))


@dataclass(frozen=True, kw_only=True)
class PoseStream(_Stream):
    """A pose: position in metres, orientation as a unit quaternion."""

    ROS_TYPE: ClassVar[str] = "geometry_msgs/msg/PoseStamped"
    FIELDS: ClassVar[tuple[str, ...]] = ("x", "y", "z", "qx", "qy", "qz", "qw")

    frame_id: str
    fields: tuple[str, ...] = ("x", "y", "z")

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_names("fields", self.fields, self.FIELDS)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stream in an observation, (T, fields) float32."""
        return (self.history, len(self.fields))


Stream = ImageStream | JointStream | PoseStream
STREAM_TYPES: dict[str, type[Stream]] = {
    kind.ROS_TYPE: kind for kind in (ImageStream, JointStream, PoseStream)
}


@dataclass(frozen=True, kw_only=True)
class Action:
    """The command topic, and what each dimension of an action means."""

    TYPES: ClassVar[tuple[str, ...]] = ("geometry_msgs/msg/TwistStamped",)
    FIELDS: ClassVar[tuple[str, ...]] = (
        "linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z",
    )  # fmt: skip

    topic: str
    type: str
    frame_id: str
    fields: tuple[str, ...]
    unit: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    horizon: int = 1
    """Actions per decision."""

    def __post_init__(self) -> None:
        _require_text("topic", self.topic)
        _require_text("frame_id", self.frame_id)
        _require(self.type in self.TYPES, "type", self.type, "one of " + ", ".join(self.TYPES))
        _require_names("fields", self.fields, self.FIELDS)
        _require_bounds(self.low, self.high, self.fields)
        _require(self.horizon == 1, "horizon", self.horizon, "1")


def _require_bounds(
    low: tuple[float, ...], high: tuple[float, ...], fields: tuple[str, ...]
) -> None:
    for key, bound in (("low", low), ("high", high)):
        valid = len(bound) == len(fields) and all(_is_number(value) for value in bound)
        _require(valid, key, list(bound), f"one number for each of {', '.join(fields)}")
    ordered = all(a < b for a, b in zip(low, high, strict=True))
    _require(ordered, "low", list(low), f"less than high, {list(high)}, in every dimension")


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The box that the tool must not leave, in metres."""

    stream: str
    """The pose stream that measures the tool."""
    fields: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        _require_names("fields", self.fields, ("x", "y", "z"))
        _require_bounds(self.low, self.high, self.fields)


@dataclass(frozen=True, kw_only=True)
class Interface:
    """A robot and a task as the policy meets them. SI units, radians."""

    name: str
    rate: float
    """Decisions per second, Hz."""
    observation: Mapping[str, Stream]
    action: Action
    workspace: Workspace | None = None

    def __post_init__(self) -> None:
        _require_text("name", self.name)
        _require(_is_number(self.rate) and self.rate > 0, "rate", self.rate, "Hz > 0")
        _require(len(self.observation) > 0, "observation", {}, "at least one stream")
        if self.workspace is not None:
            stream = self.observation.get(self.workspace.stream)
            fits = isinstance(stream, PoseStream) and set(self.workspace.fields) <= set(
                stream.fields
            )
            _require(
                fits,
                "workspace.stream",
                self.workspace.stream,
                f"a pose stream with the fields {', '.join(self.workspace.fields)}",
            )
            self._require_one_frame(self.workspace)

    def _require_one_frame(self, box: Workspace) -> None:
        """A box bounds a velocity along its axes only if both have the same axes."""
        frame = getattr(self.observation[box.stream], "frame_id", None)
        _require(
            frame == self.action.frame_id,
            "workspace.stream",
            f"{box.stream} in frame {frame}",
            f"a pose in the action's frame, {self.action.frame_id}",
        )
        unbounded = [f for f in box.fields if f"linear.{f}" not in self.action.fields]
        _require(
            not unbounded,
            "workspace.fields",
            ", ".join(unbounded),
            "only axes along which the action moves the tool",
        )

    @property
    def period_ns(self) -> int:
        """Time between two decisions, nanoseconds."""
        return round(NANOSECONDS / self.rate)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each stream in an observation."""
        return {name: stream.shape for name, stream in self.observation.items()}

    def to_dict(self) -> dict[str, Any]:
        """The interface as plain values, as `interface_from_dict` reads them."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        if self.workspace is None:
            del plain["workspace"]
        return plain

    def differences(self, other: Interface) -> list[str]:
        """What `other` has that makes it another robot or task for a policy, one line each.

        Topics, ages and the workspace may differ: they change where samples come from and how
        they are supervised, not what they mean.
        """
        return [
            f"{key}: {mine!r} here, {theirs!r} there"
            for key, mine, theirs in _compare(self.to_dict(), other.to_dict(), "")
        ]


_MAY_DIFFER = ("name", "topic", "max_age", "workspace")


def _compare(mine: Any, theirs: Any, key: str) -> list[tuple[str, Any, Any]]:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        found = []
        for name in sorted((mine.keys() | theirs.keys()) - set(_MAY_DIFFER)):
            path = f"{key}.{name}" if key else name
            found += _compare(mine.get(name, "nothing"), theirs.get(name, "nothing"), path)
        return found
    return [] if mine == theirs else [(key, mine, theirs)]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _build(kind: type[Any], values: object, key: str) -> Any:
    """An instance of the dataclass `kind` from plain values; errors start with `key`."""
    where = f"{key}: " if key else ""
    if not isinstance(values, Mapping):
        raise InterfaceError(f"{where}got {values!r}, expected keys and values")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [name for name in values if name not in fields]
    if unknown:
        raise InterfaceError(f"{where}unknown key {unknown[0]!r}, expected {', '.join(fields)}")
    missing = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and name not in values
    ]
    if missing:
        raise InterfaceError(f"{where}the key {missing[0]!r} is missing")
    frozen = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
    for name, value in frozen.items():
        expects_list = str(fields[name].type).startswith("tuple")
        if expects_list != isinstance(value, tuple):
            expected = "a list" if expects_list else "a single value"
            raise InterfaceError(f"{where}{name}: got {value!r}, expected {expected}")
    try:
        return kind(**frozen)
    except InterfaceError as error:
        raise InterfaceError(f"{key}.{error}" if key else str(error)) from None


def _build_stream(values: object, key: str) -> Stream:
    ros_type = values.get("type") if isinstance(values, Mapping) else None
    if ros_type not in STREAM_TYPES:
        raise InterfaceError(
            f"{key}.type: got {ros_type!r}, expected one of {', '.join(STREAM_TYPES)}"
        )
    stream: Stream = _build(STREAM_TYPES[ros_type], values, key)
    return stream


def interface_from_dict(values: object, source: str) -> Interface:
    """The interface described by plain values.

    Args:
        values: What `Interface.to_dict` gives, or the content of an interface file.
        source: Where the values come from, for messages.

    Raises:
        InterfaceError: Naming the source, the key, what was found and what is allowed.
    """
    try:
        if not isinstance(values, Mapping):
            raise InterfaceError("expected an interface file with keys and values")
        parts = dict(values)
        streams = parts.get("observation")
        if isinstance(streams, Mapping):
            parts["observation"] = {
                name: _build_stream(stream, f"observation.{name}")
                for name, stream in streams.items()
            }
        if "action" in parts:
            parts["action"] = _build(Action, parts["action"], "action")
        if "workspace" in parts:
            parts["workspace"] = _build(Workspace, parts["workspace"], "workspace")
        interface: Interface = _build(Interface, parts, "")
        return interface
    except InterfaceError as error:
        raise InterfaceError(f"{source}: {error}") from None


def load_interface(path: str | Path) -> Interface:
    """Read an interface file (YAML).

    Raises:
        InterfaceError: If the file is missing, is not YAML or describes no valid interface.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InterfaceError(
            f"{path}: cannot read the interface file ({error.strerror})"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = str(error).replace("\n", " ")
        raise InterfaceError(f"{path}: not a YAML file ({problem})") from None
    return interface_from_dict(values, str(path))
