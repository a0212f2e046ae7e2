"""Recorder beside a policy: the execution is in the bag, and training learns its corrections."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from robot import PERIOD, Robot, parameters
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from test_recorder_node import record
from test_takeover import LEFT, Person, tick

from ebm_policy_ros.bags.bag import Bag
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.messages.execution import TYPE, read_execution
from ebm_policy_ros.nodes.recorder.node import RecorderNode
from ebm_policy_ros.training.data.episodes import read_episode

pytestmark = pytest.mark.ros

TOPIC = "/policy_node/execution"
StartRecorder = Callable[..., RecorderNode]


@pytest.fixture
def start_recorder(robot: Robot, tmp_path: Path) -> Iterator[StartRecorder]:
    """Starter of recorders of the robot."""
    nodes: list[RecorderNode] = []

    def start(**values: Any) -> RecorderNode:
        chosen = {"folder": str(tmp_path / "demos"), "use_sim_time": True, "keys": False} | values
        node = RecorderNode(context=robot.context, parameter_overrides=parameters(**chosen))
        nodes.append(node)
        robot.add(node)
        return node

    yield start
    for node in nodes:
        node.close()
        node.destroy_node()


class Node:
    """Stands in for a policy node that tells its execution."""

    def __init__(self, robot: Robot, recorder: RecorderNode, topic: str = TOPIC) -> None:
        self._robot, self._recorder, self._topic, self._step = robot, recorder, topic, 9
        self._publisher = robot.node.create_publisher(DiagnosticArray, topic, 100)
        robot.until(lambda: self._publisher.get_subscription_count() > 0)

    def tell(self, **values: str) -> None:
        """Tell the next step, and wait until the recorder has it."""
        self._step += 1
        told = {"commander": "policy", "state": "fresh", "policy": "push", "sha256": "0f" * 32}
        status = DiagnosticStatus(message="policy")
        status.values = [KeyValue(key=k, value=v) for k, v in (told | values).items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = Time(sec=self._step // 10, nanosec=self._step % 10 * PERIOD)
        self._publisher.publish(message)
        self._robot.until(lambda: heard(self._recorder, self._step - 9, self._topic))


def heard(recorder: RecorderNode, count: int, topic: str = TOPIC) -> bool:
    found = recorder._inputs.metrics().get(topic)
    return found is not None and found.count >= count


def test_the_execution_of_a_policy_is_recorded_with_its_name_and_digest(
    robot: Robot, start_recorder: StartRecorder, tmp_path: Path
) -> None:
    recorder = start_recorder()
    node = Node(robot, recorder)
    answer = record(robot, range(10, 20), True, also=node.tell)
    assert answer.success, answer.message
    bag = Bag(tmp_path / "demos" / "episode_0000")
    ticks = [read_execution(m.content) for m in bag.messages({TOPIC: TYPE})]
    assert [one.commander for one in ticks] == ["policy"] * 10
    noted = {"topic": TOPIC, "policy": "push", "sha256": "0f" * 32}
    assert json.loads(bag.custom["execution"]) == noted
    assert json.loads(bag.custom["streams"])[TOPIC]["count"] == 10
    assert recorder._session.warnings() == []


def test_without_a_policy_nothing_is_said_of_it_and_nothing_recorded(
    robot: Robot, start_recorder: StartRecorder, tmp_path: Path
) -> None:
    recorder = start_recorder()
    assert record(robot, range(10, 15), True).success
    bag = Bag(tmp_path / "demos" / "episode_0000")
    assert "execution" not in bag.custom and TOPIC not in json.loads(bag.custom["streams"])
    listed = (bag.path / "metadata.yaml").read_text()
    assert "execution" not in listed and "policy_node" not in listed
    assert recorder._session.warnings() == []


def test_the_policy_node_may_have_another_name_or_be_left_out(
    robot: Robot, start_recorder: StartRecorder, tmp_path: Path
) -> None:
    recorder = start_recorder(policy_node="/left/pusher")
    node = Node(robot, recorder, "/left/pusher/execution")
    assert record(robot, range(10, 15), True, also=node.tell).success
    bag = Bag(tmp_path / "demos" / "episode_0000")
    assert json.loads(bag.custom["execution"])["topic"] == "/left/pusher/execution"


def test_no_policy_node_is_listened_to_if_none_is_named(
    robot: Robot, start_recorder: StartRecorder
) -> None:
    start_recorder(policy_node="")
    assert robot.node.count_subscribers(TOPIC) == 0
    with pytest.raises(ValueError, match="policy_node: got 'a b', expected the name of a node"):
        start_recorder(policy_node="a b")


def test_ticks_that_cannot_be_read_are_recorded_and_warned_about(
    robot: Robot, start_recorder: StartRecorder, tmp_path: Path
) -> None:
    node = Node(robot, start_recorder())
    answer = record(robot, range(10, 15), True, also=lambda: node.tell(commander="robot"))
    assert answer.success, answer.message
    bag = Bag(tmp_path / "demos" / "episode_0000")
    assert "execution" not in bag.custom
    assert len(list(bag.messages({TOPIC: TYPE}))) == 5


def test_another_type_on_that_topic_is_a_remark_and_no_reason_to_refuse(
    robot: Robot, start_recorder: StartRecorder
) -> None:
    recorder = start_recorder()
    robot.heard(TOPIC)
    context = rclpy.Context()  # one process cannot have two types on a topic
    rclpy.init(context=context)
    other = rclpy.create_node("stranger", context=context)
    try:
        other.create_publisher(String, TOPIC, 1)
        said = f"{TOPIC}: stranger publishes std_msgs/msg/String, expected {TYPE}"
        robot.until(lambda: said in recorder._inputs.remarks())
        assert not any("execution" in text for text in recorder._inputs.problems())
    finally:
        other.destroy_node()
        rclpy.try_shutdown(context=context)


@pytest.mark.slow
def test_a_recorded_takeover_is_learned_as_corrections(
    robot: Robot,
    start_policy: Callable[..., Any],
    start_recorder: StartRecorder,
    interface: Interface,
    tmp_path: Path,
) -> None:
    """policy_node and recorder_node run; the person takes over after step 12 until step 16."""
    start_policy()
    recorder = start_recorder()
    for topic in robot.topics.values():
        robot.heard(topic, 2)
    robot.heard("servo_node/delta_twist_cmds", 2)
    robot.heard(TOPIC)
    person = Person(robot, interface)
    robot.tick(10)
    tick(robot, 11)
    while not robot.call(Trigger, "recorder_node/start", Trigger.Request()).success:
        robot.tick(11)
    for step in range(12, 17):
        tick(robot, step)
        person.command(LEFT, step)  # again and again, as a teleoperation does
    person.let_go(16)
    for step in range(17, 22):
        tick(robot, step)
    robot.until(lambda: heard(recorder, 10))
    answer = robot.call(SetBool, "recorder_node/stop", SetBool.Request(data=True))
    assert answer.success, answer.message
    path = tmp_path / "demos" / "episode_0000"
    episode = read_episode(path, interface)
    steps = np.round(episode.times_ns / PERIOD).astype(int).tolist()
    assert {13, 14} <= set(steps) <= {12, 13, 14, 15, 16}, episode.notes
    assert np.allclose(episode.actions[:, 0], LEFT) and episode.corrections.all()
    whole = read_episode(path, interface, whole=True)
    assert whole.execution is not None and len(whole.execution.sha256) == 64
    assert whole.times_ns[whole.corrections].tolist() == episode.times_ns.tolist()
    assert whole.execution.commanders[-1] == "policy"
