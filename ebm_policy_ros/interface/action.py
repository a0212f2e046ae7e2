"""Command topic of an interface, meaning of an action, and its limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from ebm_policy_ros.interface.checks import (
    is_number,
    require,
    require_bounds,
    require_names,
    require_positive,
    require_rates,
    require_text,
)
from ebm_policy_ros.interface.command_types import TOOL_POSE, CommandType, find_command_type
from ebm_policy_ros.interface.streams import JointStream, PoseStream, Stream

QUATERNION = TOOL_POSE[3:]
_QUANTITIES = ("position", "velocity")


@dataclass(frozen=True, kw_only=True)
class GripperServer:
    """Action of a gripper's controller, which gets the positions as goals."""

    TYPES: ClassVar[tuple[str, ...]] = (
        "control_msgs/action/GripperCommand",
        "control_msgs/action/ParallelGripperCommand",
    )

    action: str
    """Name of the action."""
    type: str = TYPES[0]
    max_effort: float | None = None
    """Largest effort of the fingers, N or Nm; None for the controller's own."""

    def __post_init__(self) -> None:
        require_text("action", self.action)
        require(self.type in self.TYPES, "type", self.type, " or ".join(self.TYPES))
        if self.max_effort is not None:
            require_positive("max_effort", self.max_effort, "N")

    @property
    def is_parallel(self) -> bool:
        """True for the type whose goals are joint states."""
        return self.type == self.TYPES[1]


@dataclass(frozen=True, kw_only=True)
class Gripper:
    """Gripper position: an additional, last dimension of the action with its own topic."""

    frame_id: ClassVar[str] = ""

    topic: str
    type: str
    name: str
    low: float
    high: float
    server: GripperServer | None = None
    """Action that gets the positions too; None if the controller listens on the topic."""

    def __post_init__(self) -> None:
        require_text("topic", self.topic)
        require_text("name", self.name)
        kind = self.command_type
        fits = not kind.FIELDS and kind.QUANTITY in ("", "position")
        require(fits, "type", self.type, "a type for the position of a joint")
        require_bounds((self.low,), (self.high,), (self.name,))

    @cached_property
    def command_type(self) -> CommandType:
        """Conversion of the position, (P, 1), to and from messages of its type."""
        return find_command_type(self.type)((self.name,), "position")


@dataclass(frozen=True, kw_only=True)
class Action:
    """Command topic, and meaning of each dimension of an action."""

    topic: str
    type: str
    """Name of the command type: a registered one, or package.module.Name."""
    fields: tuple[str, ...]
    """Fields of the action: linear.x to angular.z of a twist, x to qw of a pose; else joint names
    in the controller's order."""
    unit: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    frame_id: str = ""
    """Frame of a twist or a pose; empty for other types."""
    quantity: str = ""
    """Quantity, position or velocity, if the message type does not determine it."""
    fixed: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Values of the fields of a pose that are not fields of the action."""
    horizon: int = 1
    """Number of actions per decision, one period of the rate apart."""
    hold: float | None = None
    """Time for which a recorded command is valid if no other follows, s; None for 2.5 periods."""
    max_velocity: tuple[float, ...] | None = None
    """Maximum rate of change of each field of a position, unit/s."""
    max_acceleration: tuple[float, ...] | None = None
    """Maximum rate of change of the velocity: unit/s if the action is a velocity, unit/s^2 if it
    is a position."""
    lag: float = 0.0
    """Delay of the arm behind a commanded position, s."""
    measured: str = ""
    """Stream that measures the quantity that the action commands."""
    gripper: Gripper | None = None

    def __post_init__(self) -> None:
        require_text("topic", self.topic)
        require(bool(self.frame_id) != self.is_joints, "frame_id", self.frame_id,
                f"none for {self.type}" if self.is_joints else "a frame")  # fmt: skip
        require_names("fields", self.fields, self.command_type.FIELDS)
        require_bounds(self.low, self.high, self.fields)
        self._check_quantity()
        self._check_pose()
        self._check_rates()
        valid = isinstance(self.horizon, int) and self.horizon >= 1
        require(valid, "horizon", self.horizon, ">= 1")
        if self.gripper is not None:
            own = self.gripper.name not in self.fields
            require(own, "gripper.name", self.gripper.name, "a name that fields don't have")

    def _check_quantity(self) -> None:
        told = self.command_type.QUANTITY
        allowed = ("", told) if told else _QUANTITIES
        expected = f"none, since {self.type} is a {told}" if told else " or ".join(allowed)
        require(self.quantity in allowed, "quantity", self.quantity, expected)

    def _check_pose(self) -> None:
        if self.is_joints or self.is_velocity:
            require(not self.fixed, "fixed", dict(self.fixed), f"none for {self.type}")
            return
        together = len(set(QUATERNION) & set(self.fields)) in (0, 4)
        require(together, "fields", self.fields, "all of qx, qy, qz, qw or none")
        rest = [field for field in self.command_type.FIELDS if field not in self.fields]
        complete = set(self.fixed) == set(rest) and all(map(is_number, self.fixed.values()))
        require(complete, "fixed", dict(self.fixed), f"a number for each of {', '.join(rest)}")

    def _check_rates(self) -> None:
        require(is_number(self.lag) and self.lag >= 0, "lag", self.lag, "s >= 0")
        if self.hold is not None:
            require_positive("hold", self.hold, "s")
        for key in ("max_velocity", "max_acceleration"):
            value = getattr(self, key)
            if value is not None:
                require_rates(key, value, self.fields)
        if self.is_velocity:
            got = self.max_velocity
            require(got is None, "max_velocity", got, "none, since low and high bound a velocity")
            require(self.lag == 0, "lag", self.lag, "none for a velocity")
        else:
            for key, expected in (
                ("max_velocity", "a limit for each field, since a position may jump"),
                ("measured", "the stream that measures what the action commands"),
            ):
                require(bool(getattr(self, key)), key, getattr(self, key), expected)
        needs = self.max_acceleration is not None
        require(bool(self.measured) or not needs, "measured", self.measured,
                "the stream that max_acceleration is measured by")  # fmt: skip

    @cached_property
    def command_type(self) -> CommandType:
        """Conversion of the fields' values, (P, D), to and from messages of the type."""
        kind = find_command_type(self.type)
        return kind(self.fields, self.quantity or kind.QUANTITY, self.fixed)

    @property
    def is_velocity(self) -> bool:
        """True if an action is a velocity (zero means stand still); else it is a position."""
        return self.command_type.quantity == "velocity"

    @property
    def is_joints(self) -> bool:
        """True if the fields are joints; else they are those of the tool."""
        return not self.command_type.FIELDS

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the D dimensions: the fields and, last, the gripper."""
        return (*self.fields, self.gripper.name) if self.gripper else self.fields

    @property
    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Minimum and maximum of each of the D dimensions."""
        if self.gripper is None:
            return self.low, self.high
        return (*self.low, self.gripper.low), (*self.high, self.gripper.high)

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each of the D dimensions; empty for the gripper."""
        return (*[self.unit] * len(self.fields), *([""] if self.gripper else []))

    def check_measured(self, streams: Mapping[str, Stream]) -> None:
        """Refuse a `measured` stream that does not measure the quantity that the action commands.

        Raises:
            InterfaceError: If the stream does not fit. The message names the required stream.
        """
        if not self.measured:
            return
        stream = streams.get(self.measured)
        if self.is_joints:
            fits = isinstance(stream, JointStream) and set(self.fields) <= set(stream.names)
            fits = fits and "position" in stream.fields  # type: ignore[union-attr]
            expected = f"a stream of the positions of {', '.join(self.fields)}"
        else:
            needed = self._measured_fields()
            fits = isinstance(stream, PoseStream) and needed <= set(stream.fields)
            fits = fits and stream.frame_id == self.frame_id  # type: ignore[union-attr]
            expected = (
                f"a pose stream in frame {self.frame_id} with the fields "
                f"{', '.join(f for f in PoseStream.FIELDS if f in needed)}"
            )
        require(fits, "action.measured", self.measured, expected)

    def _measured_fields(self) -> set[str]:
        if not self.is_velocity:
            return set(self.fields)
        linear = {field[-1] for field in self.fields if field.startswith("linear")}
        turns = any(field.startswith("angular") for field in self.fields)
        return linear | (set(QUATERNION) if turns else set())


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Box that the tool must not leave, in metres."""

    stream: str
    """Pose stream that measures the tool."""
    fields: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        require_names("fields", self.fields, ("x", "y", "z"))
        require_bounds(self.low, self.high, self.fields)

    def check(self, streams: Mapping[str, Stream], action: Action) -> None:
        """Refuse a box with axes that no stream measures or along which the action cannot move.

        Raises:
            InterfaceError: If a check fails. The message names the key and the expected value.
        """
        stream = streams.get(self.stream)
        fits = isinstance(stream, PoseStream) and set(self.fields) <= set(stream.fields)
        expected = f"a pose stream with the fields {', '.join(self.fields)}"
        require(fits, "workspace.stream", self.stream, expected)
        if action.is_joints:
            return  # only the measured tool pose can be monitored
        # The box can limit a command only if both are in the same frame.
        frame = stream.frame_id  # type: ignore[union-attr]
        require(
            frame == action.frame_id,
            "workspace.stream",
            f"{self.stream} in frame {frame}",
            f"a pose in the action's frame, {action.frame_id}",
        )
        moved = {field.removeprefix("linear.") for field in action.fields} | set(action.fixed)
        still = [field for field in self.fields if field not in moved]
        expected = "only axes along which the action moves the tool"
        require(not still, "workspace.fields", ", ".join(still), expected)
