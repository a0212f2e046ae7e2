"""A leader arm: the arm goes where a person leads a second one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Action
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.teleop.mapping import TeleopCommand
from ebm_policy_ros.util.geometry import near as near_angle

Vector = npt.NDArray[np.float64]


class Leader:
    """Follows a leader arm from when it is near, and lets go when it is far away or silent.

    It begins only where leader and arm are within `near` of each other in every joint, so that
    taking over never is a motion. Following, the arm moves as fast as the guard allows; where the
    leader is further away than `far` the arm holds, until the leader was brought back near to it.
    """

    def __init__(
        self,
        action: Action,
        names: Sequence[str],
        scales: Sequence[float],
        offsets: Sequence[float],
        near: float,
        far: float,
        timeout: float,
        continuous: Sequence[int] = (),
    ) -> None:
        """Nothing is followed yet.

        Args:
            action: Of the interface: positions of joints.
            names: The leader's joint for each of the action's names, the gripper's last. Empty:
                the same names; and the leader's own order where it has none of them.
            scales: A factor for each on the leader's position, -1 where it turns the other way.
                Empty: 1.
            offsets: Added to it then. Empty: 0.
            near: Where it begins, rad.
            far: Where it lets go, rad.
            timeout: How long a message counts, s.
            continuous: Which of the action's fields are joints that turn without end.

        Raises:
            ValueError: If the action takes no positions of joints, or a list has another length.
        """
        if not action.is_joints or action.is_velocity:
            raise ValueError(
                f"source: a leader arm gives positions of joints, but the interface commands "
                f"{action.type} ({'velocity' if action.is_velocity else 'position'})"
            )
        size = len(action.names)
        for key, values in (("names", names), ("scales", scales), ("offsets", offsets)):
            if values and len(values) != size:
                raise ValueError(
                    f"leader.{key}: got {len(values)} values, expected one for each of "
                    f"{', '.join(action.names)}"
                )
        if not near <= far:
            raise ValueError(f"leader.near: got {near}, above leader.far, {far}")
        self._names, self._fields, self._size = tuple(names), action.fields, size
        self._own = action.names
        self._scales = np.asarray(scales or [1.0] * size)
        self._offsets = np.asarray(offsets or [0.0] * size)
        self._near, self._far, self._timeout = near, far, timeout
        self._continuous = list(continuous)
        self._target: Vector | None = None
        self._at = -math.inf
        self._problem = "no message of the leader arm yet"
        self.following = False
        """Whether the arm goes where the leader is."""

    def take(self, names: Sequence[str], positions: Sequence[float], now: float) -> None:
        """Take a message that came at a time, in s."""
        self._at = now
        found = dict(zip(names, positions, strict=False))
        wanted = self._names or self._own
        if self._names or set(wanted) & set(found):
            missing = [name for name in wanted if name not in found]
            values = [found.get(name, math.nan) for name in wanted]
        else:
            missing = list(wanted[len(positions) :])
            values = list(positions[: self._size])
        self._problem = ""
        if missing:
            self._problem = f"the leader arm has no {missing[0]!r}; it has {', '.join(names)}"
        elif not np.isfinite(values).all():
            self._problem = "the leader arm sends what is not a number"
        else:
            self._target = self._scales * values + self._offsets

    def let_go(self) -> None:
        """Follow no longer, until the leader is near again."""
        self.following = False

    def desired(self, now: float, measured: RobotState | None) -> TeleopCommand:
        """Where the arm is wanted at a time, in s."""
        problem = self._problem
        if not problem and now - self._at > self._timeout:
            problem = f"no message of the leader arm for {now - self._at:.1f} s"
        if problem or measured is None or self._target is None:
            self.following = False
            return TeleopCommand(problem=problem or "where the arm is is not known")
        place = np.array([measured.position[field] for field in self._fields])
        turning = self._continuous
        self._target[turning] = near_angle(self._target[turning], place[turning])
        apart = np.abs(self._target[: len(place)] - place)
        worst = int(np.argmax(apart))
        self.following = bool(apart[worst] <= (self._far if self.following else self._near))
        if not self.following:
            return TeleopCommand(
                problem=f"bring the leader arm to the arm: {self._fields[worst]} is "
                f"{self._target[worst] - place[worst]:+.2f} rad away, {self._near} allowed"
            )
        return TeleopCommand(target=self._target)
