"""Command guard: the output for given actions of a policy and measurements of the arm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ebm_policy_ros.control.command_guard import CommandGuard, GuardedCommand
from ebm_policy_ros.control.limits import LimitError, Limits
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.observation.robot_state import RobotState

CENTRE = {"x": 0.5, "y": 0.0}
FIELDS = ("linear.x", "linear.y")


def twist(
    guard: CommandGuard,
    action: list[float],
    tool: dict[str, float] = CENTRE,
    velocity: tuple[float, float] = (0.0, 0.0),
    speed: float = 1.0,
) -> GuardedCommand:
    measured = RobotState({}, dict(zip(FIELDS, velocity, strict=True)), tool)
    return guard.guard(np.array([action]), measured, speed)


def first(guarded: GuardedCommand) -> list[float]:
    assert guarded.actions is not None
    return list(guarded.actions[0])


def changed(interface: Interface, **action: Any) -> Interface:
    values = interface.to_dict()
    values["action"] |= action
    return interface_from_dict(values, "x")


def test_a_command_within_every_limit_passes_unchanged(interface: Interface) -> None:
    guarded = twist(CommandGuard(interface), [0.1, -0.2])
    assert first(guarded) == [0.1, -0.2]
    assert guarded.interventions == ()


def test_commands_are_cut_to_the_action_bounds(interface: Interface) -> None:
    guarded = twist(CommandGuard(interface), [9.0, -9.0])
    assert first(guarded) == [0.25, -0.25]
    assert guarded.interventions == ("bounds: linear.x", "bounds: linear.y")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_command_that_is_not_a_number_is_none(interface: Interface, bad: float) -> None:
    guarded = twist(CommandGuard(interface), [0.1, bad])
    assert guarded.actions is None
    assert guarded.interventions == ("not finite: the action",)


def test_the_tool_cannot_be_driven_out_of_the_workspace(interface: Interface) -> None:
    guard = CommandGuard(interface)
    tool = {"x": 0.73, "y": -0.30}
    guarded = twist(guard, [0.2, -0.2], tool)
    # 1 cm is left along x: at 10 Hz no faster than 0.1 m/s.
    assert first(guarded) == pytest.approx([0.1, 0.0], abs=1e-6)
    assert guarded.interventions == ("workspace: linear.x", "workspace: linear.y")
    assert twist(guard, [-0.2, 0.2], tool).interventions == ()


def test_from_outside_the_workspace_only_the_way_back_is_open(interface: Interface) -> None:
    guard = CommandGuard(interface)
    outside = {"x": 0.9, "y": 0.0}
    assert first(twist(guard, [0.1, 0.0], outside))[0] == 0.0
    assert first(twist(guard, [-0.1, 0.0], outside))[0] == pytest.approx(-0.1)


def test_a_bound_of_zero_is_a_bound(interface: Interface) -> None:
    values = interface.to_dict()
    values["workspace"]["high"] = [0.74, 0.0]
    guard = CommandGuard(interface_from_dict(values, "x"))
    assert first(twist(guard, [0.0, 0.1]))[1] == 0.0
    guard = CommandGuard(changed(interface, high=[0.25, 0.0]))
    assert first(twist(guard, [0.0, 0.1]))[1] == 0.0


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(-0.2, -0.1, -0.1), (0.1, 0.1, 0.1), (0.0, 0.0, 0.0)]
)
def test_negative_and_equal_bounds_are_bounds(
    interface: Interface, low: float, high: float, expected: float
) -> None:
    guard = CommandGuard(changed(interface, low=[low, -0.25], high=[high, 0.25]))
    assert first(twist(guard, [0.2, 0.2])) == [expected, 0.2]


def test_acceleration_counts_from_the_measured_velocity(interface: Interface) -> None:
    guard = CommandGuard(changed(interface, max_acceleration=[0.5, 0.0], measured="tool"))
    guarded = twist(guard, [0.25, 0.25], velocity=(0.1, 0.02))
    # 0.5 m/s^2 for 0.1 s from 0.1 m/s; and no acceleration at all.
    assert first(guarded) == pytest.approx([0.15, 0.02])
    assert guarded.interventions == ("acceleration: linear.x", "acceleration: linear.y")
    # Deceleration is not limited, reversal is: the opposite motion may start with 0.05 m/s.
    assert first(twist(guard, [0.0, 0.0], velocity=(0.1, 0.0)))[0] == 0.0
    assert first(twist(guard, [-0.25, 0.0], velocity=(0.1, 0.0)))[0] == 0.0
    assert first(twist(guard, [-0.25, 0.0], velocity=(0.02, 0.0)))[0] == pytest.approx(-0.03)
    assert first(twist(guard, [0.25, 0.0], velocity=(-0.2, 0.0)))[0] == 0.0
    # An arm that is too fast is not commanded to continue so.
    assert first(twist(guard, [0.25, 0.0], velocity=(0.9, 0.0)))[0] == 0.25


def test_speed_is_a_factor_on_a_velocity(interface: Interface) -> None:
    guard = CommandGuard(interface)
    assert first(twist(guard, [0.2, -0.1], speed=0.5)) == pytest.approx([0.1, -0.05])
    assert first(twist(guard, [0.2, -0.1], speed=0.0)) == [0.0, 0.0]


def test_at_speed_zero_nothing_moves_whatever_the_bounds_and_the_arm_do(
    interface: Interface,
) -> None:
    guard = CommandGuard(changed(interface, low=[0.05, -0.25]))
    assert first(twist(guard, [0.2, 0.2], speed=0.0)) == [0.0, 0.0]
    guard = CommandGuard(changed(interface, max_acceleration=[0.5, 0.5], measured="tool"))
    pushed = twist(guard, [0.2, 0.2], velocity=(0.2, 0.2), speed=0.0)
    assert first(pushed) == [0.0, 0.0]


def test_an_old_pose_leaves_less_way_to_the_wall(interface: Interface) -> None:
    measured = RobotState({}, dict.fromkeys(FIELDS, 0.0), {"x": 0.73, "y": 0.0}, tool_age=0.1)
    guarded = CommandGuard(interface).guard(np.array([[0.2, 0.0]]), measured)
    # 1 cm for the past tenth of a second and the next one.
    assert first(guarded)[0] == pytest.approx(0.05)


# Positions


def joints(**action: Any) -> Interface:
    """Two joints that follow trajectories at 10 Hz."""
    values: dict[str, Any] = {
        "name": "two joints",
        "rate": 10.0,
        "observation": {
            "joints": {
                "topic": "joint_states",
                "type": "sensor_msgs/msg/JointState",
                "names": ["a", "b"],
                "max_age": 0.1,
            },
            "tool": {
                "topic": "tool",
                "type": "geometry_msgs/msg/PoseStamped",
                "frame_id": "base",
                "fields": ["x", "y", "z"],
                "max_age": 0.1,
            },
        },
        "action": {
            "topic": "arm/joint_trajectory",
            "type": "trajectory_msgs/msg/JointTrajectory",
            "fields": ["a", "b"],
            "unit": "rad",
            "low": [-1.0, -1.0],
            "high": [1.0, 1.0],
            "max_velocity": [1.0, 1.0],
            "measured": "joints",
            "horizon": 3,
            **action,
        },
        "workspace": {"stream": "tool", "fields": ["z"], "low": [0.0], "high": [1.0]},
    }
    return interface_from_dict(values, "x")


def at(
    a: float, b: float, velocity: tuple[float, float] = (0.0, 0.0), z: float = 0.5
) -> RobotState:
    return RobotState({"a": a, "b": b}, dict(zip("ab", velocity, strict=True)), {"z": z})


def test_a_position_runs_ahead_of_the_arm_only_as_far_as_its_velocity_allows() -> None:
    guarded = CommandGuard(joints()).guard(np.full((3, 2), 0.9), at(0.0, 0.85))
    assert guarded.actions == pytest.approx(np.array([[0.1, 0.9], [0.2, 0.9], [0.3, 0.9]]))
    assert guarded.interventions == ("velocity: a",)
    # With a known lag of the arm, the command may be further ahead.
    lagging = CommandGuard(joints(lag=0.2)).guard(np.full((3, 2), 0.9), at(0.0, 0.9))
    assert lagging.actions is not None
    assert lagging.actions[:, 0] == pytest.approx([0.3, 0.4, 0.5])


def test_the_acceleration_of_a_position_is_limited_from_the_measured_velocity() -> None:
    guard = CommandGuard(joints(max_acceleration=[1.0, 1.0]))
    guarded = guard.guard(np.full((3, 2), 0.9), at(0.0, 0.0, (0.0, 0.5)))
    assert guarded.actions is not None
    # 1 rad/s^2: 0.1, 0.2, 0.3 rad/s from rest; 0.6, 0.7, 0.8 rad/s from 0.5.
    assert guarded.actions[:, 0] == pytest.approx([0.01, 0.03, 0.06])
    assert guarded.actions[:, 1] == pytest.approx([0.06, 0.13, 0.21])


@pytest.mark.parametrize(("place", "velocity"), [(0.99, 0.8), (0.9, 0.5), (1.0, 2.0)])
def test_what_it_takes_to_slow_down_leads_through_no_bound(place: float, velocity: float) -> None:
    guard = CommandGuard(joints(max_acceleration=[1.0, 1.0]))
    for wanted in (0.0, 0.95, 5.0):
        guarded = guard.guard(np.full((3, 2), wanted), at(place, 0.0, (velocity, 0.0)))
        assert guarded.actions is not None
        assert guarded.actions[:, 0].max() <= 1.0


def test_from_outside_its_bounds_a_joint_comes_back_no_faster_than_allowed() -> None:
    guarded = CommandGuard(joints()).guard(np.full((1, 2), 3.0), at(1.5, 0.0))
    assert first(guarded) == pytest.approx([1.4, 0.1])


def test_a_tool_outside_the_workspace_lets_joints_go_nowhere() -> None:
    guarded = CommandGuard(joints()).guard(np.zeros((3, 2)), at(0.0, 0.0, z=-0.01))
    assert guarded.actions is None
    assert guarded.interventions == ("workspace: z",)


def test_speed_is_a_factor_on_the_way_from_where_the_arm_is() -> None:
    guarded = CommandGuard(joints()).guard(np.full((1, 2), 0.08), at(0.0, 0.04), speed=0.5)
    assert first(guarded) == pytest.approx([0.04, 0.06])


def test_a_gripper_is_cut_to_its_bounds_alone() -> None:
    gripper = {
        "topic": "g", "type": "std_msgs/msg/Float64MultiArray", "name": "g", "low": 0.0,
        "high": 0.8,
    }  # fmt: skip
    guarded = CommandGuard(joints(gripper=gripper)).guard(np.full((1, 3), 0.9), at(0.85, 0.85))
    assert first(guarded) == pytest.approx([0.9, 0.9, 0.8])
    assert guarded.interventions == ("bounds: g",)


def pose_interface() -> Interface:
    fields = ["x", "y", "z", "qx", "qy", "qz", "qw"]
    values = joints().to_dict()
    values["observation"]["tool"]["fields"] = fields
    values["action"] = {
        "topic": "target_pose",
        "type": "geometry_msgs/msg/PoseStamped",
        "frame_id": "base",
        "fields": fields,
        "unit": "m",
        "low": [-1.0] * 7,
        "high": [1.0] * 7,
        "max_velocity": [0.5] * 3 + [10.0] * 4,
        "measured": "tool",
    }
    return interface_from_dict(values, "x")


def planar_pose_interface(z: float) -> Interface:
    """Interface with a pose that points down at one height."""
    values = pose_interface().to_dict()
    values["action"] |= {
        "fields": ["x", "y"],
        "fixed": {"z": z, "qx": 0.0, "qy": 1.0, "qz": 0.0, "qw": 0.0},
        "low": [-1.0, -1.0],
        "high": [1.0, 1.0],
        "max_velocity": [0.5, 0.5],
    }
    return interface_from_dict(values, "x")


def test_a_pose_stays_in_the_box_and_its_quaternion_is_one() -> None:
    measured = RobotState(
        {"x": 0.0, "y": 0.0, "z": 0.02, "qx": 1.0, "qy": 0.0, "qz": 0.0, "qw": 0.0},
        dict.fromkeys(pose_interface().command.fields, 0.0),
        {"z": 0.02},
    )
    # The same orientation, as the negative quaternion.
    wanted = np.array([[0.2, 0.0, -0.5, -0.9, 0.0, 0.0, 0.0]])
    guarded = CommandGuard(pose_interface()).guard(wanted, measured)
    assert first(guarded) == pytest.approx([0.05, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    assert guarded.interventions == ("workspace: z", "velocity: x")


def at_pose(z: float, vz: float = 0.0) -> RobotState:
    place = {"x": 0.0, "y": 0.0, "z": z, "qx": 1.0, "qy": 0.0, "qz": 0.0, "qw": 0.0}
    velocity = dict.fromkeys(pose_interface().command.fields, 0.0) | {"z": vz}
    return RobotState(place, velocity, {"z": z})


def test_a_pose_that_falls_is_stopped_by_the_floor() -> None:
    values = pose_interface().to_dict()
    values["action"]["max_acceleration"] = [1.0] * 7
    guard = CommandGuard(interface_from_dict(values, "x"))
    wanted = np.array([[0.0, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0]])
    assert first(guard.guard(wanted, at_pose(0.02, -0.5)))[2] >= 0.0
    # Below the floor it goes no further down.
    assert first(guard.guard(wanted, at_pose(-0.05, -0.2)))[2] >= -0.05


def test_a_measured_quaternion_of_almost_nothing_moves_nothing() -> None:
    measured = at_pose(0.1)
    nowhere = RobotState(measured.position | {"qx": 0.0}, measured.velocity, measured.tool)
    guarded = CommandGuard(pose_interface()).guard(
        np.array([[0.0, 0.0, 0.1, 1.0, 0.0, 0.0, 0.0]]), nowhere
    )
    assert guarded.interventions == ("no orientation: the measured quaternion is almost zero",)


def test_a_place_that_a_pose_fixes_must_be_in_the_box() -> None:
    interface = planar_pose_interface(z=0.1)
    Limits.of(interface).tightened(interface, {})
    with pytest.raises(LimitError, match=r"action\.fixed has z at 0\.1, outside 0\.3 to 1\.0"):
        Limits.of(interface).tightened(interface, {"workspace_low": [0.3]})


def test_a_quaternion_of_almost_nothing_is_no_orientation() -> None:
    guard = CommandGuard(pose_interface())
    for quaternion in ([0.0] * 4, [0.1, 0.0, 0.1, 0.0]):
        guarded = guard.guard(np.array([[0.0, 0.0, 0.1, *quaternion]]), at_pose(0.1))
        assert guarded.actions is None
        assert guarded.interventions == ("no orientation: the quaternion is almost zero",)


@pytest.mark.parametrize(
    ("z", "turn", "expected"),
    [
        (0.21, (0.0, 1.0, 0.0, 0.0), ()),
        (0.21, (0.0, -0.999, 0.0, 0.04), ()),  # almost the same orientation
        (0.25, (0.0, 1.0, 0.0, 0.0), ("not where fixed: z",)),
        (0.2, (0.3, 0.95, 0.0, 0.0), ("not where fixed: qx",)),
    ],
)
def test_what_a_pose_fixes_must_be_so_already(
    z: float, turn: tuple[float, ...], expected: tuple[str, ...]
) -> None:
    interface = planar_pose_interface(z=0.2)
    place = dict(zip(("x", "y", "z", "qx", "qy", "qz", "qw"), (0.1, 0.1, z, *turn), strict=True))
    measured = RobotState(place, {"x": 0.0, "y": 0.0}, {"z": z})
    guarded = CommandGuard(interface).guard(np.full((1, 2), 0.1), measured)
    assert guarded.interventions == expected
    assert (guarded.actions is None) == bool(expected)


# Parameters


def test_a_parameter_makes_a_limit_tighter(interface: Interface) -> None:
    limits = Limits.of(interface).tightened(interface, {"high": [0.05, 0.25]})
    assert first(twist(CommandGuard(interface, limits), [0.2, 0.2])) == [0.05, 0.2]
    limits = Limits.of(interface).tightened(interface, {"workspace_high": [0.5, 0.3]})
    assert first(twist(CommandGuard(interface, limits), [0.2, 0.2])) == [0.0, 0.2]
    limits = Limits.of(joints()).tightened(joints(), {"max_velocity": [0.5, 0.0]})
    guarded = CommandGuard(joints(), limits).guard(np.full((1, 2), 0.9), at(0.0, 0.0))
    assert first(guarded) == pytest.approx([0.05, 0.0])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"high": [0.3, 0.25]}, "limits.high: 0.3 for linear.x is looser than the interface's"),
        ({"low": [-0.25, -0.3]}, "limits.low: -0.3 for linear.y is looser than"),
        ({"high": [0.1]}, "expected one number for each of linear.x, linear.y"),
        ({"high": [float("nan"), 0.1]}, "limits.high: got"),
        ({"low": [0.1, 0.0], "high": [0.0, 0.1]}, "limits.low: 0.1 for linear.x is above"),
        ({"max_acceleration": [-0.1, 0.1]}, "expected numbers >= 0"),
        ({"max_velocity": [0.1, 0.1]}, "low and high bound a velocity; set those"),
        ({"workspace_low": [0.2, -0.3]}, "limits.workspace_low: 0.2 for x is looser"),
    ],
)
def test_a_limit_that_cannot_be_says_why(
    interface: Interface, wanted: dict[str, list[float]], message: str
) -> None:
    with pytest.raises(LimitError, match=message.replace(".", r"\.")):
        Limits.of(interface).tightened(interface, wanted)


def test_an_acceleration_that_nothing_measures_takes_no_limit(interface: Interface) -> None:
    values = interface.to_dict()
    del values["action"]["measured"]
    unmeasured = interface_from_dict(values, "x")
    with pytest.raises(LimitError, match=r"action\.measured names no stream to measure it by"):
        Limits.of(unmeasured).tightened(unmeasured, {"max_acceleration": [0.1, 0.1]})


def test_a_box_that_is_not_there_takes_no_limit(interface: Interface) -> None:
    values = interface.to_dict()
    del values["workspace"]
    without = interface_from_dict(values, "x")
    with pytest.raises(LimitError, match="expected none"):
        Limits.of(without).tightened(without, {"workspace_low": [0.0, 0.0]})
