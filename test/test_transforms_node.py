"""A stream from tf in the nodes: live, in the recorder and in its bags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("tf2_msgs", reason="no wheels of it; a distribution has it")

import rclpy
from geometry_msgs.msg import TransformStamped, TwistStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import PERIOD, Robot, parameters, spin_until
from std_srvs.srv import SetBool, Trigger
from test_transforms import with_transforms
from tf2_msgs.msg import TFMessage

from ebm_policy_ros.bags.bag import Bag
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.nodes.common.inputs import Inputs
from ebm_policy_ros.nodes.recorder.node import RecorderNode
from ebm_policy_ros.observation.buffer import StaleObservation
from ebm_policy_ros.training.data.episodes import read_episode

pytestmark = pytest.mark.ros


class Transforms:
    """Publisher of a tool on an arm: a joint that moves, and a flange that never does."""

    def __init__(self, node: Any) -> None:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._moving = node.create_publisher(TFMessage, "/tf", 10)
        self._static = node.create_publisher(TFMessage, "/tf_static", latched)

    def fix(self) -> None:
        """Publish where the tool is on the flange, once."""
        self._static.publish(TFMessage(transforms=[_transform("flange", "tool0", 0.1, 0)]))

    def move(self, x: float, time_ns: int) -> None:
        self._moving.publish(TFMessage(transforms=[_transform("base_link", "flange", x, time_ns)]))


def _transform(parent: str, child: str, x: float, time_ns: int) -> TransformStamped:
    found = TransformStamped(child_frame_id=child)
    found.header.frame_id = parent
    found.header.stamp.sec, found.header.stamp.nanosec = divmod(time_ns, 10**9)
    found.transform.translation.x = x
    return found


def test_static_transforms_that_were_sent_before_a_node_started_are_known(
    context: Any, interface: Interface
) -> None:
    robot = rclpy.create_node("robot", context=context)
    transforms = Transforms(robot)
    transforms.fix()
    node = rclpy.create_node("policy", context=context)
    executor = SingleThreadedExecutor(context=context)
    for one in (robot, node):
        executor.add_node(one)
    inputs = Inputs(node, with_transforms(interface), lambda name: None, ["placed"])
    with pytest.raises(StaleObservation, match=r"placed \(/tf\): "):
        inputs.observe(node.get_clock().now().nanoseconds)

    def seen() -> bool:
        now = node.get_clock().now().nanoseconds
        transforms.move(0.4, now)
        return inputs.health(now)[0].age is not None

    spin_until(executor, seen)
    (health,) = inputs.health(node.get_clock().now().nanoseconds)
    assert not health.problem and not health.unstamped
    found = inputs.observe(node.get_clock().now().nanoseconds)
    assert found["placed"] == pytest.approx(np.array([[0.5, 0.0, 1.0]]))
    inputs.close()
    robot.destroy_node()
    node.destroy_node()


def test_a_frame_that_nobody_publishes_is_named(context: Any, interface: Interface) -> None:
    robot = rclpy.create_node("robot", context=context)
    transforms = Transforms(robot)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(robot)
    inputs = Inputs(robot, with_transforms(interface), lambda name: None, ["placed"])

    def told() -> bool:
        transforms.move(0.4, robot.get_clock().now().nanoseconds)
        return bool(inputs.health(0)[0].problem)

    spin_until(executor, told)
    expected = r"placed \(/tf\): no frame 'tool0' in tf; it has base_link, flange"
    with pytest.raises(StaleObservation, match=expected):
        inputs.observe(robot.get_clock().now().nanoseconds)
    inputs.close()
    robot.destroy_node()


def test_a_chain_that_breaks_after_its_first_pose_is_named(
    context: Any, interface: Interface
) -> None:
    robot = rclpy.create_node("robot", context=context)
    transforms = Transforms(robot)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(robot)
    inputs = Inputs(robot, with_transforms(interface), lambda name: None, ["placed"])
    transforms.fix()
    begun = robot.get_clock().now().nanoseconds

    def seen() -> bool:
        transforms.move(0.4, begun)
        return inputs.health(begun)[0].age is not None

    spin_until(executor, seen)
    late = begun + 2 * 10**9
    with pytest.raises(
        StaleObservation, match=r"^placed \(/tf\): 2.000 s old, at most 0.15 s allowed$"
    ):
        inputs.observe(late)
    problem = "'tool0' and 'base_link' are not connected in tf: they hang from 'table' and from"
    robot.destroy_publisher(transforms._static)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static = robot.create_publisher(TFMessage, "/tf_static", latched)
    static.publish(TFMessage(transforms=[_transform("table", "tool0", 0.1, 0)]))

    def broken() -> bool:
        transforms.move(0.4, begun + 10**6)
        return problem in inputs.health(late)[0].problem

    spin_until(executor, broken)
    assert not inputs.health(begun)[0].problem, "the last pose is fresh still"
    assert inputs.observe(begun)["placed"].shape == (1, 3)
    with pytest.raises(StaleObservation, match=f"at most 0.15 s allowed; placed .*{problem}"):
        inputs.observe(late)
    inputs.close()
    robot.destroy_node()


@pytest.fixture
def own(interface: Interface) -> Interface:
    """Interface of the robot, with a stream from tf."""
    return with_transforms(interface)


@pytest.fixture
def recorder(robot: Robot, own: Interface, tmp_path: Path) -> Iterator[RecorderNode]:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(own.to_dict()))
    values = {"folder": str(tmp_path / "demos"), "interface": str(path), "keys": False}
    node = RecorderNode(
        context=robot.context, parameter_overrides=parameters(**values, use_sim_time=True)
    )
    robot.add(node)
    robot.heard("/clock")
    yield node
    node.close()
    node.destroy_node()


def record(
    robot: Robot, transforms: Transforms, steps: range, command: Callable[[int], Any]
) -> str:
    """Record an episode in which the tool moves by a centimetre in each step; return its bag."""

    def tick(step: int) -> None:
        transforms.move(step / 100, step * PERIOD)
        robot.tick(step)

    tick(steps.start - 1)
    while not robot.call(Trigger, "recorder_node/start", Trigger.Request()).success:
        tick(steps.start - 1)
    for step in steps:
        tick(step)
        command(step)
        robot.command_at(step)
    answer = robot.call(SetBool, "recorder_node/stop", SetBool.Request(data=True))
    assert answer.success
    return str(answer.message)


def test_each_bag_begins_with_the_static_transforms_and_gives_the_poses(
    robot: Robot, recorder: RecorderNode, own: Interface
) -> None:
    transforms = Transforms(robot.node)
    commander = robot.node.create_publisher(TwistStamped, own.command.topic, 10)
    for topic in (*robot.topics.values(), "/tf", "/tf_static"):
        robot.heard(topic)
    robot.heard(own.command.topic, 2)
    robot.tick(1)
    answer = robot.call(Trigger, "recorder_node/start", Trigger.Request())
    assert not answer.success and "/tf: nothing arrives" in answer.message
    transforms.fix()
    latched = QoSProfile(depth=200, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    driver = robot.node.create_publisher(TFMessage, "/tf_static", latched)
    robot.until(lambda: driver.get_subscription_count() > 0)
    for number in range(150):  # a driver that repeats where its camera is
        driver.publish(TFMessage(transforms=[_transform("table", "camera", 0.3, number)]))

    def all_came() -> bool:
        found = recorder._inputs.metrics().get("/tf_static")
        return found is not None and found.count == 151  # the robot's one, and the driver's

    robot.until(all_came)

    def command(step: int) -> None:
        sent = TwistStamped()
        sent.header.stamp.sec, sent.header.stamp.nanosec = divmod(step * PERIOD, 10**9)
        sent.header.frame_id = "base_link"
        sent.twist.linear.x = 0.01
        commander.publish(sent)

    for steps in (range(20, 26), range(40, 46)):
        bag = Path(record(robot, transforms, steps, command))
        episode = read_episode(bag, own)
        placed = episode.observations["placed"][:, 0]
        times = episode.times_ns / PERIOD
        assert placed[:, 0] == pytest.approx(0.1 + times / 100) and len(placed) > 3
        assert not episode.notes and "/tf_static" not in episode.streams
    wanted = {"/tf_static": "tf2_msgs/msg/TFMessage"}
    begun = [found.content.transforms[0] for found in Bag(bag).messages(wanted)]
    assert [(one.child_frame_id, one.header.stamp.nanosec) for one in begun] == [
        ("tool0", 0), ("camera", 149),
    ]  # fmt: skip
