"""Replay of a recorded episode through the policy node, as a check before the arm moves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from demonstration import (
    SECOND,
    START,
    Sent,
    demonstration,
    header,
    image,
    joints,
    message,
    sent,
    twist,
    write_bag,
    write_mcap,
)
from two_arms import joint_arm, two_arms

pytest.importorskip("rclpy")

from ebm_policy_ros.bags.bag import Bag
from ebm_policy_ros.bags.cdr import decode
from ebm_policy_ros.bags.read_report import BagError, Channel
from ebm_policy_ros.bags.topics import restamped
from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.sim.replay.command import main
from ebm_policy_ros.sim.replay.player import read_ahead
from ebm_policy_ros.sim.replay.proposals import Proposals
from ebm_policy_ros.training.data.action_commands import ActionCommands
from ebm_policy_ros.training.data.timeline import wanted_topics
from ebm_policy_ros.util.resources import interface_path

SAMPLE = Path(__file__).parent / "data" / "push"


def run(*arguments: str) -> int:
    try:
        main(list(arguments))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.slow
@pytest.mark.ros
def test_the_shipped_policy_passes_on_the_sample_and_a_limit_that_is_not_met_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "replay"
    # The test is about behaviour, not about the speed of this machine.
    code = run(str(SAMPLE), "--out", str(out), "--device", "cpu", "--max_latency", "1e9")
    content = json.loads((out / "replay.json").read_text())
    found = {check["name"]: check for check in content["checks"]}
    error = found["action error (m/s)"]
    assert error["limit"] == pytest.approx(2 * 0.019033, rel=1e-3)
    # Replay runs in real time: on a busy machine a step is late, and the error is larger.
    assert 0 < error["value"] < 2 * error["limit"]
    assert error["passed"] == (error["value"] <= error["limit"])
    assert found["share of unsure decisions"]["passed"]
    (episode,) = content["episodes"]
    assert episode["counts"]["decisions"] >= 0.8 * episode["steps"]
    assert (out / "replay.png").stat().st_size > 10_000
    assert code == (0 if content["ready"] else 1)
    capsys.readouterr()
    second = tmp_path / "second"
    assert run(str(SAMPLE), "--out", str(second), "--device", "cpu", "--max_error", "1e-6") == 1
    assert "FAILED" in capsys.readouterr().out
    assert run(str(SAMPLE), "--out", str(second)) == 2
    assert "second: exists" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.ros
def test_a_policy_that_would_stop_on_the_arm_is_not_ready(
    unsure_policy_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "replay"
    assert run(str(SAMPLE), "--out", str(out), "--policy", str(unsure_policy_file)) == 1
    content = json.loads((out / "replay.json").read_text())
    assert not content["ready"]
    assert sum(content["counts"].get(f"times {state}", 0) for state in ("hold", "stopped")) >= 1
    found = {check["name"]: check for check in content["checks"]}
    assert not found["times it would have stood still"]["passed"]


@pytest.mark.slow
@pytest.mark.ros
def test_a_pause_of_an_hour_is_cut_short(tmp_path: Path) -> None:
    interface = load_interface(interface_path("ur5e_push"))
    topics = wanted_topics(interface)
    shifted = []
    for number, played in enumerate(Bag(SAMPLE).messages(topics)):
        hour = 3600 * SECOND if number >= 40 else 0
        stamp = stamp_ns(played.content) + START + hour
        data = restamped(played.data, stamp)
        shifted.append(Sent(f"/{played.topic}", topics[played.topic], stamp, data))
    bag = write_mcap(tmp_path / "paused.mcap", shifted)
    out = tmp_path / "replay"
    patient = tmp_path / "patient.yaml"
    content = interface.to_dict()
    for stream in content["observation"].values():
        # Half the longest pause: a busy machine that pauses for less holds only once.
        stream["max_age"] = 1.0
    patient.write_text(yaml.safe_dump(content))
    options = ("--device", "cpu", "--max_latency", "1e9", "--interface", str(patient))
    assert run(str(bag), "--out", str(out), *options) == 1
    assert "a gap of 3600" in (out / "logs" / "replay_node.log").read_text()
    content = json.loads((out / "replay.json").read_text())
    assert content["counts"]["times hold"] == 1, "it stood still in the pause"


MILLISECOND = SECOND // 1000


def trajectory(stamp: int, value: float) -> Any:
    """Trajectory of the left arm that reaches a position after one period."""
    kind = "trajectory_msgs/msg/JointTrajectoryPoint"
    duration = message("builtin_interfaces/msg/Duration", sec=0, nanosec=100 * MILLISECOND)
    other = dict.fromkeys(("velocities", "accelerations", "effort"), np.empty(0))
    place = np.array([value, 0.0])
    point = message(kind, positions=place, time_from_start=duration, **other)
    return message(
        "trajectory_msgs/msg/JointTrajectory",
        header=header(stamp),
        joint_names=["left_a", "left_b"],
        points=[point],
    )


def positions(value: float) -> Any:
    layout = message("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
    return message("std_msgs/msg/Float64MultiArray", layout=layout, data=np.array([value, 0.0]))


def test_proposals_of_one_decision_are_paired_whatever_their_stamps() -> None:
    """A trajectory has its observation's stamp, here 60 ms earlier, and an array has none."""
    left = joint_arm("left", type="trajectory_msgs/msg/JointTrajectory", topic="left/trajectory")
    robot = two_arms(left=left, right=joint_arm("right"))
    demonstrated, proposals = ActionCommands(robot), Proposals(robot)
    for step in range(4):
        received = START + (step * 100 + 70) * MILLISECOND
        seen = received - 60 * MILLISECOND
        demonstrated.add("left/trajectory", seen, trajectory(seen, 0.1 * step))
        demonstrated.add("right/position", received, positions(-0.1 * step))
        proposals.add(0, trajectory(seen, 0.5 + 0.1 * step), received)
        if step != 1:  # lost on the way
            proposals.add(1, positions(-0.5 - 0.1 * step), received + MILLISECOND)
    pairs = proposals.pairs(demonstrated, START)
    assert [pair[0] for pair in pairs] == pytest.approx([0.071, 0.271, 0.371])
    steps = [0.0, 0.2, 0.3]
    wanted = [[step, 0.0, -step, 0.0] for step in steps]
    proposed = [[0.5 + step, 0.0, -0.5 - step, 0.0] for step in steps]
    np.testing.assert_allclose([pair[1] for pair in pairs], wanted, atol=1e-6)
    np.testing.assert_allclose([pair[2] for pair in pairs], proposed, atol=1e-6)
    proposals.clear()
    assert proposals.pairs(demonstrated, START) == []


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    for arguments, text in (
        ((str(tmp_path / "nothing"), "--out", out), "no such folder"),
        ((str(SAMPLE), "--out", out, "--policy", "absent"), "no such policy file"),
        ((str(SAMPLE), "--out", out, "--episodes", "0"), "episodes: got 0"),
    ):
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert text in error and error.count("\n") == 1
    assert not os.path.exists(out)


def test_a_message_is_stamped_anew_and_nothing_else_of_it_changes() -> None:
    before = joints(START, ["a", "b"], [0.1, 0.2])
    kind = before.__msgtype__
    channel = Channel("/x", kind, "", "", "cdr")
    after = decode(channel, restamped(sent("/x", before, START).data, START + 1_234_567_890))
    assert stamp_ns(after) == START + 1_234_567_890
    assert (list(after.name), after.position.tolist()) == (["a", "b"], [0.1, 0.2])


def test_messages_are_played_with_their_delays_in_the_order_of_their_receipt(
    interface: Interface, tmp_path: Path
) -> None:
    camera, command = interface.observation["camera"].topic, interface.command.topic
    late = [
        sent(f"/{camera}", image(START, 1), START + 50_000_000),
        sent(f"/{command}", twist(START + 20_000_000, 0.1), START + 60_000_000),
        sent(f"/{camera}", image(0, 2), START + 90_000_000),
    ]
    topics = {camera: "sensor_msgs/msg/Image", command: interface.command.type}
    played = list(read_ahead(write_bag(tmp_path / "bag", late), topics))
    assert [(p.topic, p.after_ns) for p in played] == [
        (camera, 0),
        (command, 10_000_000),
        (camera, 40_000_000),
    ]
    assert [p.stamp_ns for p in played[:2]] == [-50_000_000, -30_000_000]
    assert [p.stamped for p in played] == [True, True, False]


def test_stamps_of_another_clock_are_played_as_fresh(interface: Interface, tmp_path: Path) -> None:
    """As from a simulation that was recorded with the system clock."""
    messages = demonstration(interface, 5, stamp=lambda time: time - START + 10**9)
    played = list(read_ahead(write_bag(tmp_path / "bag", messages), wanted_topics(interface)))
    assert all(abs(p.stamp_ns - p.after_ns) < 10_000_000 for p in played)


def test_a_bag_that_cannot_be_played_is_named(interface: Interface, tmp_path: Path) -> None:
    messages = [m for m in demonstration(interface, 5) if "camera" not in m.topic]
    with pytest.raises(BagError, match="no camera/image_raw"):
        list(read_ahead(write_bag(tmp_path / "bag", messages), wanted_topics(interface)))
