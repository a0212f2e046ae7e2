"""Command type: everything that the package knows about one type of command message."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy.typing as npt

from ebm_policy_ros.interface.checks import InterfaceError, require
from ebm_policy_ros.interface.streams import OdometryStream, PoseStream
from ebm_policy_ros.util.plugins import PluginNeeded, Registry

TOOL_VELOCITY = OdometryStream.VELOCITY
"""Fields of a velocity of the tool, m/s and rad/s."""
TOOL_POSE = PoseStream.FIELDS
"""Fields of a pose of the tool: x to z in metres, and the quaternion qx to qw."""
_ALLOWED = {"": (), "velocity": TOOL_VELOCITY, "position": TOOL_POSE}

COMMAND_TYPES: Registry[type[CommandType]] = Registry("command type")
"""Command types by the name that `type` has in an interface file."""


@dataclass(frozen=True)
class CommandType(ABC):
    """Type of the commands of an action or of a gripper: a subclass for each message type.

    The quantity decides what is safe: a node that must hold the arm sends zero for a velocity, and
    for a position the one that it commanded last or, if the arm is elsewhere, the measured one.
    """

    ROS_TYPE: ClassVar[str]
    """Message type, such as geometry_msgs/msg/TwistStamped. If the messages begin with a header,
    its stamp and frame are written and checked by the caller."""
    FIELDS: ClassVar[tuple[str, ...]] = ()
    """Fields that an action may have: some of `TOOL_VELOCITY` or `TOOL_POSE`; empty for joints,
    whose names the interface file gives."""
    QUANTITY: ClassVar[str] = ""
    """Quantity of the values, velocity or position; empty if the interface file gives it."""
    NAMES_JOINTS: ClassVar[bool] = True
    """False if a message has values alone, whose order and quantity only the controller knows."""
    TAKES_HORIZON: ClassVar[bool] = False
    """True if a message has any number of points with times; else it has one point."""

    fields: tuple[str, ...]
    """Fields of the action, or the name of the gripper: D names."""
    quantity: str
    """Quantity of the values: position or velocity."""
    fixed: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Values of the fields of a pose that are not fields of the action."""

    def __init_subclass__(cls) -> None:
        """Refuse a class that the command guard cannot limit."""
        if cls.QUANTITY not in _ALLOWED or not set(cls.FIELDS) <= set(_ALLOWED[cls.QUANTITY]):
            raise TypeError(f"{cls.__name__}: FIELDS are not those of QUANTITY {cls.QUANTITY!r}")
        if cls.TAKES_HORIZON and cls.QUANTITY != "position":
            raise TypeError(f"{cls.__name__}: TAKES_HORIZON needs QUANTITY 'position'")

    @abstractmethod
    def write(self, message: Any, points: npt.NDArray[Any], seconds: npt.NDArray[Any]) -> None:
        """Write a command into a new message.

        Args:
            message: Message of `ROS_TYPE`.
            points: Values of the fields, shape (P, D); P is 1 unless the type takes a horizon.
            seconds: Time of each point after the stamp, s, shape (P,).
        """

    @abstractmethod
    def read(self, message: Any) -> tuple[Sequence[Sequence[float]], Sequence[float]]:
        """Read a command: points, shape (P, D), and their times after the stamp, s, shape (P,).

        Args:
            message: Any object with the fields of `ROS_TYPE`, live or read from a bag. Whether the
                values are finite is checked by the caller.

        Raises:
            ValueError: If the message lacks a value.
        """


def find_command_type(name: object) -> type[CommandType]:
    """Return the command type with a registered name or a full name, package.module.Name.

    Raises:
        InterfaceError: If there is none. The message lists the registered names.
        PluginNeeded: If its package is missing or not declared.
    """
    try:
        kind = COMMAND_TYPES.find(name)
    except ValueError as error:
        refusal = PluginNeeded if isinstance(error, PluginNeeded) else InterfaceError
        raise refusal(f"type: {error}") from None
    fits = isinstance(kind, type) and issubclass(kind, CommandType)
    require(fits, "type", name, "a subclass of CommandType")
    return kind


def joint_values(
    names: Sequence[str], values: Sequence[float], wanted: Sequence[str]
) -> list[float]:
    """Select values by the names of their joints.

    Raises:
        ValueError: If a joint is missing, or the names are not as many as the values.
    """
    index = {name: i for i, name in enumerate(names)}
    missing = [name for name in wanted if name not in index]
    if missing or len(values) != len(index):
        what = f"no joint {missing[0]!r}" if missing else f"{len(values)} values"
        raise ValueError(f"{what} for {', '.join(index) or 'no names'}")
    return [float(values[index[name]]) for name in wanted]
