"""Robot state: position and velocity of the arm, in the fields of the action."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, TOOL_POSE, Interface, JointStream
from ebm_policy_ros.interface.action import QUATERNION
from ebm_policy_ros.observation.buffer import Observation
from ebm_policy_ros.util.geometry import conjugate, facing, multiply, rotation_vector, wrap

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RobotState:
    """State of the arm as measured by its streams."""

    position: dict[str, float]
    """Position by joint name, or by field x to qw; SI units. Empty if the interface names no
    stream for it."""
    velocity: dict[str, float]
    """Velocity by field of the action; zero until it is known."""
    tool: dict[str, float]
    """Position of the tool by axis of the workspace, metres."""
    tool_age: float = 0.0
    """Age of the tool position, seconds."""


class RobotStateEstimator:
    """Estimates the robot state from the `measured` stream of an interface at each decision.

    A velocity that no stream measures is the difference quotient of two positions that are at
    least half a period apart.
    """

    def __init__(self, interface: Interface) -> None:
        """Take the streams from the interface."""
        self._interface = interface
        self._stream = interface.observation.get(interface.command.measured)
        # Stamp and position of the last sample, for the velocity; None before the first sample.
        self._last: tuple[int, dict[str, float]] | None = None
        self._velocity = dict.fromkeys(interface.command.fields, 0.0)
        self._turning = [interface.command.fields[index] for index in interface.continuous]
        if interface.command.is_velocity and isinstance(self._stream, JointStream):
            self._turning = [n for n in interface.command.fields if n in self._stream.continuous]

    def clear(self) -> None:
        """Delete the history, for example after the clock was set back."""
        self._last = None
        self._velocity = dict.fromkeys(self._velocity, 0.0)

    def update(self, observation: Observation, stamps: dict[str, int], time_ns: int) -> RobotState:
        """Robot state for an observation.

        Args:
            observation: Arrays of the streams that measure the arm, from `Snapshot.measured`.
            stamps: Stamp of the newest sample of each stream, nanoseconds.
            time_ns: Current time, nanoseconds.
        """
        tool, age = self._tool(observation), 0.0
        if self._interface.workspace is not None:
            age = max(0, time_ns - stamps[self._interface.workspace.stream]) / NANOSECONDS
        if self._stream is None:
            return RobotState({}, dict(self._velocity), tool, age)
        name = self._interface.command.measured
        position, velocity = self._read(observation[name][-1].astype(np.float64))
        if velocity:
            self._velocity = velocity
        else:
            self._differ(position, stamps[name])
        return RobotState(position, dict(self._velocity), tool, age)

    def _tool(self, observation: Observation) -> dict[str, float]:
        box = self._interface.workspace
        if box is None:
            return {}
        fields = self._interface.observation[box.stream].fields  # type: ignore[union-attr]
        values = dict(zip(fields, observation[box.stream][-1].tolist(), strict=True))
        return {field: values[field] for field in box.fields}

    def _read(self, values: Vector) -> tuple[dict[str, float], dict[str, float]]:
        """Positions, and velocities if the stream has them."""
        stream = self._stream
        if not isinstance(stream, JointStream):
            fields = stream.fields  # type: ignore[union-attr]
            pairs = zip(fields, values.tolist(), strict=True)
            # The velocity of an odometry is in the frame of the body, not in that of the action.
            return {field: value for field, value in pairs if field in TOOL_POSE}, {}
        wanted = self._interface.command.fields
        columns = dict(zip(stream.fields, values.reshape(len(stream.fields), -1), strict=True))
        read = {
            field: {name: float(columns[field][stream.names.index(name)]) for name in wanted}
            for field in ("position", "velocity")
            if field in columns
        }
        return read["position"], read.get("velocity", {})

    def _differ(self, position: dict[str, float], stamp: int) -> None:
        if self._last is None or stamp < self._last[0]:
            self._last = stamp, position
            return
        if stamp - self._last[0] < self._interface.period_ns // 2:
            return  # no new sample, or one so close in time that noise would dominate
        seconds = (stamp - self._last[0]) / NANOSECONDS
        before = self._last[1]
        turned: Vector = np.empty(0)
        if set(QUATERNION) <= set(position):
            # Two quaternions describe the same orientation; the guard uses the sign of the newest.
            turn, last = _turn(position), facing(_turn(before), _turn(position))
            before = before | dict(zip(QUATERNION, last.tolist(), strict=True))
            turned = rotation_vector(multiply(turn, conjugate(last))) / seconds
        apart = {name: value - before[name] for name, value in position.items()}
        for name in self._turning:
            apart[name] = float(wrap(np.array(apart[name])))
        moved = {name: value / seconds for name, value in apart.items()}
        for axis, value in zip("xyz", turned, strict=False):
            moved[f"angular.{axis}"] = float(value)
        self._velocity = {field: moved[field.removeprefix("linear.")] for field in self._velocity}
        self._last = stamp, position


def _turn(position: dict[str, float]) -> Vector:
    return np.array([position[field] for field in QUATERNION])
