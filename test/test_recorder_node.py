"""Recorder over a real DDS: content of the bags for the published messages."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, TwistStamped
from robot import PERIOD, Robot, parameters
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.bags.bag import Bag
from ebm_policy_ros.bags.discovery import find_bags
from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import Interface, interface_from_dict, load_interface
from ebm_policy_ros.nodes.recorder.node import RecorderNode
from ebm_policy_ros.observation.buffer import ObservationBuffer
from ebm_policy_ros.training.data.episodes import (
    read_episode,
    read_recorded_interface,
)

pytestmark = pytest.mark.ros


@pytest.fixture
def recorder(robot: Robot, tmp_path: Path) -> Iterator[RecorderNode]:
    node = RecorderNode(
        context=robot.context,
        parameter_overrides=parameters(
            folder=str(tmp_path / "demos"), use_sim_time=True, keys=False
        ),
    )
    robot.add(node)
    robot.heard("/clock")
    yield node
    node.close()
    node.destroy_node()


def record(
    robot: Robot,
    steps: range,
    outcome: bool | None,
    also: Callable[[], None] = lambda: None,
) -> Any:
    commander = robot.node.create_publisher(TwistStamped, "servo_node/delta_twist_cmds", 10)
    for topic in robot.topics.values():
        robot.heard(topic)
    robot.heard("servo_node/delta_twist_cmds", 2)
    robot.tick(steps.start - 1)
    while not robot.call(Trigger, "recorder_node/start", Trigger.Request()).success:
        robot.tick(steps.start - 1)
    for step in steps:
        command = TwistStamped()
        command.header.stamp = Time(sec=step // 10, nanosec=step % 10 * PERIOD)
        command.header.frame_id = "base_link"
        command.twist.linear.x = step / 1000
        robot.tick(step)
        commander.publish(command)
        also()
        robot.command_at(step)
    if outcome is None:
        return robot.call(Trigger, "recorder_node/discard", Trigger.Request())
    return robot.call(SetBool, "recorder_node/stop", SetBool.Request(data=outcome))


def test_a_recorded_episode_gives_back_every_command_and_what_was_seen(
    robot: Robot, recorder: RecorderNode, interface: Interface
) -> None:
    answer = record(robot, range(20, 30), True)
    assert answer.success
    episode = read_episode(Path(answer.message), interface)
    assert episode.outcome == "success"
    assert episode.actions[:, 0, 0] == pytest.approx(np.arange(20, 30) / 1000)
    assert episode.observations["camera"][:, 0, 0, 0, 0].tolist() == list(range(20, 30))
    assert (np.diff(episode.times_ns) == PERIOD).all()
    assert read_recorded_interface(Path(answer.message)) == interface.to_dict()


def test_live_samples_and_the_bag_give_equal_observations(
    robot: Robot, recorder: RecorderNode, interface: Interface
) -> None:
    live = ObservationBuffer(interface)
    kinds = {"camera": Image, "joints": JointState, "tool": PoseStamped}
    for name, kind in kinds.items():
        store = partial(live.add, name, receive_ns=0)
        robot.node.create_subscription(kind, robot.topics[name], store, 10)
        robot.heard(robot.topics[name], 2)
    episode = read_episode(Path(record(robot, range(20, 24), True).message), interface)
    robot.until(lambda: live.complete(2_300_000_000))
    for name, values in live.observe(2_300_000_000).items():
        assert np.array_equal(values, episode.observations[name][-1])


def test_while_a_slow_disk_takes_an_episode_everything_is_answered_and_the_next_one_waits(
    robot: Robot, recorder: RecorderNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, sync = threading.Event(), os.fsync

    def slow(descriptor: int) -> None:
        assert disk.wait(60)
        sync(descriptor)

    statuses: list[Any] = []
    robot.node.create_subscription(
        String, "recorder_node/status", lambda message: statuses.append(message.data), 10
    )
    record(robot, range(20, 23), False)
    robot.tick(29)
    assert robot.call(Trigger, "recorder_node/start", Trigger.Request()).success
    try:
        monkeypatch.setattr(os, "fsync", slow)
        stop = robot.node.create_client(SetBool, "recorder_node/stop")
        start = robot.node.create_client(Trigger, "recorder_node/start")
        robot.until(lambda: stop.service_is_ready() and start.service_is_ready())
        stopped = stop.call_async(SetBool.Request(data=True))
        answer = robot.call(Trigger, "recorder_node/discard", Trigger.Request())
        assert answer.message == "no episode is being recorded", "it is kept already"
        started = start.call_async(Trigger.Request())
        heard = len(statuses)
        robot.until(lambda: len(statuses) >= heard + 2)
        assert not stopped.done() and not started.done()
        robot.tick(30)  # what the next episode needs
    finally:
        disk.set()
    robot.until(lambda: stopped.done() and started.done())
    assert stopped.result().message == str(tmp_path / "demos" / "episode_0001")
    assert started.result().message == "episode_0002"


def test_a_discarded_episode_leaves_nothing_and_a_kept_one_is_never_overwritten(
    robot: Robot, recorder: RecorderNode, tmp_path: Path
) -> None:
    assert record(robot, range(20, 23), None).success
    assert list((tmp_path / "demos").iterdir()) == []
    first = record(robot, range(30, 33), False).message
    second = record(robot, range(40, 43), False).message
    assert first != second
    folders = [path.name for path in (tmp_path / "demos").iterdir() if path.is_dir()]
    assert sorted(folders) == ["episode_0000", "episode_0001"]


def test_a_bag_is_told_by_a_path_that_holds_in_every_folder(
    robot: Robot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    node = RecorderNode(
        context=robot.context,
        parameter_overrides=parameters(folder="demos", use_sim_time=True, keys=False),
    )
    try:
        monkeypatch.chdir("/")
        robot.add(node)
        robot.heard("/clock")
        kept = record(robot, range(20, 23), True).message
    finally:
        node.close()
        node.destroy_node()
    assert kept == str(tmp_path / "demos" / "episode_0000") and Path(kept).is_dir()


def test_recording_is_refused_while_a_stream_is_silent(
    robot: Robot, recorder: RecorderNode
) -> None:
    robot.heard(robot.topics["tool"])
    robot.tick(10, only="tool joints")
    answer = robot.call(Trigger, "recorder_node/start", Trigger.Request())
    assert not answer.success
    assert "/camera/image_raw" in answer.message
    assert not robot.call(SetBool, "recorder_node/stop", SetBool.Request()).success


def test_a_simulation_that_hangs_is_told_while_an_episode_is_recorded(
    robot: Robot, recorder: RecorderNode
) -> None:
    told: list[Any] = []
    robot.node.create_subscription(
        String, "recorder_node/status", lambda message: told.append(json.loads(message.data)), 10
    )

    def warns() -> bool:
        return bool(told) and "/clock has stalled" in told[-1]["warnings"]

    for topic in robot.topics.values():
        robot.heard(topic)
    robot.tick(10)
    while not robot.call(Trigger, "recorder_node/start", Trigger.Request()).success:
        robot.tick(10)
    robot.tick(11)
    robot.until(warns)
    assert told[-1]["state"] == "recording"
    assert sum("stalled" in text for text in told[-1]["warnings"]) == 1, (
        "the clock says it for all"
    )
    robot.tick(12)
    robot.until(lambda: not warns())


def test_a_bag_without_a_needed_topic_is_refused_by_name(
    robot: Robot, recorder: RecorderNode, interface: Interface
) -> None:
    bag = Path(record(robot, range(20, 23), True).message)
    values = interface.to_dict()
    values["observation"]["camera"]["topic"] = "wrist/image_raw"
    with pytest.raises(BagError, match=r"episode_0000: no wrist/image_raw .*Image.* among"):
        read_episode(bag, interface_from_dict(values, "x"))


def test_closing_leaves_the_episode_unfinished_but_whole(
    robot: Robot, recorder: RecorderNode, interface: Interface, tmp_path: Path
) -> None:
    for topic in robot.topics.values():
        robot.heard(topic)
    robot.tick(10)
    while not robot.call(Trigger, "recorder_node/start", Trigger.Request()).success:
        robot.tick(10)
    recorder.close()
    assert [path.name for path in (tmp_path / "demos").iterdir()] == [".partial"]
    assert Bag(tmp_path / "demos" / ".partial" / "episode_0000").custom["outcome"] == "unfinished"
    with pytest.raises(BagError, match="no bags in it"):
        find_bags(tmp_path / "demos")


def test_an_unfinished_episode_of_another_day_stays_where_it_is(
    robot: Robot, recorder: RecorderNode, tmp_path: Path
) -> None:
    old = tmp_path / "demos" / ".partial" / "episode_0000"
    old.mkdir(parents=True)
    assert record(robot, range(20, 23), None).success
    kept = record(robot, range(30, 33), True)
    assert kept.success and kept.message.endswith("episode_0001")
    assert old.is_dir()


def test_a_horizon_and_a_gripper_are_read_from_the_commands_as_they_came(
    robot: Robot, interface: Interface, tmp_path: Path
) -> None:
    values = interface.to_dict()
    values["action"] |= {
        "horizon": 3,
        "gripper": {
            "topic": "gripper/commands",
            "type": "std_msgs/msg/Float64MultiArray",
            "name": "finger",
            "low": 0.0,
            "high": 1.0,
        },
    }
    path = tmp_path / "gripper.yaml"
    path.write_text(yaml.safe_dump(values))
    recorder = RecorderNode(
        context=robot.context,
        parameter_overrides=parameters(
            folder=str(tmp_path / "demos"), interface=str(path), use_sim_time=True, keys=False
        ),
    )
    robot.add(recorder)
    robot.heard("/clock")
    robot.heard("gripper/commands")
    grip = robot.node.create_publisher(Float64MultiArray, "gripper/commands", 10)
    robot.until(lambda: grip.get_subscription_count() > 0)

    def close_gripper() -> None:
        """The message has no stamp: it is valid from the tick at which it is received."""
        before = recorder._inputs.metrics()["/gripper/commands"].count
        grip.publish(Float64MultiArray(data=[0.25]))
        robot.until(lambda: recorder._inputs.metrics()["/gripper/commands"].count > before)

    try:
        answer = record(robot, range(20, 26), True, close_gripper)
        assert answer.success, answer.message
        episode = read_episode(Path(answer.message), load_interface(path))
    finally:
        recorder.close()
        recorder.destroy_node()
    assert episode.actions.shape == (6, 3, 3)
    # A velocity is zero after the last command; the gripper keeps its last command.
    assert episode.actions[0, :, 0] == pytest.approx([0.020, 0.021, 0.022])
    assert episode.actions[4, :, 0] == pytest.approx([0.024, 0.025, 0.0])
    assert (episode.actions[..., 2] == 0.25).all()


def test_a_bag_tells_who_did_what_and_the_recorder_counts_to_the_target(
    robot: Robot, tmp_path: Path
) -> None:
    def start() -> RecorderNode:
        chosen = {"task_text": "push the block", "operator": "Ada", "target": 2}
        node = RecorderNode(
            context=robot.context,
            parameter_overrides=parameters(
                folder=str(tmp_path / "demos"), use_sim_time=True, keys=False, **chosen
            ),
        )
        robot.add(node)
        robot.heard("/clock")
        return node

    told: list[dict[str, Any]] = []
    robot.node.create_subscription(
        String, "recorder_node/status", lambda m: told.append(json.loads(m.data)), 10
    )
    drawn: list[Image] = []
    robot.node.create_subscription(Image, "recorder_node/coverage", drawn.append, 1)
    node = start()
    try:
        kept = [record(robot, range(20, 23), True), record(robot, range(30, 33), False)]
        custom = Bag(Path(kept[0].message)).custom
        assert (custom["task"], custom["operator"]) == ("push the block", "Ada")
        robot.until(lambda: told[-1]["kept"]["in_folder"] == 2)
        assert told[-1]["kept"]["successes_in_folder"] == 1
        scenes = cv2.imread(f"{kept[1].message}/scenes.png")
        assert scenes is not None
        # The camera shows the number of the step; it came last at 29 before the episode.
        assert 30 <= scenes[0, 0, 0] <= 32 and scenes[0, -1, 0] == 32
        robot.until(lambda: bool(drawn))
        assert (drawn[-1].height, drawn[-1].width) == (120, 320)
    finally:
        node.close()
        robot.executor.remove_node(node)
        node.destroy_node()
    # The next recorder counts what is there.
    node = start()
    try:
        record(robot, range(40, 43), True)
        robot.until(lambda: told[-1]["next"] == "all 2 successes are there")
    finally:
        node.close()
        node.destroy_node()


def test_a_type_that_is_not_installed_ends_the_recorder_at_its_start(
    context: Any, interface: Interface, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = interface.to_dict()
    values["observation"]["placed"] = {
        "topic": "/tf",
        "type": "tf2_msgs/msg/TFMessage",
        "frame_id": "base_link",
        "child_frame_id": "tool0",
        "max_age": 0.1,
    }
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(values))
    monkeypatch.setitem(sys.modules, "tf2_msgs.msg", None)
    chosen = parameters(folder=str(tmp_path / "demos"), interface=str(path), keys=False)
    with pytest.raises(ValueError, match="package tf2_msgs has no such type; sudo apt-get"):
        RecorderNode(context=context, parameter_overrides=chosen)
