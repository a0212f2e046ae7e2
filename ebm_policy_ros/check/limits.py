"""Checks of an interface's limits: against a robot description, and against what is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ebm_policy_ros.check.results import CheckResult, judged, note
from ebm_policy_ros.check.urdf import JointLimits
from ebm_policy_ros.control.command_guard import CommandGuard
from ebm_policy_ros.interface import Interface, JointStream, Part
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.util.quoting import cut, nearest

# Smallest difference of limits that counts: files are written with few digits.
_ROUNDING = 1e-3


def undescribed_note(interface: Interface) -> Iterator[CheckResult]:
    """Note that limits of joints are not compared; nothing if no joint is commanded."""
    actions = [part.interface.command for part in interface.parts]
    if any(action.is_joints or action.gripper for action in actions):
        yield note("robot", "limits", "not compared", "those of a URDF",
                   "no URDF: limits not compared; give --urdf")  # fmt: skip


def described_checks(
    interface: Interface, described: Mapping[str, JointLimits]
) -> Iterator[CheckResult]:
    """Checks of joints and their limits against a robot description."""
    for name, stream in interface.observation.items():
        if isinstance(stream, JointStream):
            yield from _joint_checks(name, stream, described)
    for part in interface.parts:
        if part.interface.command.is_joints:
            for index, joint in enumerate(part.interface.command.fields):
                if joint in described:
                    yield from _field_checks(part, index, described[joint])
                else:
                    yield _unknown(part, joint)
        gripper = part.interface.command.gripper
        if gripper is not None and gripper.name not in described:
            yield _unknown(part, gripper.name)
        elif gripper is not None:
            limits = described[gripper.name]
            yield _within(
                part.named(gripper.name), "position limits", (gripper.low, gripper.high),
                (limits.lower, limits.upper), "action.gripper.low and high",
            )  # fmt: skip


def _unknown(part: Part, joint: str) -> CheckResult:
    return note(part.named(joint), "limits", "not compared", "those of the URDF",
                f"the URDF has no joint {cut(joint)} that moves")  # fmt: skip


def _joint_checks(
    name: str, stream: JointStream, described: Mapping[str, JointLimits]
) -> Iterator[CheckResult]:
    """Names of the joints, and which of them turn without end."""
    key = f"observation.{name}"
    missing = [joint for joint in stream.names if joint not in described]
    close = nearest(missing[0], described) if missing else ""
    yield judged(
        name, "joints in the URDF", f"no {cut(', '.join(missing))}" if missing else "all",
        f"{len(stream.names)} names", not missing,
        f"correct {key}.names or prefix, or give the URDF of this robot"
        + (f"; did you mean {close}?" if close else ""),
    )  # fmt: skip
    known = [joint for joint in stream.names if joint in described]
    endless = [joint for joint in known if described[joint].is_continuous]
    told = [joint for joint in known if joint in stream.continuous]
    yield judged(
        name, "continuous joints", ", ".join(told) or "none", ", ".join(endless) or "none",
        told == endless, f"set {key}.continuous to [{', '.join(endless)}]",
    )  # fmt: skip


def _field_checks(part: Part, index: int, limits: JointLimits) -> Iterator[CheckResult]:
    action = part.interface.command
    subject = part.named(action.fields[index])
    unit = "m" if limits.is_length else "rad"
    if unit not in [one.strip().partition("/")[0] for one in action.unit.split(",")]:
        cure = f"set action.unit to {unit} for this joint, and write low and high in it"
        yield judged(subject, "unit", action.unit, f"{unit} (URDF)", False, cure)
    low, high = action.low[index], action.high[index]
    if action.is_velocity:
        fastest = max(abs(low), abs(high))
        yield _at_most(subject, fastest, limits.velocity, "action.low and high")
        return
    if not limits.is_continuous:
        yield _within(
            subject, "position limits", (low, high), (limits.lower, limits.upper),
            "action.low and high",
        )  # fmt: skip
    assert action.max_velocity is not None
    yield _at_most(subject, action.max_velocity[index], limits.velocity, "action.max_velocity")


def _within(
    subject: str, what: str, got: tuple[float, float], allowed: tuple[float, float], key: str
) -> CheckResult:
    (low, high), (lower, upper) = got, allowed
    inside = low >= lower - _ROUNDING and high <= upper + _ROUNDING
    return judged(subject, what, _span(low, high), f"in {_span(lower, upper)} (URDF)", inside,
                  f"narrow {key}")  # fmt: skip


def _at_most(subject: str, got: float, allowed: float, key: str) -> CheckResult:
    return judged(subject, "velocity limit", f"{got:.3g}", f"at most {allowed:.3g} (URDF)",
                  got <= allowed + _ROUNDING, f"lower {key}")  # fmt: skip


def _span(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"


def state_checks(part: Part, state: RobotState) -> Iterator[CheckResult]:
    """Checks of the arm's position now: within its bounds, and where commands are allowed."""
    interface, action = part.interface, part.interface.command
    if not action.is_velocity:
        endless = interface.continuous
        for index, field in enumerate(action.fields):
            low, high, value = action.low[index], action.high[index], state.position[field]
            if index in endless:
                continue
            yield judged(
                part.named(field), "position now", f"{value:.3f}", _span(low, high),
                low - _ROUNDING <= value <= high + _ROUNDING,
                "move the arm inside, or widen action.low and high",
            )  # fmt: skip
    if interface.workspace is not None:
        box = interface.workspace
        for field, low, high in zip(box.fields, box.low, box.high, strict=True):
            value = state.tool[field]
            yield judged(
                part.named(f"tool {field}"), "in the workspace", f"{value:.3f}",
                _span(low, high), low <= value <= high,
                "move the tool inside, or correct workspace.low and high",
            )  # fmt: skip
    yield _placed_check(part, state)


def _placed_check(part: Part, state: RobotState) -> CheckResult:
    """Check by the guard itself that it would let a command through."""
    found = CommandGuard(part.interface).misplaced(state)
    fixed = np.array(list(part.interface.command.fixed.values()))
    expected = f"near fixed, {fixed.round(3).tolist()}" if len(fixed) else "nothing against it"
    return judged(
        part.named("action"), "guard", ", ".join(found) or "lets commands through", expected,
        not found, "move the arm to where action.fixed and workspace allow commands",
    )  # fmt: skip
