"""judge_policy: STOP, keys, and nodes that others command while an operator judges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from laboratory import Laboratory, Operator, SlowRecorder, eventually
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from station import Station

from ebm_policy_ros.bags.bag import Bag
from ebm_policy_ros.bags.discovery import find_bags
from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.nodes.judge.starts_node import StartsNode
from ebm_policy_ros.trials.starts import add_start

pytestmark = pytest.mark.ros


def slowed(laboratory: Laboratory) -> SlowRecorder:
    """Recorder of a laboratory, in place of the usual one."""
    laboratory.station.remove(laboratory.recorder)
    slow: SlowRecorder = laboratory.add_recorder(SlowRecorder)
    return slow


def test_a_stop_pressed_with_enter_wins(laboratory: Laboratory) -> None:
    operator = laboratory.judge()
    operator.reads("enter: begin")
    operator.press("\n Q")
    operator.ends()
    assert laboratory.policy.safety.state is SafetyState.STOPPED
    assert not list((laboratory.folder / "bags").iterdir()) and laboratory.trials() == []


def test_a_stop_while_the_recorder_starts_keeps_the_arm_still(laboratory: Laboratory) -> None:
    slow, safety = slowed(laboratory), laboratory.policy.safety
    operator = laboratory.judge()
    operator.reads("enter: begin")
    operator.press("\n")
    eventually(lambda: slow.asked)
    stops = safety.stops
    operator.press(" ")
    eventually(lambda: safety.stops > stops)
    slow.is_let = True
    operator.reads("trial 1 cannot begin: STOP was pressed")
    operator.reads("enter: try again")
    operator.leaves()
    assert safety.state is SafetyState.STOPPED
    (bag,) = find_bags(laboratory.folder / "bags")
    assert Bag(bag).custom["note"] == "trial 1: void: did not begin"


def is_stopped_before_each_reset(laboratory: Laboratory, patch: pytest.MonkeyPatch) -> None:
    """Another program's stop arrives when judge_policy's reset is on its way already."""
    safety = laboratory.policy.safety
    reset = safety.reset

    def stop_and_reset() -> None:
        safety.stop("~/stop was called")
        reset()

    patch.setattr(safety, "reset", stop_and_reset)


def test_a_stop_right_before_the_reset_of_begin_is_not_left(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_stopped_before_each_reset(laboratory, monkeypatch)
    operator = laboratory.judge()
    operator.reads("enter: begin")
    operator.press("\n")
    operator.reads(
        "trial 1 cannot begin: the policy does not leave its stop: it was stopped meanwhile"
    )
    operator.reads("enter: try again")
    operator.leaves()
    assert laboratory.policy.safety.state is SafetyState.STOPPED
    assert laboratory.trials() == []


def test_a_stop_right_before_a_reset_during_a_trial_is_not_left(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, safety = laboratory.judge(), laboratory.policy.safety
    operator.begins()
    operator.press(" ")
    operator.reads(" s | Stopped")
    is_stopped_before_each_reset(laboratory, monkeypatch)
    operator.press("R")
    operator.reads("reset: the policy does not leave its stop: it was stopped meanwhile")
    assert safety.state is SafetyState.STOPPED
    monkeypatch.undo()
    operator.press("R")
    operator.reads(" s | Moving the arm")
    operator.press("Y")
    operator.reads("trial 1: success after")
    operator.leaves()
    assert safety.state is SafetyState.STOPPED


def test_enter_pressed_ahead_begins_no_trial(laboratory: Laboratory) -> None:
    slow = slowed(laboratory)
    slow.is_let = True
    operator = laboratory.judge()
    operator.begins()
    slow.is_let = False
    asked = slow.asked
    operator.press("Y")
    eventually(lambda: slow.asked > asked)
    operator.press("\nY")
    slow.is_let = True
    operator.reads("trial 1: success after")
    operator.reads("enter: begin")
    operator.leaves()
    assert [trial.result for trial in laboratory.trials()] == ["success"]
    assert laboratory.policy.safety.state is SafetyState.STOPPED


def test_a_policy_that_is_let_go_during_the_set_up_is_stopped_and_enter_is_asked_anew(
    laboratory: Laboratory,
) -> None:
    operator = laboratory.judge()
    operator.reads("enter: begin")
    laboratory.asks("policy_node/reset")
    operator.reads("the policy was let go and is stopped again: check the start anew")
    assert laboratory.policy.safety.state is SafetyState.STOPPED
    operator.answers("Y")
    operator.reads("trial 1: success after")
    operator.leaves()


def test_a_result_is_never_booked_to_a_policy_that_did_not_run(
    laboratory: Laboratory, policy_file: Callable[..., Path]
) -> None:
    other = policy_file("mixture")
    operator = laboratory.judge()
    operator.reads("enter: begin")
    laboratory.loads(other)
    operator.reads("trial 1 cannot begin: another policy was loaded meanwhile")
    operator.reads("enter: try again")
    operator.press("\n")
    operator.begins()
    laboratory.loads(other)
    operator.reads("trial 1: void after")
    operator.reads("another policy was loaded meanwhile")
    operator.leaves()
    assert [trial.result for trial in laboratory.trials()] == ["void"]


def test_a_bag_that_a_crash_left_running_is_ended_before_a_trial_and_notes_are_given_back(
    laboratory: Laboratory,
) -> None:
    laboratory.recorder.set_parameters([Parameter("note", value="new gripper")])
    laboratory.asks("recorder_node/start")
    operator = laboratory.judge()
    operator.answers("Y")
    operator.reads("trial 1: success after")
    operator.leaves()
    left, kept = (Bag(bag).custom for bag in find_bags(laboratory.folder / "bags"))
    assert left["outcome"] == "failure"
    assert left["note"] == "void: it ran when a trial was to begin"
    assert (kept["outcome"], kept["note"]) == ("success", "trial 1: success")
    assert laboratory.recorder.get_parameter("note").value == "new gripper"
    assert f"a bag that still ran was ended as a failure: {laboratory.folder}" in operator.seen


@pytest.mark.slow
@pytest.mark.parametrize(("key", "result"), [("N", "failure"), ("X", "void")])
def test_a_policy_that_takes_its_node_with_it_has_failed_unless_the_operator_says_otherwise(
    laboratory: Laboratory, key: str, result: str
) -> None:
    operator = laboratory.judge()
    operator.begins()
    laboratory.station.remove(laboratory.policy)
    operator.reads("use the emergency stop")
    operator.reads("/policy_node is silent | N: a failure of the policy, X: void")
    operator.press(key)
    operator.reads(f"trial 1: {result} after ")
    operator.reads(" cannot begin: the stop is not confirmed: ")
    operator.reads("enter: try again")
    operator.leaves()
    (trial,) = laboratory.trials()
    assert (trial.result, trial.note) == (result, "/policy_node is silent")
    assert Bag(Path(trial.bag)).custom["note"] == f"trial 1: {result}: /policy_node is silent"


def test_no_live_picture_is_told_and_shows_no_agreement(laboratory: Laboratory) -> None:
    laboratory.starts = laboratory.folder / "starts"
    add_start(laboratory.starts, np.full((60, 80, 3), 200, np.uint8))
    robot, shown = laboratory.station.robot, list[Any]()
    robot.node.create_subscription(Image, "judge_node/start_overlay", shown.append, 1)
    robot.camera = None
    operator = laboratory.judge()
    operator.reads("| no overlay: no picture on ")
    operator.leaves()
    assert shown == [] and not (laboratory.out / "start_overlay.png").exists()


def test_a_start_that_cannot_be_read_any_more_is_told(laboratory: Laboratory) -> None:
    laboratory.starts = laboratory.folder / "starts"
    path = add_start(laboratory.starts, np.full((60, 80, 3), 200, np.uint8))
    operator = laboratory.judge()
    operator.begins()
    path.write_text("no picture")
    operator.press("Y")
    operator.reads(f"trial 2 cannot begin: {path}: ")
    operator.reads("enter: try again")
    operator.leaves()


def test_a_policy_that_moves_while_starts_are_taken_is_stopped(
    station: Station, policy_file: Callable[..., Path], tmp_path: Path
) -> None:
    policy = station.add_policy()
    eventually(lambda: policy.is_active)
    operator = Operator(
        station, StartsNode, folder=str(tmp_path / "starts"), policy=str(policy_file())
    )
    operator.reads("the policy was active: it is stopped")
    assert policy.safety.state is SafetyState.STOPPED
    operator.reads("0 starts | P: take this picture as a start")
    operator.press("P")
    operator.reads("took ")
    operator.press("\n")
    operator.ends()
