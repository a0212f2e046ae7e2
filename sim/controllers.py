"""Controllers behind the command topic: from messages of each type to motions of the arm."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, TOOL_POSE, Action
from ebm_policy_ros.messages.commands import read_command, read_points
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.sim.arm import Motion, SimulatedArm
from ebm_policy_ros.sim.robots import JOINT_NAMES, ToolController
from ebm_policy_ros.util.geometry import multiply

Array = npt.NDArray[np.float64]

COMMAND_TIMEOUT = 0.25
"""Age from which a velocity no longer moves the arm, s, as with a good servo."""

_PLANE = {"linear.x", "linear.y"}

_FRAMES = {"base_link": 1.0, "base": -1.0}
HALF_TURN = np.array([0.0, 0.0, 1.0, 0.0])
"""Orientation of `base` in base_link, xyzw: half a turn about z."""


def frames(prefix: str) -> dict[str, float]:
    """Frames of an arm by the sign of their x and y axes: `base` is half a turn from base_link.

    Args:
        prefix: Beginning of the names of the arm's frames.
    """
    return {prefix + frame: sign for frame, sign in _FRAMES.items()}


class Controller:
    """Controller of an arm: the last command, and the motion that it means."""

    def __init__(self, action: Action, prefix: str = "") -> None:
        """Takes commands of one action.

        Args:
            action: The commands.
            prefix: Beginning of the names of the arm's joints and frames.

        Raises:
            ValueError: If this arm has no such joint or frame.
        """
        joints, known = [prefix + name for name in JOINT_NAMES], frames(prefix)
        if action.is_joints:
            missing = [name for name in action.fields if name not in joints]
            if missing:
                raise ValueError(
                    f"action.fields: the simulated UR5e has no joint {missing[0]!r}; it has "
                    f"{', '.join(joints)}"
                )
        elif action.frame_id not in known:
            raise ValueError(
                f"action.frame_id: got {action.frame_id!r}, expected one of {', '.join(known)} "
                "for the simulated UR5e"
            )
        self._action = action
        self._index = [joints.index(name) for name in action.fields if name in joints]
        self._sign = known.get(action.frame_id, 1.0)
        self.reset()

    def reset(self) -> None:
        """Forget the command."""
        self._values: Array | None = None
        self._points: Array = np.empty((0, 0))
        self._times: Array = np.empty(0)
        self._received_ns = 0

    def take(self, message: Any, time_ns: int) -> None:
        """Take a command.

        Args:
            message: Message of the action's type.
            time_ns: Present time on the simulation's clock.

        Raises:
            MessageError: If the command cannot be used; the last one stays in force.
        """
        if self._action.command_type.TAKES_HORIZON:
            points, seconds = read_points(message, self._action)
            times = (stamp_ns(message) or time_ns) + seconds * NANOSECONDS
            if times[-1] <= time_ns:  # as joint_trajectory_controller
                raise MessageError(f"{self._action.topic}: a trajectory that ends in the past")
            self._points, self._times = points.astype(np.float64), times
        self._values = read_command(message, self._action).astype(np.float64)
        self._received_ns = time_ns

    @property
    def rests(self) -> bool:
        """True if the last command is to stand still."""
        return self._action.is_velocity and (self._values is None or not self._values.any())

    def motion(self, arm: SimulatedArm, time_ns: int, duration: float) -> Motion:
        """Motion of the arm as it was told.

        Args:
            arm: The arm.
            time_ns: Start of the motion.
            duration: Length of the motion, s.
        """
        old = time_ns - self._received_ns >= COMMAND_TIMEOUT * NANOSECONDS
        values = None if old and self._action.is_velocity else self._values
        if self._action.is_velocity and not self._action.is_joints:
            linear, angular = self._twist(values)
            if set(self._action.fields) <= _PLANE:
                return arm.planar(linear[:2], duration)
            return arm.twist(linear, angular, duration)
        if values is None:
            return lambda controller, at, step: controller.move_joints(np.zeros(6), step)
        return lambda controller, at, step: self._advance(
            controller, values, time_ns + round((at + step) * NANOSECONDS), step
        )

    def _twist(self, values: Array | None) -> tuple[Array, Array]:
        """Return the linear velocity, (3,), and the angular one in base_link; None for rest."""
        named = dict(zip(self._action.fields, [] if values is None else values, strict=False))
        turn = np.array([self._sign, self._sign, 1.0])
        linear, angular = (
            turn * [named.get(f"{part}.{axis}", 0.0) for axis in "xyz"]
            for part in ("linear", "angular")
        )
        return linear, angular

    def _advance(self, arm: ToolController, values: Array, end_ns: int, step: float) -> Array:
        if self._action.is_joints:
            return self._advance_joints(arm, values, end_ns, step)
        named = {**self._action.fixed, **dict(zip(self._action.fields, values, strict=True))}
        x, y, z, *quaternion = (named[field] for field in TOOL_POSE)
        sign = self._sign
        turned = np.asarray(quaternion)
        if sign < 0:
            turned = multiply(HALF_TURN, turned)
        return arm.move_to(np.array([sign * x, sign * y, z]), turned, step)

    def _advance_joints(
        self, arm: ToolController, values: Array, end_ns: int, step: float
    ) -> Array:
        index = self._index
        velocity = np.zeros(len(JOINT_NAMES))
        if self._action.is_velocity:
            velocity[index] = values
            return arm.move_joints(velocity, step)
        here = arm.positions[index]
        target = self._target(here, end_ns, step) if len(self._points) else values
        velocity[index] = (target - here) / step
        return arm.move_joints(velocity, step)

    def _target(self, positions: Array, time_ns: int, step: float) -> Array:
        """Return a trajectory's point at a time, on straight lines from the arm's position."""
        if time_ns >= self._times[0]:
            columns = [np.interp(time_ns, self._times, column) for column in self._points.T]
            return np.array(columns)
        left = (self._times[0] - time_ns) / NANOSECONDS
        target: Array = positions + (self._points[0] - positions) * step / (left + step)
        return target
