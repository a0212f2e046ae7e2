"""CommandGuard: safety limits for every command of a policy or operator, in plain numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.control.limits import Limits, reachable
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.interface.action import QUATERNION
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.util.geometry import facing, follow, unit

Actions = npt.NDArray[np.float64]

# The arm must be this close to the fixed part of a pose, in metres and in quaternion components.
_NEAR_PLACE, _NEAR_TURN = 0.02, 0.1
# A quaternion with a smaller norm defines no orientation.
_LEAST_NORM = 0.5


@dataclass(frozen=True)
class GuardedCommand:
    """A command that passed the guard."""

    actions: Actions | None
    """Actions, shape (H, D), in the interface's units; None if the arm must hold."""
    interventions: tuple[str, ...]
    """Changes made by the guard, as "kind: dimension"; empty if there are none."""


class CommandGuard:
    """Keeps commands finite and within bounds, velocities, accelerations and the workspace.

    Velocity and acceleration limits are relative to the measured state. A command therefore never
    runs further ahead of the arm than these limits allow, even if the arm follows slowly.
    Deceleration is never limited. If limits contradict each other, the workspace has priority over
    the bounds, and the bounds over the acceleration limit. A position that was measured outside
    its bounds returns no faster than its velocity limit.
    """

    def __init__(self, interface: Interface, limits: Limits | None = None) -> None:
        """Guard the commands of an interface.

        Args:
            interface: Defines the meaning of an action.
            limits: Limits to apply; by default those of the interface.
        """
        self.limits = limits or Limits.of(interface)
        self._action = interface.command
        self._box = interface.workspace
        self._period = 1.0 / interface.rate
        fields = interface.command.fields
        self._size = len(fields)
        # Indices of the quaternion's fields, if the action has a quaternion.
        whole = set(QUATERNION) <= set(fields)
        self._endless = interface.continuous
        self._turn = [fields.index(field) for field in QUATERNION] if whole else []

    def guard(
        self, actions: npt.NDArray[np.floating], measured: RobotState, speed: float = 1.0
    ) -> GuardedCommand:
        """Nearest command that is allowed.

        Args:
            actions: Actions, shape (H, D), in the interface's units.
            measured: Measured robot state.
            speed: Factor on a velocity, or on the distance from the measured position, 0 to 1.
        """
        problem = self._problem(actions, measured)
        if problem:
            return GuardedCommand(None, problem)
        found: dict[str, None] = {}
        safe = np.array(actions, dtype=np.float64)
        clipped = np.clip(safe, self.limits.low, self.limits.high)
        self._note(found, "bounds", safe.astype(np.float32), clipped.astype(np.float32))
        arm = clipped[:, : self._size]
        if self._action.is_velocity:
            self._limit_velocity(arm, measured, speed, found)
        else:
            self._limit_positions(arm, measured, speed, found)
        if not np.isfinite(clipped).all():
            return GuardedCommand(None, ("not finite: the guarded action",))
        return GuardedCommand(clipped, tuple(found))

    def misplaced(self, measured: RobotState) -> tuple[str, ...]:
        """List the reasons that forbid any command in the current state; empty if none."""
        outside = self._outside(measured)
        if self._action.is_joints and outside:
            # The guard can't tell which joint motion leads back inside.
            return tuple(f"workspace: {field}" for field in outside)
        elsewhere = self._elsewhere(measured.position)
        if elsewhere:
            return tuple(f"not where fixed: {field}" for field in elsewhere)
        turn = [measured.position[self._action.fields[index]] for index in self._turn]
        if turn and np.linalg.norm(turn) < _LEAST_NORM:
            return ("no orientation: the measured quaternion is almost zero",)
        return ()

    def _problem(self, actions: npt.NDArray[np.floating], measured: RobotState) -> tuple[str, ...]:
        """Reasons why no command is allowed; empty if one is allowed."""
        if not np.isfinite(actions).all():
            return ("not finite: the action",)
        if problem := self.misplaced(measured):
            return problem
        if self._turn and (np.linalg.norm(actions[:, self._turn], axis=1) < _LEAST_NORM).any():
            return ("no orientation: the quaternion is almost zero",)
        return ()

    def _note(self, found: dict[str, None], kind: str, before: Actions, after: Actions) -> None:
        """Record the dimensions in which two actions differ."""
        changed = (np.atleast_2d(before) != np.atleast_2d(after)).any(axis=0).tolist()
        names = (name for name, c in zip(self._action.names, changed, strict=False) if c)
        found.update({f"{kind}: {name}": None for name in names})

    def _clip(
        self,
        found: dict[str, None],
        kind: str,
        values: Actions,
        low: npt.ArrayLike,
        high: npt.ArrayLike,
    ) -> None:
        """Clip values in place and record the changed dimensions."""
        clipped = np.clip(values, low, high)
        # A change by rounding is not an intervention.
        apart = np.where(np.isclose(values, clipped, rtol=1e-6, atol=1e-9), clipped, values)
        self._note(found, kind, apart, clipped)
        values[...] = clipped

    def _limit_velocity(
        self, arm: Actions, measured: RobotState, speed: float, found: dict[str, None]
    ) -> None:
        arm *= speed
        size = self._size
        # Zero velocity is always allowed.
        low, high = np.minimum(self.limits.low[:size], 0), np.maximum(self.limits.high[:size], 0)
        now = np.array([measured.velocity[field] for field in self._action.fields])
        for row in arm:
            self._accelerate(row, now, self._period, found)
            # An arm that moves too fast must slow down.
            np.clip(row, low, high, out=row)
            now = row
        for index, floor, ceiling in self._walls("linear."):
            place = measured.tool[self._action.fields[index][-1]]
            # Velocities that keep the tool inside until the next decision, counted from the time
            # of the tool measurement. If the tool is outside: velocities that don't lead further
            # outside.
            seconds = self._period + measured.tool_age
            slowest = min(0.0, (floor - place) / seconds)
            fastest = max(0.0, (ceiling - place) / seconds)
            self._clip_wall(found, index, arm[:, index : index + 1], slowest, fastest)

    def _accelerate(
        self, wanted: Actions, now: Actions, seconds: float, found: dict[str, None]
    ) -> None:
        """Limit the increase of speed; deceleration is always allowed."""
        low, high = reachable(now, self.limits.max_acceleration * seconds)
        self._clip(found, "acceleration", wanted, low, high)

    def _limit_positions(
        self, arm: Actions, measured: RobotState, speed: float, found: dict[str, None]
    ) -> None:
        fields = self._action.fields
        place = np.array([measured.position[field] for field in fields])
        self._face(arm, place)
        arm[:] = place + speed * (arm - place)
        low, high = self.limits.low[: self._size].copy(), self.limits.high[: self._size].copy()
        for index, floor, ceiling in self._walls(""):
            self._clip_wall(found, index, arm[:, index : index + 1], floor, ceiling)
            low[index], high[index] = max(low[index], floor), min(high[index], ceiling)
        # If the arm is outside, it returns no faster than it moves elsewhere.
        low, high = np.minimum(low, place), np.maximum(high, place)
        velocity = np.array([measured.velocity[field] for field in fields])
        # The arm lags behind its command, so the first point may be further ahead of it.
        seconds = self._period + self._action.lag
        for row in arm:
            wanted = (row - place) / seconds
            self._accelerate(wanted, velocity, seconds, found)
            fastest = self.limits.max_velocity
            self._clip(found, "velocity", wanted, -fastest, fastest)
            # Deceleration must not lead through a workspace limit.
            row[:] = np.clip(place + wanted * seconds, low, high)
            velocity, place, seconds = (row - place) / seconds, row, self._period
        if self._turn:
            arm[:, self._turn] = unit(arm[:, self._turn])

    def _face(self, arm: Actions, place: Actions) -> None:
        """Replace values by equivalent ones (quaternion sign, full turns) nearest to the arm."""
        if self._turn:
            arm[:, self._turn] = facing(unit(arm[:, self._turn]), place[self._turn])
        if self._endless:
            arm[:, self._endless] = follow(arm[:, self._endless], place[self._endless])

    def _walls(self, prefix: str) -> list[tuple[int, float, float]]:
        """List (dimension of the action, low, high) for each axis of the workspace."""
        if self._box is None or self._action.is_joints:
            return []
        corners = zip(
            self._box.fields, self.limits.workspace_low, self.limits.workspace_high, strict=True
        )
        fields = self._action.fields
        return [
            (fields.index(prefix + f), float(low), float(high))
            for f, low, high in corners
            if prefix + f in fields
        ]

    def _clip_wall(
        self, found: dict[str, None], index: int, column: Actions, low: float, high: float
    ) -> None:
        clipped = np.clip(column, low, high)
        if (clipped != column).any():
            found[f"workspace: {self._action.fields[index]}"] = None
        column[...] = clipped

    def _elsewhere(self, position: dict[str, float]) -> list[str]:
        """Fields with a fixed value from which the arm is too far away."""
        fixed = self._action.fixed
        apart = {field: position[field] - fixed[field] for field in fixed if field in position}
        if set(QUATERNION) <= set(apart):
            turn, told = (np.array([v[field] for field in QUATERNION]) for v in (position, fixed))
            apart |= dict(zip(QUATERNION, facing(turn, told) - told, strict=True))
        near = {field: _NEAR_TURN if field in QUATERNION else _NEAR_PLACE for field in apart}
        return [field for field, distance in apart.items() if abs(distance) > near[field]]

    def _outside(self, measured: RobotState) -> list[str]:
        """Axes along which the tool is outside the workspace."""
        if self._box is None:
            return []
        corners = zip(
            self._box.fields, self.limits.workspace_low, self.limits.workspace_high, strict=True
        )
        return [f for f, low, high in corners if not low <= measured.tool[f] <= high]
