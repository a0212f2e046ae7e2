"""Commands never use outdated samples or decisions, regardless of delays."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

from programs import Program
from rclpy.time import Time
from robot import Robot, planar
from scene import Scene
from std_srvs.srv import Trigger

from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.messages import images
from ebm_policy_ros.nodes.common.pauses import PauseWatch, boot_time

pytestmark = pytest.mark.ros

# Largest age of the slowest stream, a tick, and the transport time of a message.
ALLOWED = 0.25 + 0.1 + 0.05
STOPPED = 0.8


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


class RealTime:
    """policy_node as a separate process, and a robot that publishes at 10 Hz."""

    def __init__(self, robot: Robot, policy: Path, simulated: bool) -> None:
        self._robot, self._simulated = robot, simulated
        self._step, self._next = 0, time.monotonic()
        self.quiet = False
        """Flag: time continues without samples."""
        self.process = self._start(policy)
        self.heard: list[tuple[float, bool]] = []
        """Time of receipt of each command, and whether it moves the arm."""

    def _start(self, policy: Path) -> Program:
        values = {
            "policy": policy, "autostart": "true", "device": "cpu", "when_unsure": "go",
            "use_sim_time": str(self._simulated).lower(),
        }  # fmt: skip
        chosen = [text for name, value in values.items() for text in ("-p", f"{name}:={value}")]
        return Program("nodes.policy.node", "--ros-args", *chosen)

    def run(self, seconds: float) -> None:
        """Publish and listen for a number of seconds."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            if now >= self._next:
                self._next = now + 0.1
                self._tick()
            self._robot.executor.spin_once(timeout_sec=0.005)
            for command in self._robot.commands:
                self.heard.append((time.monotonic(), any(planar(command))))
            self._robot.commands.clear()

    def _tick(self) -> None:
        self._step += 1
        if self._simulated:
            self._robot.tick(self._step, only="" if self.quiet else "camera joints tool")
        elif not self.quiet:
            self._robot.tick_now()

    def until_moving(self) -> None:
        deadline = time.monotonic() + 60.0
        self.heard.clear()
        while [moves for _, moves in self.heard[-3:]] != [True] * 3:
            assert time.monotonic() < deadline, "it never moves"
            self.run(0.05)

    def stop_and_continue(self, phase: float) -> int:
        """Count moving commands received after a pause of the process, from samples before it."""
        self.run(phase)
        self.process.send_signal(signal.SIGSTOP)
        self.quiet = True
        self.run(STOPPED)
        self.heard.clear()
        self.process.send_signal(signal.SIGCONT)
        self.run(0.4)
        old = sum(moves for _, moves in self.heard)
        self.quiet = False
        return old


@pytest.fixture
def real_time(
    robot: Robot, policy_file: Callable[..., Path]
) -> Iterator[Callable[[bool], RealTime]]:
    started: list[RealTime] = []

    def start(simulated: bool) -> RealTime:
        started.append(RealTime(robot, policy_file(), simulated))
        return started[0]

    yield start
    for each in started:
        each.process.send_signal(signal.SIGCONT)
        each.process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("simulated", [False, True], ids=["system time", "simulated time"])
def test_a_process_that_was_stopped_moves_by_nothing_old(
    simulated: bool, real_time: Callable[[bool], RealTime]
) -> None:
    arm = real_time(simulated)
    phases, old = random.Random(0), 0
    for _ in range(25):
        arm.until_moving()
        old += arm.stop_and_continue(phases.uniform(0, 0.1))
    # A command that is already passed to the network when the process stops cannot be recalled: on
    # a busy machine this happens in about one of a hundred stops.
    assert old <= 2, f"{old} old commands after 25 stops"
    arm.until_moving()


def test_a_decoder_that_hangs_delays_neither_the_safe_command_nor_a_stop(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    node: Any = scene.start()
    scene.until_moving()
    goes_on, decode = threading.Event(), images.decode_image

    def hang(*values: Any) -> Any:
        goes_on.wait(60.0)
        return decode(*values)

    monkeypatch.setattr("ebm_policy_ros.messages.streams.decode_image", hang)
    scene.step()
    scene.wait(lambda: scene.sent[-1].is_safe)
    assert "no decision after 1.000 s" in node.safety.reason
    count = len(scene.sent)
    scene.until(lambda: "the last decision still runs" in node.safety.reason)
    scene.wait(lambda: len(scene.sent) > count)
    assert all(sent.is_safe for sent in scene.sent[count:])
    answer = scene.call(Trigger, "policy_node/stop", Trigger.Request())
    assert answer.success and node.safety.state is SafetyState.STOPPED
    goes_on.set()


def test_a_machine_that_was_suspended_moves_by_nothing_old(scene: Scene) -> None:
    """The clock is two seconds later when the decision is ready."""
    node: Any = scene.start()
    scene.until_moving()
    trunk = node.control_loop.loaded.policy._model.encoder.trunk
    later = Time(nanoseconds=scene.time + 2 * 10**9)
    jump = trunk.register_forward_hook(
        lambda *values: node.get_clock().set_ros_time_override(later)
    )
    scene.bridge.tick()
    scene.wait(lambda: scene.sent[-1].is_safe)
    jump.remove()
    assert "s old" in node.safety.reason, node.safety.reason
    assert node.statistics.counts["late decisions"] == 1
    scene.until_moving()


def test_a_slow_policy_commands_nothing_late(scene: Scene) -> None:
    """A decision that takes more than ten periods of real time is discarded."""
    node: Any = scene.start()
    scene.until_moving()
    trunk = node.control_loop.loaded.policy._model.encoder.trunk
    slow = trunk.register_forward_hook(lambda *values: threading.Event().wait(1.05))
    scene.step()
    slow.remove()
    scene.wait(lambda: scene.sent[-1].is_safe)
    assert node.statistics.counts["late decisions"] == 1
    scene.until_moving()


def test_a_pause_is_told_for_as_long_as_somebody_asks() -> None:
    watch = PauseWatch()
    assert watch.problem(60.0) == ""
    watch.close()  # no monitoring now, as while the process is stopped
    threading.Event().wait(0.5)
    assert watch.problem(60.0).startswith("this process stood still for 0.")
    assert watch.problem(0.0) == ""
    assert boot_time() <= boot_time()
