"""Leader arm: the robot follows a second arm that is moved by the operator."""

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

# Share of a gripper's range by which it is moved on purpose.
_GRIP_SHARE = 0.05


class Leader:
    """Follows a leader arm that is near, and releases it when it is far away or silent.

    It begins only if leader and arm are within `near` of each other in every joint, so that the
    takeover never causes a motion. While following, the arm moves as fast as the guard allows. If
    the leader is further away than `far`, the arm holds until the leader is near again.
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
        """Begin without following.

        Args:
            action: Action of the interface: joint positions.
            names: Joint of the leader for each of the action's names, the gripper last. Empty: the
                same names, or the leader's own order if it has none of them.
            scales: Factor on each position of the leader, -1 to reverse it. Empty: 1.
            offsets: Offset added after the factor. Empty: 0.
            near: Largest distance at which following begins, rad.
            far: Distance at which following ends, rad.
            timeout: Time for which a message is valid, s.
            continuous: Indices of the action's fields that are continuous joints.

        Raises:
            ValueError: If the action is not a joint position, or a list has another length.
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
        self._gripper = action.gripper
        self._grip_begun, self._grips = 0.0, False
        self.following = False
        """True if the arm follows the leader."""

    def take(self, names: Sequence[str], positions: Sequence[float], now: float) -> None:
        """Process a message received at a time, in s."""
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
        """Stop following until the leader is near again."""
        self.following = False

    def desired(self, now: float, measured: RobotState | None) -> TeleopCommand:
        """Teleoperation command at a time, in s."""
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
        was_following = self.following
        self.following = bool(apart[worst] <= (self._far if was_following else self._near))
        if not self.following:
            return TeleopCommand(
                problem=f"bring the leader arm to the arm: {self._fields[worst]} is "
                f"{self._target[worst] - place[worst]:+.2f} rad away, {self._near} allowed"
            )
        if not was_following:
            self._grip_begun, self._grips = self._target[-1], False
        return TeleopCommand(target=self._target, grips=self._has_gripped(self._target[-1]))

    def _has_gripped(self, grip: float) -> bool:
        """True if the leader's gripper was moved since the arm follows; its state is its last."""
        if self._gripper is not None:
            enough = _GRIP_SHARE * (self._gripper.high - self._gripper.low)
            self._grips |= bool(abs(grip - self._grip_begun) > enough)
        return self._grips
