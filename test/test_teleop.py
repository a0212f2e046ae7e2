"""Mappings and computations of teleoperation, without ROS."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebm_policy_ros.control.limits import Limits
from ebm_policy_ros.interface import Interface, interface_from_dict, load_interface
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.teleop.hold import Hold
from ebm_policy_ros.teleop.joystick import LAYOUTS, Joystick
from ebm_policy_ros.teleop.keyboard import (
    LIVE,
    RECORDING,
    Confirmation,
    Keyboard,
    key_map,
    key_table,
)
from ebm_policy_ros.teleop.leader import Leader
from ebm_policy_ros.teleop.mapping import TeleopCommand, TeleopMapping, directions

INTERFACES = sorted((Path(__file__).parents[1] / "config" / "interfaces").glob("*.yaml"))
GRIPPER = {
    "topic": "gripper", "type": "std_msgs/msg/Float64MultiArray", "name": "finger",
    "low": 0.0, "high": 0.8,
}  # fmt: skip


def with_gripper(path: Path) -> Interface:
    values = load_interface(path).parts[0].interface.to_dict()
    values["action"]["gripper"] = GRIPPER
    return interface_from_dict(values, path.name)


def named(name: str) -> Interface:
    return with_gripper(next(path for path in INTERFACES if path.stem == name))


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.stem)
def test_no_key_does_two_things_and_every_direction_has_two_keys(path: Path) -> None:
    action = with_gripper(path).command
    table = key_table(action, "keyboard")
    assert max(Counter(key.name for key in table).values()) == 1
    moved = Counter(key_direction for key in table for key_direction in key.motion.items())
    assert {(name, sign) for name in directions(action) for sign in (1.0, -1.0)} <= set(moved)
    assert all(len(line) < 80 for line in key_map(table))


def test_beside_another_source_keys_do_not_move_the_arm() -> None:
    for source in ("gamepad", "leader"):
        table = key_table(named("ur5e_servo").command, source)
        assert not any(key.motion for key in table)
        assert {"let_go", "start", "discard"} <= {key.event for key in table}


def test_a_key_counts_until_its_timeout_and_opposite_keys_cancel() -> None:
    keyboard = Keyboard(key_table(named("ur5e_push").command, "keyboard"), 0.2)
    assert keyboard.press("w", 1.0) == ""
    keyboard.press("q", 1.1)
    assert keyboard.desired(1.2).motion == {"linear.x": 1.0, "linear.y": 1.0}
    assert keyboard.desired(1.25).motion == {"linear.x": 1.0, "linear.y": 1.0}, "q alone"
    assert keyboard.desired(1.31).motion == {}
    keyboard.press("w", 2.0)
    keyboard.press("s", 2.0)
    assert keyboard.desired(2.0).motion == {}
    assert keyboard.press("+", 2.0) == "faster" and keyboard.press("%", 2.0) == ""


def test_a_dead_zone_ends_where_motion_begins_slowly() -> None:
    stick = Joystick(LAYOUTS["spacemouse"], ("linear.x",), 0.1, 0.3)
    stick.take([0.0] * 6, [0, 0], 0.0)
    for value, share in ((0.1, 0.0), (0.55, 0.5), (-1.0, -1.0), (-3.0, -1.0)):
        stick.take([value] + [1.0] * 5, [1, 0], 0.0)
        assert stick.desired(0.1).motion.get("linear.x", 0.0) == pytest.approx(share)
    assert stick.desired(0.31).motion == {}


@pytest.mark.parametrize("fault", ["nan", "axes", "buttons"])
@pytest.mark.parametrize("stopped", [False, True])
def test_after_a_message_at_fault_the_joystick_must_be_let_go_once(
    fault: str, stopped: bool
) -> None:
    stick = Joystick(LAYOUTS["spacemouse"], ("linear.x",), 0.1, 0.3)
    held: tuple[list[float], list[int]] = [1.0] * 6, [1, 0]
    stick.take([0.0] * 6, [0, 0], 0.0)
    stick.take(*held, 0.0)
    assert stick.desired(0.0).motion == {"linear.x": 1.0}
    if stopped:
        stick.let_go()
    wrong = {"nan": ([math.nan] * 6, [1, 0]), "axes": ([], [1, 0]), "buttons": ([1.0] * 6, [])}
    stick.take(*wrong[fault], 0.1)
    assert stick.desired(0.1).motion == {}
    stick.take(*held, 0.2)
    assert stick.desired(0.2) == TeleopCommand(hint="let everything go once, then it moves")
    stick.take([1.0] * 6, [0, 0], 0.3)
    stick.take(*held, 0.3)
    assert stick.desired(0.3).motion == {"linear.x": 1.0}


def test_a_button_says_something_once_for_each_press_and_nothing_at_first() -> None:
    pad = Joystick(LAYOUTS["gamepad"], ("linear.x",), 0.1, 0.3)
    held = [0, 0, 0, 1, 0, 0, 0, 1]
    assert pad.take([0.0] * 8, held, 0.0) == []
    assert pad.take([0.0] * 8, [0] * 8, 0.1) == []
    assert pad.take([0.0] * 8, held, 0.2) == ["start", "success"]
    assert pad.take([0.0] * 8, held, 0.3) == []
    assert pad.take([], [], 0.4) == []


def leader(**changes: Any) -> Leader:
    values: dict[str, Any] = {"names": (), "scales": (), "offsets": (), "near": 0.1, "far": 0.5}
    return Leader(named("ur5e_trajectory").command, **(values | changes), timeout=0.3)


def test_a_takeover_begins_with_a_press_that_was_seen_released_and_ends_with_the_release() -> None:
    hold = Hold()
    seen = [True, False, True, True, None, True, False, None, True]
    events = [hold.follow(held, is_taken=False) for held in seen]
    # What is held from the start, or when the device is back, takes nothing over.
    assert events == ["", "", "take", "", "", "", "let_go", "", ""]


def test_what_is_held_does_not_end_a_takeover_that_a_key_began() -> None:
    hold = Hold()
    hold.latch()
    assert [hold.follow(h, is_taken=True) for h in (False, True, False)] == ["", "", ""]
    assert [hold.follow(h, is_taken=False) for h in (True, False)] == ["take", "let_go"]


def test_a_joystick_tells_what_is_held_and_that_it_does_not_know() -> None:
    layout, still, pushed = LAYOUTS["gamepad"], [0.0] * 8, [0.0, 1.0, *[0.0] * 6]
    joystick = Joystick(layout, ("linear.x", "linear.y"), 0.1, 0.3)
    assert joystick.held(0.0) is None
    joystick.take(pushed, [0] * 11, 1.0)
    assert joystick.held(1.0) is False, "the button counts, not the stick"
    joystick.take(still, [0, 0, 0, 0, 1, *[0] * 6], 1.1)
    assert joystick.held(1.2) is True
    assert joystick.held(1.5) is None, "it is silent"
    free = dataclasses.replace(layout, buttons={**layout.buttons, "deadman": -1})
    joystick = Joystick(free, ("linear.x", "linear.y"), 0.1, 0.3)
    for axes, held in ((still, False), (pushed, True)):
        joystick.take(axes, [0] * 11, 1.0)
        assert joystick.held(1.0) is held


def test_a_key_is_held_until_some_time_after_it_came_last() -> None:
    keyboard = Keyboard(key_table(named("ur5e_push").command, "keyboard"), 0.2)
    assert not keyboard.is_held(0.0, 0.8)
    keyboard.press("+", 1.0)
    assert not keyboard.is_held(1.0, 0.8), "it does not move the arm"
    keyboard.press("w", 1.0)
    assert keyboard.is_held(1.8, 0.8) and not keyboard.is_held(1.81, 0.8)
    keyboard.keep(2.0)
    assert keyboard.is_held(2.8, 0.8) and not keyboard.desired(2.0).motion
    keyboard.stop()
    assert not keyboard.is_held(1.0, 0.8)


def test_a_command_between_two_periods_moves_a_position_by_its_share_of_one() -> None:
    interface = named("fr3_pose")
    mapping, limits = TeleopMapping(interface, 1.0), Limits.of(interface)
    told, step = np.array([0.5, 0.0, 0.3]), limits.max_velocity[0] / interface.rate
    for seconds, share in ((None, 1.0), (0.02, 0.2), (5.0, 1.0)):
        moved = mapping.actions(TeleopCommand({"linear.x": 1.0}), told, limits, seconds)
        assert moved[0, 0] - told[0] == pytest.approx(share * step)


def test_a_leader_is_mapped_by_name_by_order_and_by_what_the_parameters_say() -> None:
    names = named("ur5e_trajectory").action.names
    measured = RobotState(dict.fromkeys(names, 0.0), {}, {})
    positions = [0.01 * i for i in range(7)]
    same, other = [*names[::-1], "x"], [f"j{i}" for i in range(7)]
    for arm, sent, wanted in (
        (leader(), (same, [*positions[::-1], 9.0]), positions),
        (leader(), (other, positions), positions),
        (leader(names=other[::-1]), (other, positions), positions[::-1]),
        (
            leader(scales=[-1.0] * 6 + [2.0], offsets=[0.01] * 6 + [0.5]),
            (other, positions),
            [0.01 - p for p in positions[:6]] + [0.62],
        ),
    ):
        arm.take(sent[0], sent[1], 0.0)
        desired = arm.desired(0.1, measured)
        assert desired.target == pytest.approx(wanted) and not desired.problem


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ((["a", "b"], [0.0, 0.0]), "the leader arm has no 'elbow_joint'; it has a, b"),
        (([], [math.nan] * 7), "the leader arm sends what is not a number"),
    ],
)
def test_a_leader_that_does_not_fit_is_named(sent: Any, told: str) -> None:
    arm = leader()
    arm.take(sent[0], sent[1], 0.0)
    measured = RobotState(dict.fromkeys(named("ur5e_trajectory").action.names, 0.0), {}, {})
    assert arm.desired(0.0, measured) == TeleopCommand(problem=told)
    assert leader().desired(0.0, measured).problem == "no message of the leader arm yet"
    assert arm.desired(0.4, measured).target is None


def test_a_velocity_takes_no_leader() -> None:
    action = named("ur5e_joint_velocity").command
    with pytest.raises(ValueError, match="commands std_msgs/msg/Float64MultiArray \\(velocity"):
        Leader(action, (), (), (), 0.1, 0.5, 0.3)


def test_each_direction_has_its_own_bound() -> None:
    values = named("ur5e_push").to_dict()
    values["action"] |= {"low": [-0.1, 0.05], "high": [0.2, 0.2]}
    interface = interface_from_dict(values, "x")
    mapping, limits = TeleopMapping(interface, 0.5), Limits.of(interface)
    for shares, expected in (((1, 1), (0.1, 0.1)), ((-1, -1), (-0.05, 0.0)), ((0, 0), (0, 0))):
        desired = TeleopCommand(dict(zip(("linear.x", "linear.y"), shares, strict=True)))
        assert mapping.actions(desired, None, limits)[0, :2] == pytest.approx(expected)


def test_a_plan_goes_on_for_a_second_period_and_a_grip_is_kept() -> None:
    interface = named("fr3_trajectory")
    mapping, limits = TeleopMapping(interface, 1.0), Limits.of(interface)
    assert mapping.act("joint_2") and mapping.act("grip_high") and not mapping.act("start")
    told = np.zeros(7)
    plan = mapping.actions(TeleopCommand({"joint": -1.0}), told, limits)
    step = limits.max_velocity[2] / interface.rate
    assert plan[:, 2] == pytest.approx([-step, -2 * step])
    assert plan[:, 7] == pytest.approx(0.8) and not plan[:, [0, 1, 3, 4, 5, 6]].any()


def test_what_deletes_is_a_capital_letter_that_is_pressed_twice() -> None:
    by_event = {key.event: key.name for key in RECORDING}
    assert by_event["discard"].isupper() and by_event["rerecord"].isupper()
    confirmation = Confirmation()
    assert confirmation.question("discard", 0.0).startswith("discard it? The same key")
    assert confirmation.question("discard", 1.0) == ""
    assert confirmation.question("discard", 1.5) != "", "each time anew"
    assert confirmation.question("rerecord", 1.6) != "", "what was asked about is another thing"
    assert confirmation.question("", 1.7) == "", "another key withdraws it"
    assert confirmation.question("rerecord", 1.8) != ""
    assert confirmation.question("rerecord", 5.0) != "", "too late"
    assert confirmation.question("success", 5.1) == "", "what keeps an episode is not asked about"
    assert confirmation.question(LIVE, 6.0).startswith("the arm moves? The same key")
    assert confirmation.pending(8.9).startswith("the arm moves?")
    assert confirmation.pending(9.1) == "", "it is too late for the second press"
    assert confirmation.question(LIVE, 8.0) == "" and confirmation.pending(8.0) == ""


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.stem)
def test_no_key_that_moves_the_arm_does_something_to_an_episode(path: Path) -> None:
    keys = key_table(with_gripper(path).command, "keyboard")
    assert [key for key in keys if key in RECORDING] == list(RECORDING)
    assert not {k.name for k in RECORDING} & {k.name for k in keys if k not in RECORDING}
