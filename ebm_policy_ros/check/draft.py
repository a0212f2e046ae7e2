"""Draft of an action: fields, frame and proposed limits of what commands the arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ebm_policy_ros.check.survey import Commandable, Sensor, Survey
from ebm_policy_ros.check.urdf import JointLimits
from ebm_policy_ros.interface.action import QUATERNION
from ebm_policy_ros.interface.command_types.pose_stamped import pose_value
from ebm_policy_ros.util.geometry import TURN
from ebm_policy_ros.util.quoting import cut

# Proposals: slow, and near to where the arm is.
_TOOL_SPEED, _JOINT_SPEED = 0.05, 0.2
_BOX, _SWING = 0.15, 0.5
# Share of the velocity limit, and distance from the position limits, of a robot description.
_SHARE, _MARGIN = 0.1, 0.1
# Time in which a proposed acceleration reaches full speed, s.
_RAMP = 0.2
_GRIPPERS = ("finger", "gripper", "knuckle", "robotiq", "hand")
_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class ActionDraft:
    """Proposal for an action."""

    command: Commandable
    fields: tuple[str, ...]
    unit: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    reason: str
    """Source of the limits."""
    frame_id: str = ""
    fixed: dict[str, float] = field(default_factory=dict)
    measured: Sensor | None = None
    max_velocity: tuple[float, ...] | None = None
    tool: Sensor | None = None
    """Pose of the tool, for a workspace."""

    @property
    def max_acceleration(self) -> tuple[float, ...] | None:
        """Full speed in a fraction of a second; None if nothing measures the arm."""
        if self.measured is None:
            return None
        fastest = self.max_velocity or tuple(
            max(abs(a), abs(b)) for a, b in zip(self.low, self.high, strict=True)
        )
        return tuple(rounded(speed / _RAMP) for speed in fastest)

    @property
    def workspace(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Corners of a box around the tool; None without a measured tool."""
        if self.tool is None:
            return None
        if self.command.is_joints or self.command.is_velocity:
            place = [pose_value(self.tool.message, axis) for axis in _AXES]
            return _around(place, _BOX)
        return self.low, self.high


def rounded(value: float) -> float:
    """Value with three digits behind the point."""
    return round(value, 3) + 0.0  # no negative zero


def _around(place: Sequence[float], reach: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return (
        tuple(rounded(value - reach) for value in place),
        tuple(rounded(value + reach) for value in place),
    )


def draft_action(command: Commandable, measured: Sequence[Sensor], survey: Survey) -> ActionDraft:
    """Proposal for the action of a command topic.

    Args:
        command: What commands the arm.
        measured: Chosen joints, poses and wrenches.
        survey: Everything that was seen.

    Raises:
        ValueError: If nothing among `measured` measures what is commanded.
    """
    pose = next((s for s in measured if s.is_pose), None)
    if command.is_joints:
        return _joints(command, measured, survey, pose)
    if command.is_velocity:
        return _twists(command, pose)
    if pose is None:
        raise ValueError(f"{cut(command.topic)} takes poses, but none is measured: choose one")
    place = [pose_value(pose.message, axis) for axis in _AXES]
    low, high = _around(place, _BOX)
    return ActionDraft(
        command,
        _AXES,
        "m",
        low,
        high,
        f"{_BOX} m around where the tool was",
        frame_id=pose.message.header.frame_id,
        fixed={name: rounded(pose_value(pose.message, name)) for name in QUATERNION},
        measured=pose,
        max_velocity=(_TOOL_SPEED,) * 3,
        tool=pose,
    )


def _twists(command: Commandable, pose: Sensor | None) -> ActionDraft:
    speeds = (_TOOL_SPEED,) * 3
    return ActionDraft(
        command,
        tuple(f"linear.{axis}" for axis in _AXES),
        "m/s",
        tuple(-speed for speed in speeds),
        speeds,
        "slow, for a beginning",
        frame_id=pose.message.header.frame_id if pose else "base_link",
        measured=pose,
        tool=pose,
    )


def _joints(
    command: Commandable, measured: Sequence[Sensor], survey: Survey, pose: Sensor | None
) -> ActionDraft:
    source = next((s for s in measured if s.is_joints), None)
    if source is None:
        raise ValueError(f"{cut(command.topic)} takes joints, but none are measured: choose some")
    arm = [n for n in source.joints if not any(part in n.lower() for part in _GRIPPERS)]
    fields = tuple(arm or source.joints)
    limits = [survey.described.get(name) for name in fields]
    speeds = tuple(_speed(one) for one in limits)
    told = "robot description" if all(limits) else "slow, for a beginning"
    # Only a description tells that a joint slides.
    units = ["m" if one is not None and one.is_length else "rad" for one in limits]
    if command.is_velocity:
        low, high = tuple(-speed for speed in speeds), speeds
        unit = _joined([f"{unit}/s" for unit in units])
        return ActionDraft(command, fields, unit, low, high, told, measured=source, tool=pose)
    places = dict(zip(source.message.name, source.message.position, strict=False))
    spans = [_span(one, places.get(n, 0.0)) for n, one in zip(fields, limits, strict=True)]
    return ActionDraft(
        command,
        fields,
        _joined(units),
        tuple(rounded(low) for low, _ in spans),
        tuple(rounded(high) for _, high in spans),
        told if all(limits) else f"{_SWING} {_joined(units)} around where the joints were",
        measured=source,
        max_velocity=speeds,
        tool=pose,
    )


def _joined(units: Sequence[str]) -> str:
    """Unit of all fields, or the unit of each of them."""
    return units[0] if len(set(units)) == 1 else ", ".join(units)


def _speed(limits: JointLimits | None) -> float:
    """Slow velocity of a joint, rad/s or m/s."""
    if limits is None or not math.isfinite(limits.velocity) or limits.velocity <= 0:
        return _TOOL_SPEED if limits is not None and limits.is_length else _JOINT_SPEED
    return rounded(_SHARE * limits.velocity) or limits.velocity


def _span(limits: JointLimits | None, place: float) -> tuple[float, float]:
    """Bounds of a joint's position that contain the present one."""
    if limits is None:
        return place - _SWING, place + _SWING
    if limits.is_continuous:
        return -TURN / 2 - _MARGIN, TURN / 2 + _MARGIN
    low, high = limits.lower + _MARGIN, limits.upper - _MARGIN
    return (low, high) if low < place < high else (limits.lower, limits.upper)
