"""Simulation over a real DDS: lock-step, and commands of other clocks."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")

import programs  # noqa: E402
from geometry_msgs.msg import PoseStamped, TwistStamped  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from rclpy.time import Time  # noqa: E402
from robot import spin_until  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from ebm_policy_ros.messages.streams import stamp_ns  # noqa: E402
from ebm_policy_ros.nodes.recorder.client import RecorderWatch  # noqa: E402
from ebm_policy_ros.nodes.recorder.node import RecorderNode  # noqa: E402
from ebm_policy_ros.sim.bridge_node import SimBridgeNode  # noqa: E402
from ebm_policy_ros.sim.video import FRAMES_PER_SECOND, count_frames  # noqa: E402

pytestmark = [pytest.mark.ros, pytest.mark.sim]

TIMEOUT = 120.0
PERIOD = 100_000_000


class Commander:
    """Receives the simulation's time and tool pose, and commands."""

    def __init__(self, context: Any) -> None:
        self.node = rclpy.create_node("commander", context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.clocks: list[int] = []
        self.tools: dict[int, float] = {}
        self.received: list[int] = []
        self.node.create_subscription(Clock, "/clock", self._on_clock, 100)
        self.node.create_subscription(PoseStamped, "tool_pose", self._on_tool, 100)
        self.commands = self.node.create_publisher(TwistStamped, "servo_node/delta_twist_cmds", 10)

    def _on_clock(self, message: Any) -> None:
        self.clocks.append(Time.from_msg(message.clock).nanoseconds)

    def _on_tool(self, message: Any) -> None:
        self.tools[stamp_ns(message)] = message.pose.position.x
        self.received.append(stamp_ns(message))

    def until(self, condition: Callable[[], bool]) -> None:
        spin_until(self.executor, condition, TIMEOUT)

    def command(self, stamp: int, velocity: float) -> None:
        message = TwistStamped()
        message.header.stamp = Time(nanoseconds=stamp).to_msg()
        message.header.frame_id = "base_link"
        message.twist.linear.x = velocity
        self.commands.publish(message)


@pytest.fixture
def commander(context: Any) -> Iterator[Commander]:
    commander = Commander(context)
    bridge = SimBridgeNode(
        context=context, parameter_overrides=[Parameter("lockstep", value=True)]
    )
    commander.executor.add_node(bridge)
    commander.until(lambda: commander.commands.get_subscription_count() > 0)
    commander.until(lambda: len(commander.clocks) > 0)
    yield commander
    bridge.close()
    bridge.destroy_node()
    commander.node.destroy_node()


def drive(commander: Commander, ticks: int, velocity: float) -> list[int]:
    """Answer ticks until `ticks` of them are processed; return their times."""
    commander.command(commander.clocks[-1], velocity)
    begun = commander.clocks[-1]
    answered = {begun}

    def answer() -> bool:
        newest = commander.clocks[-1]
        if newest not in answered:
            commander.command(newest, velocity)
            answered.add(newest)
        return len(answered) > ticks

    commander.until(answer)
    return sorted(answered)


def test_each_answered_tick_moves_the_tool_by_a_tenth_of_a_second(commander: Commander) -> None:
    times = drive(commander, 12, 0.1)
    commander.until(lambda: times[-1] in commander.tools)
    # The arm accelerates in the first ticks; then it moves 1 cm per tick.
    assert commander.tools[times[-1]] - commander.tools[times[-6]] == pytest.approx(0.05, abs=2e-3)


def test_lock_step_waits_for_the_command_of_its_tick(commander: Commander) -> None:
    last = drive(commander, 3, 0.0)[-1]
    commander.until(lambda: commander.clocks[-1] > last)
    waiting = commander.clocks[-1]
    for _ in range(20):
        commander.executor.spin_once(timeout_sec=0.02)
    assert commander.clocks[-1] == waiting
    commander.command(waiting, 0.0)
    commander.until(lambda: commander.clocks[-1] == waiting + PERIOD)


def test_samples_and_time_that_nobody_answers_are_sent_again(commander: Commander) -> None:
    last = drive(commander, 3, 0.0)[-1]
    waiting = last + PERIOD
    commander.until(lambda: commander.received.count(waiting) >= 2)
    commander.until(lambda: commander.clocks.count(waiting) >= 2)
    assert commander.clocks[-1] == waiting


def test_a_command_of_another_clock_neither_moves_nor_stops_the_simulation(
    commander: Commander,
) -> None:
    count = len(commander.clocks)
    commander.command(time.time_ns(), 0.2)
    commander.until(lambda: len(commander.clocks) > count + 5)
    commander.until(lambda: commander.clocks[-1] in commander.tools)
    tools = [
        commander.tools[stamp] for stamp in commander.clocks[count:] if stamp in commander.tools
    ]
    assert max(tools) - min(tools) < 1e-9


def test_in_real_time_the_arms_state_comes_at_50_hz_and_images_at_the_interfaces_rate(
    context: Any,
) -> None:
    commander = Commander(context)
    images: list[int] = []
    commander.node.create_subscription(
        Image, "camera/image_raw", lambda message: images.append(stamp_ns(message)), 100
    )
    # A fifth of real time: the test is about the simulation's rate, not the machine's.
    bridge = SimBridgeNode(
        context=context, parameter_overrides=[Parameter("real_time_factor", value=0.2)]
    )
    commander.executor.add_node(bridge)
    try:
        commander.until(lambda: len(images) > 4)
        steps = {b - a for a, b in itertools.pairwise(sorted(commander.tools)[-10:])}
        assert steps == {20_000_000}
        assert {b - a for a, b in itertools.pairwise(images[-3:])} == {PERIOD}
        assert set(images[-3:]) <= set(commander.tools), "the arm is seen in the same moment too"
        assert {b - a for a, b in itertools.pairwise(commander.clocks[-10:])} == {20_000_000}
    finally:
        bridge.close()
        bridge.destroy_node()
        commander.node.destroy_node()


def test_a_video_begins_with_the_time_of_its_scene(context: Any, tmp_path: Path) -> None:
    commander = Commander(context)
    chosen = {"real_time_factor": 0.0, "video_dir": str(tmp_path / "videos")}
    bridge = SimBridgeNode(
        context=context, parameter_overrides=[Parameter(n, value=v) for n, v in chosen.items()]
    )
    commander.executor.add_node(bridge)

    def ticks(condition: Callable[[], bool]) -> None:
        def step() -> bool:
            bridge.tick()
            for _ in range(5):
                commander.executor.spin_once(timeout_sec=0.002)
            return condition()

        commander.until(step)

    try:
        commander.until(lambda: commander.commands.get_subscription_count() > 0)
        commander.command(bridge.time_ns, 0.0)
        waited = bridge.time_ns + 2 * 10**9
        ticks(lambda: bridge.time_ns > waited and len(commander.tools) > 1)
        assert not (tmp_path / "videos").exists(), "nothing has moved, so its time has not begun"
        rest, begun = min(commander.tools.values()), bridge.time_ns
        commander.command(begun, 0.1)
        ticks(lambda: max(commander.tools.values()) > rest + 0.01)
        seconds = (bridge.time_ns - begun) / 1e9
    finally:
        bridge.close()
        bridge.destroy_node()
        commander.node.destroy_node()
    (video,) = (tmp_path / "videos").iterdir()
    assert video.name == "episode_0.mp4"
    assert 3 <= count_frames(video) <= FRAMES_PER_SECOND * seconds + 1


@pytest.mark.slow
def test_no_scene_is_reset_while_somebody_records_and_the_screen_says_that_it_is_over(
    context: Any, tmp_path: Path
) -> None:
    commander = Commander(context)
    chosen = {"real_time_factor": 0.0, "auto_reset": True}
    bridge = SimBridgeNode(
        context=context, parameter_overrides=[Parameter(n, value=v) for n, v in chosen.items()]
    )
    given = {"folder": str(tmp_path / "demos"), "keys": False, "use_sim_time": True}
    recorder = RecorderNode(
        context=context, parameter_overrides=[Parameter(n, value=v) for n, v in given.items()]
    )
    told = [""]
    screen = RecorderWatch(commander.node, "recorder_node", told.append)
    scene: list[dict[str, Any]] = []
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    commander.node.create_subscription(
        String, "sim_bridge_node/status", lambda m: scene.append(json.loads(m.data)), latched
    )
    for node in (bridge, recorder):
        commander.executor.add_node(node)

    def ticks(condition: Callable[[], bool]) -> None:
        def step() -> bool:
            bridge.tick()
            for _ in range(20):  # every node receives a tick before the next one
                commander.executor.spin_once(timeout_sec=0.002)
            return condition()

        commander.until(step)

    def ask(kind: Any, name: str, request: Any, node: str = "recorder_node") -> Any:
        client = commander.node.create_client(kind, f"{node}/{name}")
        ticks(client.service_is_ready)
        future = client.call_async(request)
        ticks(future.done)
        return future.result()

    try:
        waited = bridge.time_ns + 20 * 10**9
        commander.command(bridge.time_ns, 0.0)
        ticks(lambda: bridge.time_ns > waited)
        assert scene[-1]["state"] == "running", "nothing has moved, so its time has not begun"
        ticks(lambda: ask(Trigger, "start", Trigger.Request()).success)
        commander.command(bridge.time_ns, 0.01)
        ticks(lambda: screen.is_recording and scene[-1]["state"] == "done")
        ticks(lambda: told[-1].startswith("time is up, scene over: keep it as a success (Y)"))
        over = bridge.time_ns
        ticks(lambda: bridge.time_ns > over + 3 * 10**9)
        assert scene[-1]["seed"] == 0, "the next scene would be in the recording"
        refused = ask(Trigger, "reset", Trigger.Request(), "sim_bridge_node")
        assert (refused.success, refused.message) == (
            False, "an episode is being recorded; keep or discard it first"
        )  # fmt: skip
        assert scene[-1]["seed"] == 0
        assert ask(SetBool, "stop", SetBool.Request(data=False)).success
        ticks(lambda: scene[-1]["seed"] == 1)
        ticks(lambda: "scene over" not in told[-1])
        assert ask(Trigger, "reset", Trigger.Request(), "sim_bridge_node").message == "seed 2"
    finally:
        for node in (recorder, bridge):
            node.close()
            node.destroy_node()
        commander.node.destroy_node()


def test_the_seed_of_the_next_scene_may_be_set(commander: Commander) -> None:
    bridge = next(node for node in commander.executor.get_nodes() if node is not commander.node)
    reset = commander.node.create_client(Trigger, "sim_bridge_node/reset")
    commander.until(reset.service_is_ready)

    def seed() -> str:
        future = reset.call_async(Trigger.Request())
        commander.until(future.done)
        return str(future.result().message)

    (result,) = bridge.set_parameters([Parameter("seed", value=7)])
    assert result.successful
    assert [seed(), seed()] == ["seed 7", "seed 8"]
    (refused,) = bridge.set_parameters([Parameter("seed", value=-1)])
    assert not refused.successful and seed() == "seed 9"


def test_a_simulation_ends_beside_the_streams_of_a_robot(context: Any) -> None:
    robot = rclpy.create_node("robot", context=context)
    robot.create_publisher(PoseStamped, "tool_pose", 10)
    done = programs.run("sim.bridge_node")
    robot.destroy_node()
    assert done.returncode == 1
    assert "/tool_pose has another publisher in this ROS domain: a robot" in done.stderr
    assert "Traceback" not in done.stderr
