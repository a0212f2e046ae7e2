"""Watch over everything that is measured of all arms during a test move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ebm_policy_ros.check.motion import STEP, TURN, Probe, length_text, moves_along
from ebm_policy_ros.check.urdf import JointLimits
from ebm_policy_ros.interface import Interface, Part
from ebm_policy_ros.interface.action import QUATERNION
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.util.geometry import conjugate, multiply, rotation_vector, wrap

FARTHEST = 3.0
"""Multiple of the length of a test move, of each kind, at which it is stopped."""
OTHER_ARM = "exchange the topics of the parts, or the streams that measure them"
TURNED = "compare fields and frame_id with those of the controller"
# Smallest share of a move that counts as a motion during a rest, and the largest noise.
_STILL, _NOISIEST = 0.05, 0.5
# Noise of a whole move as a multiple of that in the second before it.
_MARGIN = 1.5


@dataclass(frozen=True)
class Motion:
    """Measured motion of one dimension of one part."""

    part: int
    name: str
    """Joint, or axis such as linear.x."""
    subject: str
    """Name among the dimensions of the whole action."""
    value: float
    """Motion, m or rad."""
    is_length: bool

    @property
    def share(self) -> float:
        """Size as a multiple of a test move of its kind."""
        return abs(self.value) / (STEP if self.is_length else TURN)

    def __str__(self) -> str:
        """Motion with its unit."""
        return length_text(self.value, self.is_length)


class Watch:
    """Compares the measured positions of all parts with those at the beginning of a move."""

    def __init__(self, interface: Interface, described: Mapping[str, JointLimits]) -> None:
        """Take the parts from the interface, and the kinds of joints from a description."""
        self._parts, self._described = interface.parts, described
        self._begin: Sequence[RobotState] | None = None
        self._first: Sequence[RobotState] | None = None
        self._seen: dict[str, list[float]] = {}
        self.motions: list[Motion] = []
        """Motion of every measured dimension since the beginning of the move."""

    def begin(self, states: Sequence[RobotState] | None) -> None:
        """Measure motions from here on."""
        self._begin = states

    def listen(self, states: Sequence[RobotState]) -> None:
        """Note positions of arms that nobody commands, for the noise."""
        self._first = self._first or states
        for motion in self._motions(self._first, states):
            self._seen.setdefault(motion.subject, [0.0]).append(motion.value)

    def restless(self) -> str:
        """Motion before any command that would hide a test move; empty if there is none."""
        assert self._first is not None
        for motion in self._motions(self._first, self._first):
            values = self._seen[motion.subject]
            range_ = Motion(motion.part, motion.name, motion.subject, max(values) - min(values),
                            motion.is_length)  # fmt: skip
            if range_.share > _NOISIEST:
                return f"{motion.subject} changes by {range_} although nothing is commanded"
        return ""

    def standstill(self, probe: Probe) -> float:
        """Largest motion of a dimension that counts as none, m or rad."""
        values = self._seen.get(probe.subject, [0.0])
        return max(_STILL * abs(probe.amount), _MARGIN * (max(values) - min(values)))

    def look(self, states: Sequence[RobotState], probe: Probe | None) -> str:
        """Measure the motions; return one that is too long, with its cure, or an empty text.

        Args:
            states: Measured state of each part.
            probe: Present test move; None if no motion is commanded.
        """
        if self._begin is not None:
            self.motions = self._motions(self._begin, states)
        far = max(self.motions, key=lambda motion: motion.share, default=None)
        if far is None or far.share <= FARTHEST:
            return ""
        if probe is None:
            return f"{far.subject} moved {far} although no motion is commanded"
        if far.part != probe.part:
            return f"{probe.subject} moved the other arm, {far.subject} {far}: {OTHER_ARM}"
        if not probe.is_alike(far.name):
            how = "shifted" if far.is_length else "turned"
            return f"{probe.subject} {how} the tool, {far.subject} {far}: {TURNED}"
        return f"{far.subject} moved {far}, more than {FARTHEST:g} times what was commanded"

    def _motions(self, begin: Sequence[RobotState], now: Sequence[RobotState]) -> list[Motion]:
        found = []
        for number, (part, first, last) in enumerate(zip(self._parts, begin, now, strict=True)):
            action = part.interface.command
            for name, value in displacement(part, first.position, last.position).items():
                along = moves_along(action, name, self._described)
                found.append(Motion(number, name, part.field(name), value, along))
        return found


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
