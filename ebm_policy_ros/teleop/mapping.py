"""Mapping: teleoperation commands to actions of an interface, for every command type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.control.limits import Limits
from ebm_policy_ros.interface import Action, Interface
from ebm_policy_ros.interface.action import QUATERNION
from ebm_policy_ros.util.geometry import from_rotation_vector, multiply

Vector = npt.NDArray[np.float64]

JOINT = "joint"
"""Direction of the chosen joint; the only direction if the fields are joints."""
GRIPS = ("grip_low", "grip_high")
"""Events that move a gripper."""
_AXES = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
_FASTER = 1.25
_SLOWEST = 0.02


@dataclass(frozen=True)
class TeleopCommand:
    """Command of the operator at a time."""

    motion: Mapping[str, float] = field(default_factory=dict)
    """Share of the full speed by direction, -1 to 1; other directions don't move."""
    target: Vector | None = None
    """Target position in place of a motion, in the order of the action's names."""
    grips: bool = False
    """True if the person has moved the gripper of the target."""
    problem: str = ""
    """Reason why the arm must hold; empty if there is no problem."""
    hint: str = ""
    """Reason why there is no motion, as text for users."""


def directions(action: Action) -> tuple[str, ...]:
    """Axes along or about which the operator can move the arm."""
    if action.is_joints:
        return (JOINT,)
    if action.is_velocity:
        return tuple(name for name in _AXES if name in action.fields)
    turns = set(QUATERNION) <= set(action.fields)
    return tuple(
        name
        for name in _AXES
        if (name[-1] in action.fields if name.startswith("linear") else turns)
    )


class TeleopMapping:
    """Maps teleoperation commands to actions; keeps speed, chosen joint and gripper state."""

    def __init__(self, interface: Interface, speed: float, inverted: Sequence[str] = ()) -> None:
        """Begin with the first joint chosen and no gripper command.

        Args:
            interface: Defines the meaning of an action.
            speed: Share of the full speed, which is the action's bound or its max_velocity.
            inverted: Fields with reversed direction.

        Raises:
            ValueError: If there is no such field.
        """
        self._action, self._period = interface.command, 1.0 / interface.rate
        self.directions = directions(self._action)
        names = self._action.fields if self._action.is_joints else self.directions
        unknown = [name for name in inverted if name not in names]
        if unknown:
            raise ValueError(f"invert: got {unknown[0]!r}, expected some of {', '.join(names)}")
        self._signs = {name: -1.0 if name in inverted else 1.0 for name in names}
        self._names = names
        self.speed = speed
        self.joint = 0
        self.grip: float | None = None
        """Gripper state, 0 for its low, 1 for its high; None before the first gripper command."""

    def act(self, event: str) -> bool:
        """Execute the event of a key or button; return False if it doesn't concern the mapping."""
        if event in ("faster", "slower"):
            factor = _FASTER if event == "faster" else 1 / _FASTER
            self.speed = min(1.0, max(_SLOWEST, self.speed * factor))
        elif event in GRIPS:
            self.grip = float(event == "grip_high")
        elif event == "next_joint":
            self.joint = (self.joint + 1) % len(self._names)
        elif event.startswith("joint_"):
            self.joint = int(event.removeprefix("joint_")) % len(self._names)
        else:
            return False
        return True

    def name(self, direction: str) -> str:
        """Name of the moved part: the chosen joint, or the axis itself."""
        return self._names[self.joint] if direction == JOINT else direction

    def actions(
        self,
        desired: TeleopCommand,
        told: Vector | None,
        limits: Limits,
        seconds: float | None = None,
    ) -> Vector:
        """Actions for a teleoperation command, before the guard.

        Args:
            desired: Current teleoperation command.
            told: Current setpoint of a position, shape (F,), without the gripper.
            limits: Current limits; they define the full speed.
            seconds: Time since the last command, for a single position; None for a period.

        Returns:
            Actions, shape (1, D); (2, D) for a trajectory, because a plan of one period would end
                when the next command arrives.
        """
        plans = self._action.command_type.TAKES_HORIZON and self._action.horizon > 1
        count = 2 if plans else 1
        if desired.target is not None:
            return np.tile(desired.target, (count, 1))
        shares = {self.name(d): share for d, share in desired.motion.items()}
        signed = {n: self._signs[n] * np.clip(s, -1, 1) for n, s in shares.items()}
        if self._action.is_velocity:
            rows = self._velocity(signed, limits)[None]
        else:
            assert told is not None
            steps = self._period * np.arange(1, count + 1)
            if seconds is not None and not plans:
                steps = np.array([min(seconds, self._period)])
            rows = np.stack([self._moved(told, signed, limits, step) for step in steps])
        if self._action.gripper is None:
            return rows
        share = self.grip or 0.0
        grip = limits.low[-1] + share * (limits.high[-1] - limits.low[-1])
        return np.hstack((rows, np.full((len(rows), 1), grip)))

    def _velocity(self, shares: Mapping[str, float], limits: Limits) -> Vector:
        wanted = np.array([shares.get(f, 0.0) * self.speed for f in self._action.fields])
        size = len(wanted)
        fastest = np.where(wanted > 0, limits.high[:size], -limits.low[:size])
        result: Vector = wanted * np.maximum(fastest, 0.0)
        return result

    def _moved(
        self, told: Vector, shares: Mapping[str, float], limits: Limits, seconds: float
    ) -> Vector:
        """Position after some seconds of motion."""
        moved = told.copy()
        fields = self._action.fields
        for index, name in enumerate(fields):
            share = shares.get(name if self._action.is_joints else f"linear.{name}", 0.0)
            moved[index] += share * self.speed * limits.max_velocity[index] * seconds
        turn = np.array([shares.get(f"angular.{axis}", 0.0) for axis in "xyz"])
        if turn.any():
            where = [fields.index(name) for name in QUATERNION]
            # A component of a quaternion changes by at most half of the angle.
            full = 2.0 * limits.max_velocity[where].min()
            turned = from_rotation_vector(turn * self.speed * full * seconds)
            moved[where] = multiply(turned, told[where])
        return moved
