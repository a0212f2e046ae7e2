"""The nodes over a real DDS: what goes out on the wire for what comes in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time  # noqa: E402
from geometry_msgs.msg import PoseStamped, TwistStamped  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from ebm_policy_ros.interface import Interface, interface_from_dict  # noqa: E402
from ebm_policy_ros.nodes.policy_node import PolicyNode  # noqa: E402
from ebm_policy_ros.nodes.recorder_node import RecorderNode  # noqa: E402
from ebm_policy_ros.observation import ObservationBuffer  # noqa: E402
from ebm_policy_ros.policy import Policy  # noqa: E402
from ebm_policy_ros.training.bags import (  # noqa: E402
    BagError,
    find_bags,
    read_episode,
    read_outcome,
    read_recorded_interface,
)

pytestmark = pytest.mark.ros

TIMEOUT = 20.0
PERIOD = 100_000_000


class Robot:
    """Publishes what the arm and its camera would, on simulated time, and hears commands."""

    def __init__(self, context: Any, interface: Interface) -> None:
        self.context = context
        self.node = rclpy.create_node("robot", context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.joint_names = list(interface.observation["joints"].names)  # type: ignore[union-attr]
        self.topics = {name: s.topic for name, s in interface.observation.items()}
        create = self.node.create_publisher
        self.clock = create(Clock, "/clock", 10)
        self.camera = create(Image, self.topics["camera"], 10)
        self.joints = create(JointState, self.topics["joints"], 10)
        self.tool = create(PoseStamped, self.topics["tool"], 10)
        self.commands: list[TwistStamped] = []
        topic = interface.action.topic
        self.node.create_subscription(TwistStamped, topic, self.commands.append, 100)

    def add(self, node: Any) -> None:
        self.executor.add_node(node)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < deadline, "nothing happened in time"
            self.executor.spin_once(timeout_sec=0.05)

    def heard(self, topic: str, count: int = 1) -> None:
        self.until(lambda: self.node.count_subscribers(topic) >= count)

    def tick(self, step: int, *, x: float = 0.5, only: str = "camera joints tool") -> None:
        """Publish one set of samples and then their time."""
        stamp = Time(sec=step // 10, nanosec=step % 10 * PERIOD)
        if "camera" in only:
            pixels = np.full((120, 160, 3), step % 256, np.uint8)
            message = Image(height=120, width=160, encoding="rgb8", step=480)
            message.data = pixels.tobytes()
            message.header.stamp = stamp
            self.camera.publish(message)
        if "joints" in only:
            states = JointState(name=self.joint_names, position=[0.1 * i for i in range(6)])
            states.header.stamp = stamp
            self.joints.publish(states)
        if "tool" in only:
            pose = PoseStamped()
            pose.header.stamp, pose.header.frame_id = stamp, "base_link"
            pose.pose.position.x = x
            self.tool.publish(pose)
        self.clock.publish(Clock(clock=stamp))

    def command_at(self, step: int) -> TwistStamped:
        """The command stamped with a tick."""

        def stamped() -> list[TwistStamped]:
            sec, nanosec = step // 10, step % 10 * PERIOD
            found = [c.header.stamp for c in self.commands]
            return [
                command
                for command, stamp in zip(self.commands, found, strict=True)
                if (stamp.sec, stamp.nanosec) == (sec, nanosec)
            ]

        self.until(lambda: bool(stamped()))
        return stamped()[0]

    def call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready)
        future = client.call_async(request)
        self.until(future.done)
        return future.result()


def parameters(**values: Any) -> list[Parameter]:
    return [Parameter(name, value=value) for name, value in values.items()]


@pytest.fixture
def robot(context: Any, interface: Interface) -> Iterator[Robot]:
    robot = Robot(context, interface)
    yield robot
    robot.node.destroy_node()


@pytest.fixture
def start_policy(robot: Robot, policy_file: Callable[..., Path]) -> Iterator[Callable[..., Any]]:
    nodes: list[PolicyNode] = []

    def start(**values: Any) -> PolicyNode:
        chosen = {"policy": str(policy_file()), "use_sim_time": True, "autostart": True}
        chosen |= {"lockstep": True, "device": "cpu"} | values
        node = PolicyNode(context=robot.context, parameter_overrides=parameters(**chosen))
        nodes.append(node)
        robot.add(node)
        for topic in (*robot.topics.values(), "/clock"):
            robot.heard(topic)
        robot.until(lambda: robot.node.count_publishers("servo_node/delta_twist_cmds") > 0)
        return node

    yield start
    for node in nodes:
        node.close()
        node.destroy_node()


def planar(command: TwistStamped) -> list[float]:
    return [command.twist.linear.x, command.twist.linear.y]


def drive(robot: Robot, steps: range, **options: Any) -> list[list[float]]:
    result = []
    for step in steps:
        robot.tick(step, **options)
        result.append(planar(robot.command_at(step)))
    return result


def test_each_tick_gets_the_decision_of_its_own_samples(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy()
    robot.tick(10)
    commands = drive(robot, range(11, 16))
    assert all(any(values) for values in commands)
    assert all(abs(value) <= 0.2 + 1e-6 for values in commands for value in values)
    assert robot.command_at(12).header.frame_id == "base_link"
    assert len(robot.commands) == len({c.header.stamp.nanosec for c in robot.commands})


def test_same_seed_and_samples_give_the_same_commands(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    first = start_policy()
    robot.tick(10)
    before = drive(robot, range(11, 14))
    count = len(robot.commands)
    first.close()
    robot.until(lambda: len(robot.commands) > count)  # its last command, a stop
    robot.executor.remove_node(first)
    first.destroy_node()
    robot.commands.clear()
    start_policy()
    robot.tick(10)
    assert drive(robot, range(11, 14)) == before


def test_the_method_of_the_search_and_the_choice_are_parameters(
    robot: Robot, start_policy: Callable[..., Any], policy_file: Callable[..., Path]
) -> None:
    """Each changes what goes out, to what a policy with these settings decides."""
    kind = policy_file("autoregressive")
    settings: list[dict[str, Any]] = [
        {},
        {"optimiser": {"samples": 16}},
        {"optimiser": {"method": "hybrid", "starts": 4}},
        {"optimiser": {"method": "langevin", "samples": 16, "iterations": 5, "step_size": 0.01}},
        {"choice": "sample", "temperature": 2.0},
        {"policy": str(kind), "optimiser": {"samples": 64, "places": 2}},
    ]
    seen: list[list[float]] = []
    for chosen in settings:
        search = {f"optimiser.{k}": v for k, v in chosen.get("optimiser", {}).items()}
        node = start_policy(**{k: v for k, v in chosen.items() if k != "optimiser"}, **search)
        decided = Policy.load(
            chosen.get("policy", policy_file()),
            device="cpu",
            optimiser=chosen.get("optimiser"),
            choice=chosen.get("choice", "lowest"),
            temperature=chosen.get("temperature", 1.0),
        )
        assert node._policy.optimiser == decided.optimiser
        robot.tick(10)
        robot.tick(11)
        sent = planar(robot.command_at(11))
        observation = node._buffer.observe(11 * PERIOD)
        expected = decided.decide(observation).action[0].tolist()
        assert sent == pytest.approx(expected, abs=1e-6)
        seen.append(sent)
        count = len(robot.commands)
        node.close()
        robot.until(lambda: len(robot.commands) > count)  # noqa: B023 - its last one, a stop
        robot.executor.remove_node(node)
        node.destroy_node()
        robot.commands.clear()
    assert len({tuple(values) for values in seen}) == len(settings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimiser.method": "autoregressive"}, "but the model has one energy of whole actions"),
        ({"optimiser.samples": 0}, "optimiser.samples: got 0, expected an integer >= 2"),
        ({"choice": "best"}, "choice: got 'best', expected lowest or sample"),
    ],
)
def test_a_search_that_cannot_work_is_refused(
    values: dict[str, Any], message: str, context: Any, policy_file: Callable[..., Path]
) -> None:
    overrides = parameters(policy=str(policy_file()), autostart=True, **values)
    with pytest.raises(ValueError, match=message):
        PolicyNode(context=context, parameter_overrides=overrides)


def test_a_policy_of_arrays_is_refused_since_it_names_no_robot(
    context: Any, policy_file: Callable[..., Path]
) -> None:
    overrides = parameters(policy=str(policy_file(interface=None)), autostart=True)
    with pytest.raises(ValueError, match="trained on arrays that name no robot"):
        PolicyNode(context=context, parameter_overrides=overrides)


def test_a_stream_that_falls_silent_stops_the_arm_until_it_is_back(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy(lockstep=False)
    robot.tick(10)
    for step in range(11, 20):
        robot.tick(step, only="joints tool")
        command = planar(robot.command_at(step))
        # The camera's samples count for 0.25 s.
        if step >= 13:
            assert command == [0.0, 0.0]
    for step in range(20, 24):
        robot.tick(step)
        command = planar(robot.command_at(step))
    assert any(command)


def test_at_the_edge_of_the_workspace_only_motion_inward_goes_out(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy()
    robot.tick(10, x=0.9)
    assert all(values[0] <= 0.0 for values in drive(robot, range(11, 20), x=0.9))


def test_a_message_of_nonsense_stops_the_arm(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy()
    robot.tick(10)
    robot.joint_names[0] = "knee_joint"  # one joint is missing
    robot.tick(11)
    assert planar(robot.command_at(11)) == [0.0, 0.0]


@pytest.mark.parametrize("transition", ["trigger_deactivate", "trigger_shutdown"])
def test_a_node_that_is_no_longer_active_has_stopped_and_is_silent(
    robot: Robot, start_policy: Callable[..., Any], transition: str
) -> None:
    node = start_policy()
    robot.tick(10)
    drive(robot, range(11, 13))
    count = len(robot.commands)
    getattr(node, transition)()
    robot.until(lambda: len(robot.commands) > count)
    assert planar(robot.commands[-1]) == [0.0, 0.0]
    count = len(robot.commands)
    for step in range(13, 16):
        robot.tick(step)
        for _ in range(5):
            robot.executor.spin_once(timeout_sec=0.02)
    assert len(robot.commands) == count


def test_a_policy_for_another_interface_is_refused_by_name(
    context: Any, policy_file: Callable[..., Path], interface: Interface
) -> None:
    values = interface.to_dict()
    values["rate"] = 5.0
    path = policy_file(interface=interface_from_dict(values, "other"))
    overrides = parameters(policy=str(path), interface="ur5e_push", autostart=True)
    with pytest.raises(ValueError, match=r"another interface than ur5e_push \(rate: 5\.0"):
        PolicyNode(context=context, parameter_overrides=overrides)


# Recording


@pytest.fixture
def recorder(robot: Robot, tmp_path: Path) -> Iterator[RecorderNode]:
    node = RecorderNode(
        context=robot.context,
        parameter_overrides=parameters(folder=str(tmp_path / "demos"), use_sim_time=True),
    )
    robot.add(node)
    robot.heard("/clock")
    yield node
    node.close()
    node.destroy_node()


def record(robot: Robot, steps: range, outcome: bool | None) -> Any:
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


def test_a_discarded_episode_leaves_nothing_and_a_kept_one_is_never_overwritten(
    robot: Robot, recorder: RecorderNode, tmp_path: Path
) -> None:
    assert record(robot, range(20, 23), None).success
    assert list((tmp_path / "demos").iterdir()) == []
    first = record(robot, range(30, 33), False).message
    second = record(robot, range(40, 43), False).message
    assert first != second
    assert sorted(path.name for path in (tmp_path / "demos").iterdir()) == [
        "episode_0000",
        "episode_0001",
    ]


def test_recording_is_refused_while_a_stream_is_silent(
    robot: Robot, recorder: RecorderNode
) -> None:
    robot.heard(robot.topics["tool"])
    robot.tick(10, only="tool joints")
    answer = robot.call(Trigger, "recorder_node/start", Trigger.Request())
    assert not answer.success
    assert "/camera/image_raw" in answer.message
    assert not robot.call(SetBool, "recorder_node/stop", SetBool.Request()).success


def test_a_bag_without_a_needed_topic_is_refused_by_name(
    robot: Robot, recorder: RecorderNode, interface: Interface
) -> None:
    bag = Path(record(robot, range(20, 23), True).message)
    values = interface.to_dict()
    values["observation"]["camera"]["topic"] = "wrist/image_raw"
    with pytest.raises(BagError, match=r"episode_0000: no wrist/image_raw .*Image.* among"):
        read_episode(bag, interface_from_dict(values, "x"))
    (bag / "metadata.yaml").write_text("nonsense")
    with pytest.raises(BagError, match="episode_0000"):
        read_episode(bag, interface)


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
    assert read_outcome(tmp_path / "demos" / ".partial" / "episode_0000") == "unfinished"
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
