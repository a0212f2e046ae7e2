"""Time from what a person commands to the arm's topic, while policy_node decides.

The node is a process, over a real DDS, with the streams of `bench/latency.py` and the shipped
policy at 10 Hz. At random moments this process takes over with a command that differs each time,
waits for it on the arm's topic, goes on for some ticks, and lets go.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import TwistStamped
from latency import Robot, policy_at
from trajectory_msgs.msg import JointTrajectory

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.messages.takeover import PersonCommand, letting_go, takeover_message
from ebm_policy_ros.nodes.common.topics import TAKEOVER_QUALITY
from ebm_policy_ros.policy.file import load_policy_file
from ebm_policy_ros.sim.subprocesses import ros_environment
from ebm_policy_ros.util.resources import policy_path

RATE, TIMEOUT = 10.0, 20.0
TARGET = 50.0


class Person:
    """Takes over from the node, and measures when its commands are on the arm's topic."""

    def __init__(self, robot: Robot, interface: Interface) -> None:
        self._node, self._interface = robot.node, interface
        topic = "policy_node/takeover"
        self._publisher = self._node.create_publisher(JointTrajectory, topic, TAKEOVER_QUALITY)
        self._last: tuple[float, float, float] = (0.0, 0.0, 0.0)
        self._held: PersonCommand | None = None
        self._node.create_timer(1 / RATE, self._send)
        self._node.create_subscription(
            TwistStamped, interface.command.topic, self._on_command, 100
        )

    def _on_command(self, message: Any) -> None:
        linear = message.twist.linear
        self._last = (time.perf_counter(), linear.x, linear.y)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Publish the robot's streams until a condition holds."""
        end = time.monotonic() + TIMEOUT
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the node does not answer")
            rclpy.spin_once(self._node, timeout_sec=0.005)

    def pause(self, seconds: float) -> None:
        """Publish the robot's streams for a time."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end)

    def is_connected(self) -> bool:
        """True once the node receives commands, and moves the arm."""
        return self._publisher.get_subscription_count() > 0 and self._last[0] > 0

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _send(self) -> None:
        """Send what is held, as a teleoperation does at each tick."""
        if self._held is not None:
            now = self._now()
            message = takeover_message("/bench", now, self._interface, self._held)
            self._publisher.publish(message)

    def command(self, x: float, y: float) -> float:
        """Command a velocity; return the time until it is on the arm's topic, ms."""
        self._held = PersonCommand((np.array([[x, y]]),), (False,))
        begun = time.perf_counter()
        self._send()
        self.wait(lambda: np.allclose(self._last[1:], (x, y), rtol=0.0, atol=1e-9))
        return (self._last[0] - begun) * 1e3

    def let_go(self) -> float:
        """Let go; return the time until the arm stands still, ms."""
        self._held, begun = None, time.perf_counter()
        self._publisher.publish(letting_go("/bench", self._now()))
        self.wait(lambda: self._last[1:] == (0.0, 0.0))
        return (self._last[0] - begun) * 1e3


def measure(person: Person, count: int) -> dict[str, list[float]]:
    """Take over a number of times; return all measured times, ms."""
    found: dict[str, list[float]] = {"begin": [], "change": [], "let go": []}
    draws = random.Random(1)
    for number in range(count):
        person.pause(draws.uniform(0.2, 0.5))
        x = 0.05 + 1e-4 * number
        found["begin"].append(person.command(x, 0.05))
        person.pause(draws.uniform(0.02, 0.1))
        found["change"].append(person.command(-x, 0.05))
        person.pause(draws.uniform(0.02, 0.1))
        found["let go"].append(person.let_go())
    return found


def main() -> None:
    """Run the benchmark, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--takeovers", type=int, default=200, help="number of takeovers")
    count = parser.parse_args().takeovers
    os.environ.update(ros_environment())
    interface = load_policy_file(policy_path("ur5e_push")).interface
    assert interface is not None
    rclpy.init()
    person = Person(Robot(), interface)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ebm_policy_ros.nodes.policy.node", "--ros-args"]
        values = {"policy": policy_at(RATE, Path(folder)), "autostart": "true", "device": "cpu"}
        # On a busy machine this process may be silent for longer than a person should be.
        values |= {"when_unsure": "go", "stop_after": "60.0", "takeover_timeout": "2.0"}
        for name, value in values.items():
            command += ["-p", f"{name}:={value}"]
        process = subprocess.Popen(command)
        try:
            person.wait(person.is_connected)
            found = measure(person, count)
        finally:
            process.terminate()
            process.wait(20)
    rclpy.try_shutdown()
    result = {}
    for name, times in found.items():
        p50, p99 = np.percentile(times, (50, 99)).tolist()
        result[name] = {"p50": p50, "p99": p99, "most": max(times)}
        text = f"p50 {p50:.1f}, p99 {p99:.1f}, most {max(times):.1f} ms of {len(times)}"
        print(f"{name:<8} {text}" + (f"   (target p99 <= {TARGET:g})" if name != "let go" else ""))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
