"""Small test moves of an arm, one for each dimension, and what their measurement says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ebm_policy_ros.check.results import CheckResult, judged
from ebm_policy_ros.control.limits import Limits
from ebm_policy_ros.interface import Part
from ebm_policy_ros.interface.action import QUATERNION
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.teleop.mapping import JOINT, directions
from ebm_policy_ros.util.geometry import conjugate, multiply, rotation_vector, wrap

# Length of a move, m or rad, and its speed, per second.
_STEP, _TURN = 0.005, 0.01
_SLOW_STEP, _SLOW_TURN = 0.01, 0.02
# Share of the commanded motion below which the arm did not move, and above which an axis that was
# not commanded has moved.
_STILL, _ASTRAY = 0.2, 0.5
# Smallest and largest share that is no other scale: friction and noise are part of a small move.
_SCALES = 0.7, 1.3
FARTHEST = 3.0
"""Multiple of the commanded motion at which a test move is stopped."""


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
        return f"{1e3 * value:+.1f} mm" if self.is_length else f"{value:+.4f} rad"

    def is_alike(self, name: str) -> bool:
        """True if a dimension moves in the same way: a joint, along an axis or about one."""
        return self.direction == JOINT or name.startswith(self.name.partition(".")[0])


def probes_of(number: int, part: Part, limits: Limits, state: RobotState) -> Iterator[Probe]:
    """Test moves of a part, each with the sign for which its bounds have room.

    Dimensions with equal bounds are left out, and those of `one_way`.

    Args:
        number: Number of the part.
        part: Part of the action.
        limits: Its limits.
        state: Measured state; the moves begin from here.
    """
    action = part.interface.command
    for joint, name, where in _dimensions(part, limits):
        is_length = action.unit.startswith("m") if action.is_joints else name.startswith("linear")
        step, speed = (_STEP, _SLOW_STEP) if is_length else (_TURN, _SLOW_TURN)
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


def displacement(
    part: Part, begin: Mapping[str, float], now: Mapping[str, float]
) -> dict[str, float]:
    """Motion between two positions, in m and rad, by the names that test moves have.

    Args:
        part: Part whose positions these are.
        begin: Earlier position by field, as in `RobotState`.
        now: Later position.
    """
    action = part.interface.command
    if action.is_joints:
        stream = part.interface.observation[action.measured]
        moved = {name: now[name] - begin[name] for name in action.fields}
        endless = getattr(stream, "continuous", ())
        return {n: float(wrap(np.array(m))) if n in endless else m for n, m in moved.items()}
    found = {f"linear.{axis}": now[axis] - begin[axis] for axis in "xyz" if axis in begin}
    if set(QUATERNION) <= set(begin):
        last, first = (np.array([v[field] for field in QUATERNION]) for v in (now, begin))
        turned = rotation_vector(multiply(last, conjugate(first)))
        found |= {f"angular.{a}": float(v) for a, v in zip("xyz", turned, strict=True)}
    return found


def judge(
    probe: Probe, commanded: float, moved: Mapping[str, float], changes: Iterable[str] = ()
) -> CheckResult:
    """Direction and scale of a test move.

    Args:
        probe: The move.
        commanded: Commanded motion, m or rad.
        moved: Measured motion by dimension; see `displacement`.
        changes: Changes of the commands by the guard.
    """
    told, cure = _found(probe, commanded, moved)
    if cure and (listed := ", ".join(sorted(changes))):
        cure = f"the guard changed the commands ({listed}), which may be why; else {cure}"
    expected = probe.text(commanded)
    return judged(probe.subject, "test move", told, expected, not cure, cure)


def _found(probe: Probe, commanded: float, moved: Mapping[str, float]) -> tuple[str, str]:
    """Finding of a test move, and the cure if it is a problem."""
    alike = {name: value for name, value in moved.items() if probe.is_alike(name)}
    own = alike.pop(probe.name)
    other = max(alike, key=lambda name: abs(alike[name]), default="")
    astray = abs(alike[other]) if other else 0.0
    told, size = probe.text(own), abs(commanded)
    if size < _STILL * abs(probe.amount):
        return f"{told}: not commanded", "widen what stops this motion, or move the arm elsewhere"
    ratio = own / commanded
    if max(abs(own), astray) < _STILL * size:
        return f"{told}: did not move", (
            "activate the controller, enable the arm, release a protective stop; if other "
            f"dimensions move, the controller does not take {probe.name}"
        )
    if astray > _ASTRAY * max(abs(own), size):
        return f"{other} {probe.text(alike[other])}: moved another axis", (
            f"{probe.name} moves {other}: set action.fields to the controller's order, and the "
            "frame_id of action and of the measured stream to the frame of the controller"
        )
    if ratio < 0:
        return f"{told}: reversed", (
            f"{probe.name} and what measures it point opposite ways: compare the controller's "
            "frame with frame_id, and the signs in the driver"
        )
    if _SCALES[0] <= ratio <= _SCALES[1]:
        return f"{told}: direction ok, scale {ratio:.2f}", ""
    return f"{told}: scale {ratio:.2f}", (
        f"the arm moves {ratio:.2f} times as far as commanded: check unit and scale in the "
        "controller, how long it holds a command, and how stiff it is"
    )


def judge_return(probe: Probe, left: float) -> list[CheckResult]:
    """Problem that the arm did not come back to its start; nothing if it did.

    Args:
        probe: The move.
        left: Remaining distance from the start, m or rad.
    """
    if abs(left) <= _ASTRAY * abs(probe.amount):
        return []
    cure = "look for friction, a brake, or a controller that needs longer than the test waits"
    return [
        judged(probe.subject, "way back", f"{probe.text(left)} off", "at the start", False, cure)
    ]
