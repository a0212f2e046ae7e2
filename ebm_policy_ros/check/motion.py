"""Small test moves of an arm, one for each dimension."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ebm_policy_ros.check.urdf import JointLimits
from ebm_policy_ros.control.limits import Limits
from ebm_policy_ros.interface import Action, Part
from ebm_policy_ros.interface.action import QUATERNION
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.teleop.mapping import JOINT, directions
from ebm_policy_ros.util.quoting import cut, quote

STEP, TURN = 0.005, 0.01
"""Length of a move along an axis, m, and about one, rad."""
# Speeds of the moves, per second.
_SLOW_STEP, _SLOW_TURN = 0.01, 0.02


@dataclass(frozen=True)
class Probe:
    """A test move of one dimension, and back."""

    part: int
    """Number of the part that moves."""
    subject: str
    """Name of the dimension among those of the whole action."""
    name: str
    """Joint, or axis such as linear.x."""
    direction: str
    """Direction for a `TeleopMapping`."""
    joint: int
    """Joint that the mapping has to move, if the direction is that of a joint."""
    amount: float
    """Signed length of the move, m or rad."""
    speed: float
    """Speed, m/s or rad/s."""
    full: float
    """Speed of the mapping at a share of 1 on the way there, m/s or rad/s."""
    full_back: float
    """The same on the way back, whose bound may be another one."""
    is_length: bool
    """True if the move is in metres."""

    def text(self, value: float) -> str:
        """Signed length with its unit."""
        return length_text(value, self.is_length)

    def is_alike(self, name: str) -> bool:
        """True if a dimension moves in the same way: a joint, along an axis or about one."""
        return self.direction == JOINT or name.startswith(self.name.partition(".")[0])


def length_text(value: float, is_length: bool) -> str:
    """Signed length in mm, or angle in rad."""
    return f"{1e3 * value:+.1f} mm" if is_length else f"{value:+.4f} rad"


def moves_along(action: Action, name: str, described: Mapping[str, JointLimits]) -> bool:
    """True if a joint or axis moves in metres, false if it turns.

    Args:
        action: Action that moves it.
        name: Joint, or axis such as linear.x.
        described: Joints of a robot description, which counts more than the unit.

    Raises:
        ValueError: If neither tells it.
    """
    if not action.is_joints:
        return name.startswith("linear")
    if name in described:
        return described[name].is_length
    unit = action.unit.partition("/")[0].strip()
    if unit not in ("m", "rad"):
        raise ValueError(f"unit {quote(action.unit)} does not tell whether {cut(name)} moves in m "
                         "or rad; give --urdf")  # fmt: skip
    return unit == "m"


def probes_of(
    number: int,
    part: Part,
    limits: Limits,
    state: RobotState,
    described: Mapping[str, JointLimits],
) -> Iterator[Probe]:
    """Test moves of a part, each with the sign for which its bounds have room.

    Dimensions with equal bounds are left out, and those of `one_way`.

    Args:
        number: Number of the part.
        part: Part of the action.
        limits: Its limits.
        state: Measured state; the moves begin from here.
        described: Joints of a robot description.

    Raises:
        ValueError: If it is not known whether a joint slides or turns.
    """
    action = part.interface.command
    for joint, name, where in _dimensions(part, limits):
        is_length = moves_along(action, name, described)
        step, speed = (STEP, _SLOW_STEP) if is_length else (TURN, _SLOW_TURN)
        sign = 1.0 if _has_room(part, limits, state, where, name, step) else -1.0
        full, back = (_full_speed(part, limits, where, way) for way in (sign, -sign))
        speed = min(speed, full, back, _steady_speed(part, limits, where))
        if speed > 0:
            direction = JOINT if action.is_joints else name
            subject = part.field(name)
            yield Probe(
                number, subject, name, direction, joint, sign * step, speed, full, back, is_length
            )


def one_way(part: Part, limits: Limits) -> list[str]:
    """Velocities of a part whose bounds allow one direction only: the arm could not come back."""
    ways = (1.0, -1.0)
    return [
        name
        for _, name, where in _dimensions(part, limits)
        if min(_full_speed(part, limits, where, way) for way in ways) <= 0
    ]


def _dimensions(part: Part, limits: Limits) -> Iterator[tuple[int, str, list[int]]]:
    """Number, name and fields of each dimension whose bounds differ."""
    action = part.interface.command
    names = action.fields if action.is_joints else directions(action)
    for number, name in enumerate(names):
        where = _indices(part, name)
        if (limits.low[where] != limits.high[where]).all():
            yield number, name, where


def _indices(part: Part, name: str) -> list[int]:
    """Indices of the fields that a direction moves."""
    fields = part.interface.command.fields
    if name in fields:
        return [fields.index(name)]
    if name.startswith("linear"):
        return [fields.index(name[-1])]
    return [fields.index(field) for field in QUATERNION]


def _has_room(
    part: Part, limits: Limits, state: RobotState, where: list[int], name: str, step: float
) -> bool:
    """True if a move in positive direction stays within the bounds and the workspace."""
    action, box, first = part.interface.command, part.interface.workspace, where[0]
    if action.is_velocity and limits.high[first] <= 0:
        return False
    if not action.is_velocity and len(where) == 1:
        room = limits.high[first] - state.position[action.fields[first]]
        if room < step:
            return False
    if box is None or action.is_joints or name[-1] not in box.fields or len(where) > 1:
        return True
    if name.startswith("angular"):
        return True
    wall = limits.workspace_high[box.fields.index(name[-1])]
    return bool(wall - state.tool[name[-1]] >= 2 * step)


def _full_speed(part: Part, limits: Limits, where: list[int], sign: float) -> float:
    """Speed of a `TeleopMapping` at a share of 1 in a direction."""
    if part.interface.command.is_velocity:
        return float(limits.high[where[0]] if sign > 0 else -limits.low[where[0]])
    # A component of a quaternion changes by at most half of the angle.
    factor = 2.0 if len(where) > 1 else 1.0
    return factor * float(limits.max_velocity[where].min())


def _steady_speed(part: Part, limits: Limits, where: list[int]) -> float:
    """Largest velocity that the guard lets through at once; infinite for positions."""
    if not part.interface.command.is_velocity:
        return np.inf
    return float(limits.max_acceleration[where].min()) / part.interface.rate
