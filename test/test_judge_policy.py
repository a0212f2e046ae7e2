"""judge_policy: an operator's blind trials with the real nodes, the simulation, and bad input."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import dropwhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from laboratory import TIMEOUT, Laboratory, Operator, Person, eventually
from programs import run
from robot import parameters
from sensor_msgs.msg import Image
from station import Station
from std_msgs.msg import String

from ebm_policy_ros.bags.bag import Bag
from ebm_policy_ros.bags.discovery import find_bags
from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.nodes.judge.node import JudgeNode
from ebm_policy_ros.nodes.judge.starts_node import StartsNode
from ebm_policy_ros.nodes.judge.trial_nodes import TrialNodes
from ebm_policy_ros.sim import judge
from ebm_policy_ros.trials.log import Outcome, TrialLog
from ebm_policy_ros.trials.plan import claim_folder
from ebm_policy_ros.trials.starts import add_start, find_starts, read_start
from ebm_policy_ros.util.resources import interface_path

pytestmark = pytest.mark.ros


def test_an_operator_judges_two_policies_without_learning_which_one_runs(
    laboratory: Laboratory, capfd: pytest.CaptureFixture[str]
) -> None:
    diagnosed: list[Any] = []
    laboratory.station.robot.node.create_subscription(
        DiagnosticArray, "/diagnostics", diagnosed.append, 10
    )
    capfd.readouterr()  # the policy that the node was started with is no secret
    operator = laboratory.judge()
    operator.answers("Y")
    operator.reads("trial 1: success after")
    operator.answers("N")
    operator.reads("trial 2: failure after")
    operator.reads("Block 1 was the last")
    operator.ends()
    first, second = laboratory.trials()
    assert {first.policy, second.policy} == {"energy", "explicit"}
    assert (first.result, second.result) == ("success", "failure")
    assert first.start == second.start == "1" and first.seconds > 0 and first.stops == 0
    eventually(lambda: "a hidden policy" in str(diagnosed[-1:]))
    log = capfd.readouterr().err
    assert log.count("a hidden policy decides from now on") == 2
    for name in ("energy.safetensors", "explicit", first.sha256[:6], second.sha256[:6]):
        assert name not in operator.seen and name not in log and name not in str(diagnosed[-1])
    assert laboratory.policy.control_loop is not None
    loaded = laboratory.policy.control_loop.loaded
    assert loaded.name.endswith("blind/trial_0002.safetensors"), "and no node tells it"
    assert loaded.sha256 == second.sha256
    assert laboratory.policy.safety.reason == "~/stop was called", "nothing moves afterwards"
    for trial, note in ((first, "trial 1: success"), (second, "trial 2: failure")):
        custom = Bag(Path(trial.bag)).custom
        assert (custom["outcome"], custom["note"]) == (trial.result, note)


def test_a_policy_node_that_waits_for_its_start_is_started(laboratory: Laboratory) -> None:
    laboratory.station.remove(laboratory.policy)
    laboratory.policy = laboratory.station.add_policy(autostart=False)
    operator = laboratory.judge()
    operator.answers("Y")
    operator.reads("trial 1: success after")
    operator.leaves()


def test_stops_are_counted_and_a_void_trial_is_repeated_after_a_restart(
    laboratory: Laboratory,
) -> None:
    operator = laboratory.judge()
    operator.answers(" ")
    operator.reads("Stopped: ~/stop was called")
    operator.press("R")
    operator.reads(" s | Moving the arm")
    operator.press("X")
    operator.reads("trial 1: void after")
    operator.reads("trial 2, block 1: set up start 1")
    operator.leaves()
    (void,) = laboratory.trials()
    assert (void.result, void.stops, void.note) == ("void", 1, "~/stop was called")
    assert Bag(Path(void.bag)).custom["note"] == "trial 1: void"
    operator = laboratory.judge()
    operator.answers("Y")
    operator.reads("trial 2: success after")
    operator.leaves()
    assert laboratory.trials()[1].policy == void.policy


def test_a_recorder_whose_disk_is_full_is_told_and_the_trial_begins_later(
    laboratory: Laboratory,
) -> None:
    laboratory.station.remove(laboratory.recorder)
    full = laboratory.add_recorder(min_free=1e5)
    operator = laboratory.judge()
    operator.reads("enter: begin")
    operator.press("\n")
    operator.reads("trial 1 cannot begin: the recorder does not start: the disk is full")
    operator.reads("enter: try again, Q: end for now")
    laboratory.station.remove(full)
    laboratory.add_recorder()
    operator.press("\n")
    operator.answers("Y")
    operator.reads("trial 1: success after")
    operator.leaves()


def test_a_disk_that_gets_full_during_a_trial_makes_it_void(laboratory: Laboratory) -> None:
    robot, random = laboratory.station.robot, np.random.default_rng(0)

    def publish_noise() -> None:  # which doesn't compress
        image = Image(height=120, width=160, encoding="rgb8", step=480)
        image.data = random.bytes(120 * 160 * 3)
        image.header.stamp = robot.node.get_clock().now().to_msg()
        robot.camera.publish(image)

    operator = laboratory.judge()
    operator.begins()
    robot.repeat(0.02, publish_noise)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))
    try:
        operator.reads("trial 1: void after")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    operator.reads("the recorder has ended the bag early; the bag is not kept: ")
    operator.reads("the last one ended early and is in")
    operator.answers("Y")
    operator.reads("trial 2: success after")
    operator.leaves()
    void, repeated = laboratory.trials()
    assert void.policy == repeated.policy and void.bag == "" and repeated.bag


def test_a_recorder_that_is_lost_makes_the_trial_void(laboratory: Laboratory) -> None:
    operator = laboratory.judge()
    operator.begins()
    laboratory.station.remove(laboratory.recorder)
    operator.reads("trial 1: void after ")
    operator.reads("the recorder is silent")
    operator.reads("trial 2, block 1")
    operator.leaves()
    (trial,) = laboratory.trials()
    assert trial.result == "void" and trial.note.startswith("the recorder is silent")


def test_the_operator_sees_the_wanted_start_over_the_live_picture(laboratory: Laboratory) -> None:
    laboratory.starts = laboratory.folder / "starts"
    add_start(laboratory.starts, np.full((60, 80, 3), 200, np.uint8))
    shown: list[Any] = []
    laboratory.station.robot.node.create_subscription(
        Image, "judge_node/start_overlay", shown.append, 1
    )
    operator = laboratory.judge()
    operator.reads("set up start start_001")
    deadline = time.monotonic() + TIMEOUT
    # The camera's picture is black: half of each is 100.
    while not (shown and set(shown[-1].data) == {100}):
        assert time.monotonic() < deadline, shown
        time.sleep(0.02)
    assert (shown[-1].height, shown[-1].width) == (120, 160)
    written = laboratory.out / "start_overlay.png"
    while not (written.exists() and (read_start(written) == 100).all()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    operator.answers("Y")
    operator.reads("trial 1: success")
    operator.leaves()
    assert laboratory.trials()[0].start == "start_001"


def test_starts_are_taken_with_the_camera_by_a_key(
    station: Station, policy_file: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "starts"
    operator = Operator(station, StartsNode, folder=str(folder), policy=str(policy_file()))
    operator.press("\n")  # too early: there is none yet
    operator.reads("0 starts | P: take this picture as a start")
    for number in (1, 2):
        operator.press("P")
        operator.reads(f"took {folder}/start_00{number}.png")
    operator.press("\n")
    operator.ends()
    assert [(read_start(path) == 0).all() for path in find_starts(folder)] == [True, True]


def test_each_time_that_a_person_takes_over_is_counted_once(robot: Any, tmp_path: Path) -> None:
    nodes = TrialNodes(robot.node, "policy_node", "recorder_node", [], tmp_path, patience=1.0)
    publisher = robot.node.create_publisher(String, "policy_node/status", 10)
    robot.until(lambda: publisher.get_subscription_count() == 1)
    for commander, state in (
        ("policy", "fresh"), ("person", "fresh"), ("person", "fresh"), ("policy", "stopped"),
        ("policy", "stopped"), ("person", "fresh"), (None, "stopped"),
    ):  # fmt: skip
        status = {"commander": commander, "state": state, "reason": "why"}
        publisher.publish(String(data=json.dumps(status)))
        robot.until(lambda status=status: status.items() <= nodes.policy.items())
        nodes.watch()
    assert (nodes.takeovers, nodes.stops, nodes.reasons) == (2, 2, ["why", "why"])


def test_the_node_says_when_there_is_no_terminal_or_no_comparison(
    context: Any, laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebm_policy_ros.nodes.judge.questions.open_terminal", lambda: None)

    def start(**values: Any) -> None:
        JudgeNode(context=context, parameter_overrides=parameters(**values))

    with pytest.raises(ValueError, match="out: got none, expected the folder with comparison"):
        start()
    with pytest.raises(ValueError, match=r"comparison\.json: "):
        start(out=str(laboratory.folder))
    claim_folder(laboratory.out, laboratory.comparison)
    with pytest.raises(ValueError, match="policies: got 0 files, expected 2"):
        start(out=str(laboratory.out))
    with pytest.raises(ValueError, match="judge_policy needs a terminal, in the foreground"):
        start(out=str(laboratory.out), policies=["a", "b"])


# Command


@pytest.mark.slow
def test_the_command_takes_starts_and_ctrl_c_stops_the_arm_and_reveals_nothing(
    laboratory: Laboratory,
) -> None:
    person, out = Person(), laboratory.out
    policies = [str(path) for path in laboratory.policies]
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "ebm_policy_ros.sim.judge", "--trials=1",
         f"--policies={json.dumps(policies)}", f"--out={out}",
         f"--starts={laboratory.folder / 'starts'}"],
        stdin=person.near, stdout=person.near, stderr=person.near,
    )  # fmt: skip
    person.reads("0 starts | P: take this picture as a start, enter: that was all")
    while "start_001.png" not in person.seen:  # the camera may not have been heard yet
        person.press("P")
        person.reads(" start")  # that one was taken, or none
    person.press("\n")
    person.reads("trial 1, block 1: set up start start_001")
    person.answers("Y")
    person.reads("trial 1: success after")
    person.begins()
    person.press("\x03")
    assert process.wait(TIMEOUT) == 130
    person.reads("judge_policy: interrupted; start the same command again to continue")
    assert laboratory.policy.safety.state is SafetyState.STOPPED
    notes = [Bag(bag).custom["note"] for bag in find_bags(laboratory.folder / "bags")]
    assert notes == ["trial 1: success", "trial 2: void: interrupted"]
    assert len((out / "trials.jsonl").read_text().splitlines()) == 1
    assert not (out / "index.html").exists() and "energy" not in person.seen
    person.close()


@pytest.fixture
def refusal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., str]:
    """Function that returns the one line with which the command refuses its options."""
    monkeypatch.chdir(tmp_path)

    def refuse(*options: str) -> str:
        with pytest.raises(SystemExit) as exit_:
            judge.main(list(options))
        assert exit_.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        line = lines[0]
        return line.removeprefix("judge_policy: ")

    return refuse


def test_the_nodes_that_ask_are_where_the_page_of_that_arm_looks() -> None:
    left = ["-r", "__ns:=/left"]
    for name, recorder, remapped, found in (
        ("/left/policy_node", "recorder_node", left, "/recorder_node"),
        ("/left/policy_node", "/left/recorder_node", left, "/left/recorder_node"),
        ("left/policy_node", "recorder_node", [], "recorder_node"),
        ("/policy_node", "recorder_node", [], "recorder_node"),
        ("policy_node", "recorder_node", [], "recorder_node"),
    ):
        args = judge.JudgeArgs(["a", "b"], Path("out"), policy_node=name, recorder=recorder)
        program = judge._program_on_arm(args, {})
        assert program.parameters["recorder"] == found
        assert [*dropwhile(lambda word: word != "-r", program.command())] == remapped


def test_policies_that_cannot_be_compared_are_refused(
    refusal: Callable[..., str], policy_file: Callable[..., Path], policy_for: Any, tmp_path: Path
) -> None:
    first, second = policy_file(), policy_file("explicit")

    def given(*policies: object, more: str = "--task=push") -> str:
        return refusal(f"--policies=[{', '.join(map(str, policies))}]", "--out=o", more)

    assert given(first) == "--policies: got 1, expected at least two"
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(first.read_bytes())
    assert given(first, copy).startswith("--policies: got energy and copy, which are the same")
    lifting = policy_for(load_interface(interface_path("ur5e_lift")), [-0.2] * 3, [0.2] * 3)
    line = given(first, lifting)
    assert line.startswith("--policies: got ur5e_lift, which is for another interface than energy")
    assert given(first, "none.safetensors").startswith("none.safetensors: no such policy file")
    line = given(first, second, more="--task=sort")
    assert line.startswith("--policies: got energy, which is for another interface than ur5e_lift")
    assert given(first, second, more="--trials=0") == "--trials: got 0, expected an integer >= 1"
    starts = refusal(f"--policies=[{first}, {second}]", "--out=o", "--task=push", "--starts=s")
    assert starts == "--starts: got a folder, expected none: a simulation has seeds"
    assert not Path("o").exists()


def test_a_folder_of_other_policies_is_refused(
    refusal: Callable[..., str], policy_file: Callable[..., Path], laboratory: Laboratory
) -> None:
    claim_folder(laboratory.out, laboratory.comparison)
    third = policy_file("mixture")
    line = refusal(f"--policies=[{policy_file()}, {third}]", f"--out={laboratory.out}")
    assert "holds trials of other policies: energy (" in line and "mixture (" in line


def test_an_output_folder_that_cannot_be_used_is_refused_before_starts_are_taken(
    refusal: Callable[..., str], laboratory: Laboratory
) -> None:
    first, second = laboratory.policies
    given = f"--policies=[{first}, {second}]", f"--out={laboratory.out}", "--starts=none"
    laboratory.out.mkdir()
    (laboratory.out / "thesis.txt").write_text("all of it")
    assert "is not empty and has no comparison.json" in refusal(*given)
    (laboratory.out / "thesis.txt").unlink()
    claim_folder(laboratory.out, laboratory.comparison)
    line = f"--starts: got none without pictures, but {laboratory.out} holds trials already"
    assert refusal(*given).startswith(line)


def test_a_line_that_a_crash_cut_is_told_at_the_terminal(
    laboratory: Laboratory, capfd: pytest.CaptureFixture[str]
) -> None:
    claim_folder(laboratory.out, laboratory.comparison)
    log = TrialLog(laboratory.out, laboratory.comparison)
    for _ in range(2):
        log.append(log.planned, Outcome("success", 3.5))
    log.close()
    with log.path.open("ab") as file:
        file.write(b'{"number": 3, "blo')
    first, second = laboratory.policies
    judge.main([f"--policies=[{first}, {second}]", f"--out={laboratory.out}", "--trials=1"])
    told = capfd.readouterr().out
    assert "the last line was cut by a crash and is now in trials.cut; that trial is" in told
    assert told.count("cut by a crash") == 1 and "1/1" in told
    assert "on the arm" in (laboratory.out / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.sim
def test_the_simulation_runs_blocks_and_goes_on_where_it_was_cut(
    tmp_path: Path, unsure_policy_file: Path
) -> None:
    out = tmp_path / "out"
    command = (
        "sim.judge", "--task", "push", "--out", str(out),
        "--policies", f"[ur5e_push, {unsure_policy_file}]", "--trials",
    )  # fmt: skip
    done = run(*command, "1")
    assert done.returncode == 0, done.stderr
    assert "Block 1 was the last" in done.stdout and "1/1" in done.stdout
    lines = (out / "trials.jsonl").read_text().splitlines()
    found = {trial["policy"]: trial for trial in map(json.loads, lines)}
    assert {trial["start"] for trial in found.values()} == {"100000"}
    assert (found["ur5e_push"]["result"], found["ur5e_push"]["stops"]) == ("success", 0)
    assert (found["unsure"]["result"], found["unsure"]["stops"]) == ("failure", 1)
    assert "unsure" in found["unsure"]["note"] and "0/1" in done.stdout
    assert sorted(path.name for path in (out / "videos").iterdir()) == [
        "trial_0001.mp4", "trial_0002.mp4",
    ]  # fmt: skip
    (out / "trials.jsonl").write_text(lines[0] + "\n" + lines[1][:40])
    again = run(*command, "1")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("the last line was cut by a crash") == 1
    kept, repeated = map(json.loads, (out / "trials.jsonl").read_text().splitlines())
    before = json.loads(lines[1])
    assert kept == json.loads(lines[0])
    for key in ("policy", "start", "result"):
        assert repeated[key] == before[key], "the same trial of the same seed"
    assert (out / "trials.cut").read_text() == lines[1][:40] + "\n"
    other = run(*command, "1", "--seed", "5")
    assert other.returncode == 2
    assert "holds trials of another seed: 100000, not 5" in other.stderr
