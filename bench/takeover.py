"""Time from what a person commands to the arm's topic, while policy_node decides.

The node is a process, over a real DDS, with the streams of `bench/latency.py` and the shipped
policy at 10 Hz. At random moments this process takes over with a command that differs each time,
waits for it on the arm's topic, goes on for some ticks, and lets go.

With `--joy` this process publishes messages of a gamepad instead. teleop_node, a process too,
turns them into commands; it looks at its input 50 times a second.

A command that is not on the arm's topic within 3 s is a fault, and the benchmark fails, unless
one of the nodes has logged why it holds and the arm stands still. So it does where a stream came
too late for it: with a gamepad until the stick is released once, which nobody does here.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import TwistStamped
from latency import Robot, policy_at
from rcl_interfaces.msg import Log
from rclpy.node import Node
from sensor_msgs.msg import Joy
from trajectory_msgs.msg import JointTrajectory

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.messages.takeover import PersonCommand, letting_go, takeover_message
from ebm_policy_ros.nodes.common.topics import TAKEOVER_QUALITY
from ebm_policy_ros.policy.file import load_policy_file
from ebm_policy_ros.sim.subprocesses import ros_environment
from ebm_policy_ros.util.resources import policy_path

RATE, TIMEOUT = 10.0, 60.0
# Rate at which messages are repeated, Hz; teleop_node's joy.dead_zone.
REPEATS, DEAD_ZONE = 20.0, 0.1
# Time after which a command is missed, s.
PATIENCE = 3.0
TARGET = 50.0
# Words with which teleop_node and policy_node log that they hold for a reason.
HELD = ("holding: ", "waiting: ", "standing still: ")


class Direct:
    """Commands of a person, as teleop_node sends them."""

    def __init__(self, node: Node, interface: Interface) -> None:
        self._node, self._interface = node, interface
        topic = "policy_node/takeover"
        self._publisher = node.create_publisher(JointTrajectory, topic, TAKEOVER_QUALITY)

    def is_connected(self) -> bool:
        """True once the node receives commands."""
        return bool(self._publisher.get_subscription_count())

    def send(self, velocity: tuple[float, float] | None) -> None:
        """Command a velocity, or let go."""
        now = int(self._node.get_clock().now().nanoseconds)
        message = letting_go("/bench", now)
        if velocity is not None:
            command = PersonCommand((np.array([velocity]),), (False,))
            message = takeover_message("/bench", now, self._interface, command)
        self._publisher.publish(message)


class Gamepad:
    """Messages of a gamepad, for a teleop_node of full speed."""

    def __init__(self, node: Node, interface: Interface) -> None:
        self._node, self._fastest = node, interface.command.high[0]
        self._publisher = node.create_publisher(Joy, "joy", 10)

    def is_connected(self) -> bool:
        """True once teleop_node receives messages, and policy_node its commands."""
        publishers = self._node.count_publishers("policy_node/takeover")
        return bool(self._publisher.get_subscription_count() and publishers)

    def send(self, velocity: tuple[float, float] | None) -> None:
        """Hold the button and push the stick, or release both."""
        message = Joy(axes=[0.0] * 8, buttons=[0] * 11)
        if velocity is not None:
            shares = [value / self._fastest for value in velocity]
            pushed = [math.copysign(DEAD_ZONE, s) + s * (1 - DEAD_ZONE) for s in shares]
            message.axes[1], message.axes[0] = pushed
            message.buttons[4] = 1
        self._publisher.publish(message)


class Person:
    """Takes over from the node, and measures when its commands are on the arm's topic."""

    def __init__(self, robot: Robot, interface: Interface, hand: Direct | Gamepad) -> None:
        self._node, self._hand = robot.node, hand
        self._last: tuple[float, float, float] = (0.0, 0.0, 0.0)
        self._held: tuple[float, float] | None = None
        self.logged: list[str] = []
        """Log of the nodes since the last takeover began."""
        self._node.create_subscription(Log, "/rosout", self._on_log, 100)
        self._node.create_timer(1 / REPEATS, lambda: hand.send(self._held))
        self._node.create_subscription(
            TwistStamped, interface.command.topic, self._on_command, 100
        )

    def _on_command(self, message: Any) -> None:
        linear = message.twist.linear
        self._last = (time.perf_counter(), linear.x, linear.y)

    def _on_log(self, message: Any) -> None:
        self.logged.append(f"{message.name}: {message.msg}")

    def wait(self, condition: Callable[[], bool], seconds: float = TIMEOUT) -> None:
        """Publish the robot's streams until a condition holds."""
        end = time.monotonic() + seconds
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
        return self._hand.is_connected() and self._last[0] > 0

    def rehearse(self) -> None:
        """Take over and let go until it works: by then all nodes have found each other.

        That this process has found both says nothing about whether they have.
        """
        for last in (False,) * 4 + (True,):
            try:
                self.pause(0.5)
                self.command(0.05, 0.05)
                return
            except TimeoutError:
                if last:
                    raise
            finally:
                self.let_go()

    @property
    def stands(self) -> bool:
        """True if the arm was last commanded to stand still."""
        return self._last[1:] == (0.0, 0.0)

    def command(self, x: float, y: float) -> float:
        """Command a velocity; return the time until it is on the arm's topic, ms."""
        return self._change((x, y), (x, y))

    def let_go(self) -> float:
        """Let go; return the time until the arm stands still, ms."""
        return self._change(None, (0.0, 0.0))

    def _change(self, held: tuple[float, float] | None, wanted: tuple[float, float]) -> float:
        self._held, begun = held, time.perf_counter()
        self._hand.send(held)
        # A gamepad's axes are single precision.
        self.wait(lambda: np.allclose(self._last[1:], wanted, rtol=0.0, atol=1e-7), PATIENCE)
        return (self._last[0] - begun) * 1e3


@dataclass
class Measured:
    """Result of a number of takeovers."""

    times: dict[str, list[float]]
    """Times by what was commanded, ms, without the takeovers that were missed."""
    held: list[list[str]]
    """Log of each takeover in which a node held the arm, and told why."""
    missed: list[list[str]]
    """Log of each other takeover in which a command was not sent."""


def measure(person: Person, count: int) -> Measured:
    """Take over a number of times."""
    found = Measured({"begin": [], "change": [], "let go": []}, [], [])
    draws = random.Random(1)
    for number in range(count):
        person.pause(draws.uniform(0.2, 0.5))
        person.logged.clear()
        x = 0.05 + 1e-4 * number
        try:
            begin = person.command(x, 0.05)
            person.pause(draws.uniform(0.02, 0.1))
            change = person.command(-x, 0.05)
            person.pause(draws.uniform(0.02, 0.1))
        except TimeoutError:
            person.pause(0.2)  # the log may be on its way
            logged = list(person.logged)
            told = any(word in line for line in logged for word in HELD)
            (found.held if told and person.stands else found.missed).append(logged)
            person.let_go()
            continue
        found.times["begin"].append(begin)
        found.times["change"].append(change)
        found.times["let go"].append(person.let_go())
    return found


def start(processes: ExitStack, room: str, values: dict[str, Any]) -> None:
    """Start a node as a process, which ends with the stack."""
    command = [sys.executable, "-m", f"ebm_policy_ros.nodes.{room}.node", "--ros-args"]
    for name, value in values.items():
        command += ["-p", f"{name}:={value}"]
    process = processes.enter_context(subprocess.Popen(command))
    processes.callback(process.terminate)


def main() -> None:
    """Run the benchmark, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--takeovers", type=int, default=200, help="number of takeovers")
    parser.add_argument("--joy", action="store_true", help="from a gamepad's message")
    args = parser.parse_args()
    os.environ.update(ros_environment())
    interface = load_policy_file(policy_path("ur5e_push")).interface
    assert interface is not None
    rclpy.init()
    robot = Robot()
    hand = (Gamepad if args.joy else Direct)(robot.node, interface)
    person = Person(robot, interface, hand)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as processes:
        values = {"policy": policy_at(RATE, Path(folder)), "autostart": "true", "device": "cpu"}
        # On a busy machine this process may be silent for longer than a person should be.
        values |= {"when_unsure": "go", "stop_after": "60.0", "takeover_timeout": "2.0"}
        start(processes, "policy", values)
        if args.joy:
            chosen = {"source": "gamepad", "takeover": "policy_node", "speed": "1.0"}
            start(processes, "teleop", {**chosen, "message_timeout": "2.0"})
        person.wait(person.is_connected)
        person.rehearse()
        found = measure(person, args.takeovers)
    rclpy.try_shutdown()
    result: dict[str, Any] = {"held": found.held, "missed": found.missed}
    for name, times in found.times.items():
        p50, p99 = np.percentile(times, (50, 99)).tolist()
        result[name] = {"p50": p50, "p99": p99, "most": max(times)}
        text = f"p50 {p50:.1f}, p99 {p99:.1f}, most {max(times):.1f} ms of {len(times)}"
        print(f"{name:<8} {text}" + (f"   (target p99 <= {TARGET:g})" if name != "let go" else ""))
    print(f"held     {len(found.held)} of {args.takeovers}, with a reason in the log")
    print(f"missed   {len(found.missed)} of {args.takeovers}")
    print(json.dumps(result))
    sys.exit(bool(found.missed))


if __name__ == "__main__":
    main()
