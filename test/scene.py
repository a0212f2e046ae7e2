"""Simulated arm and policy_node, with a relay in between that can change every message."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import rclpy
from domains import give_back, take_domain
from programs import Program
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.time import Time
from robot import TIMEOUT, parameters, spin_until

from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.messages.commands import read_command
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.common.terminal import Terminal
from ebm_policy_ros.nodes.policy.node import PolicyNode
from ebm_policy_ros.nodes.teleop.node import TeleopNode
from ebm_policy_ros.sim.bridge_node import SimBridgeNode
from ebm_policy_ros.util.resources import interface_path

SECOND = 1_000_000_000
Spoil = Callable[[str, Any], Iterable[Any]]
"""Maps (stream or "clock", message) to the messages that are passed on."""


@dataclass(frozen=True)
class Sent:
    """A command as received."""

    time: int
    """Simulated time of its receipt, nanoseconds."""
    stamp: int
    """Stamp of the command, nanoseconds."""
    values: tuple[float, ...]
    """Values without the gripper; the first point of a trajectory."""
    message: Any

    @property
    def is_safe(self) -> bool:
        return not any(self.values)


def pass_on(name: str, message: Any) -> Iterable[Any]:
    return (message,)


class Scene:
    """Scene on simulated time, which advances only after every policy has used the last tick."""

    def __init__(self, interface: str = "ur5e_push", task: str = "push") -> None:
        # A new domain each time: a killed process stays visible in its old one for a while.
        self.domain = take_domain()
        self.context = context = rclpy.Context()
        rclpy.init(context=context, domain_id=self.domain)
        self.interface: Interface = load_interface(interface_path(interface))
        self._interface_name = interface
        self.node = rclpy.create_node("wire", context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.spoil: Spoil = pass_on
        self.sent: list[Sent] = []
        self.last: dict[str, Any] = {}
        """Last message of each stream."""
        self.shift = 1000 * SECOND
        """Offset of all clocks from the simulation's, nanoseconds."""
        self.time = 0
        self._ticks = 0
        self._answered = False
        self.tool: list[float] = []
        """x + y of the simulated tool, independent of the relay, m."""
        self.joints: list[tuple[float, ...]] = []
        """Positions of its joints."""
        self.policies: list[Any] = []
        streams = {name: (s.topic, s.type) for name, s in self.interface.observation.items()}
        streams["clock"] = ("/clock", "rosgraph_msgs/msg/Clock")
        self.topics = {name: topic for name, (topic, _) in streams.items()}
        self._out = {}
        for name, (topic, kind) in streams.items():
            self._out[name] = self.node.create_publisher(message_class(kind), topic, 10)
            self.node.create_subscription(
                message_class(kind),
                self._raw(topic),
                lambda message, name=name: self._relay(name, message),
                100,
            )
        action = self.interface.command
        self._command_class = message_class(action.command_type.ROS_TYPE)
        self.listen()
        self._to_arm = self.node.create_publisher(self._command_class, self._raw(action.topic), 10)
        self.bridge = self._start_bridge(task)
        self.executor.add_node(self.bridge)

    @staticmethod
    def _raw(topic: str) -> str:
        return f"raw/{topic.removeprefix('/')}"

    def _start_bridge(self, task: str) -> SimBridgeNode:
        remaps = ["--ros-args"]
        for topic in (*self.topics.values(), self.interface.command.topic):
            remaps += ["-r", f"{topic}:={self._raw(topic)}"]
        values = {
            "interface": self._interface_name,
            "task": task,
            "real_time_factor": 0.0,
            "auto_reset": True,
        }
        return SimBridgeNode(
            context=self.context, cli_args=remaps, parameter_overrides=parameters(**values)
        )

    def listen(self) -> None:
        """Subscribe to the commands, as a controller does."""
        self._commands = self.node.create_subscription(
            self._command_class, self.interface.command.topic, self._on_command, 100
        )

    def be_deaf(self) -> None:
        """Unsubscribe from the commands, as a controller that crashed."""
        self.node.destroy_subscription(self._commands)

    def _on_command(self, message: Any) -> None:
        values = tuple(float(v) for v in read_command(message, self.interface.command))
        self.sent.append(Sent(self.time, stamp_ns(message), values, message))
        if hasattr(message, "header"):
            message = copy.deepcopy(message)
            self._move_stamp(message.header.stamp, -self.shift)
        self._to_arm.publish(message)
        self._to_arm.wait_for_all_acked(Duration(seconds=1))

    def mend(self) -> None:
        """Pass on every message unchanged."""
        self.spoil = pass_on

    def _relay(self, name: str, message: Any) -> None:
        if name == "tool":
            self.tool.append(message.pose.position.x + message.pose.position.y)
        if name == "joints":
            self.joints.append(tuple(message.position))
        self._move_stamp(message.clock if name == "clock" else message.header.stamp, self.shift)
        self.last[name] = message
        for passed in self.spoil(name, message):
            if name == "clock":
                self._ticks += 1
                self.time = Time.from_msg(passed.clock).nanoseconds
            self._out[name].publish(passed)

    @staticmethod
    def _move_stamp(stamp: Any, shift: int) -> None:
        moved = Time.from_msg(stamp).nanoseconds + shift
        stamp.sec, stamp.nanosec = divmod(moved, SECOND)

    def add(self, node: Any) -> None:
        self.executor.add_node(node)

    def start(self, name: str = "policy_node", **values: Any) -> PolicyNode:
        """Start policy_node in this process, active."""
        chosen = {"interface": self._interface_name, "use_sim_time": True, "autostart": True}
        chosen |= {"policy": "ur5e_push", "device": "cpu"} | values
        node = PolicyNode(
            context=self.context,
            parameter_overrides=parameters(**chosen),
            cli_args=["--ros-args", "-r", f"__node:={name}"],
        )
        self.policies.append(node)
        self.add(node)
        return node

    def start_teleop(self, terminal: Terminal, **values: Any) -> TeleopNode:
        """Start teleop_node in this process, on a terminal."""
        chosen = {"interface": self._interface_name, "use_sim_time": True} | values
        node = TeleopNode(terminal, context=self.context, parameter_overrides=parameters(**chosen))
        self.policies.append(node)
        self.add(node)
        return node

    def start_process(self, **values: Any) -> Program:
        """Start policy_node in a separate process, active."""
        chosen = {"interface": self._interface_name, "use_sim_time": True, "autostart": True}
        chosen |= {"policy": "ur5e_push", "device": "cpu"}
        arguments = []
        for key, value in (chosen | values).items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ["-p", f"{key}:={text}"]
        process = Program(
            "nodes.policy.node", "--ros-args", *arguments, ROS_DOMAIN_ID=str(self.domain)
        )
        topic = self.interface.command.topic
        # Simulated time stands still meanwhile, so that the episode does not end early.
        self.wait(lambda: self.node.count_publishers(topic) > 0)
        return process

    def step(self) -> None:
        """Run one tick of the simulation and the reactions of the policies."""
        heard, deadline = self._ticks, time.monotonic() + TIMEOUT
        count = len(self.sent)
        self.bridge.tick()
        while self._ticks == heard or any(map(self._is_behind, self.policies)):
            assert time.monotonic() < deadline, "a policy doesn't tick"
            self.executor.spin_once(timeout_sec=0.05)
        # On a busy machine a command may be late: wait for it if the last tick had one.
        patience = time.monotonic() + (0.1 if self._answered else 0.0)
        while len(self.sent) == count and time.monotonic() < patience:
            self.executor.spin_once(timeout_sec=0.001)
        self.settle()
        self._answered = len(self.sent) > count

    def _is_behind(self, node: Any) -> bool:
        if isinstance(node, TeleopNode):
            return node.commander.last_tick != self.time
        if not node.is_active:
            return False
        loop = node.control_loop
        return bool(loop.last_tick != self.time or loop.is_deciding)

    def settle(self) -> None:
        """Receive all pending messages."""
        quiet = time.monotonic() + 0.003
        while time.monotonic() < quiet:
            self.executor.spin_once(timeout_sec=0.001)

    def until(self, condition: Callable[[], bool], steps: int = 300) -> None:
        """Run ticks until a condition holds."""
        while not condition():
            assert steps > 0, f"nothing happened in time; {len(self.sent)} commands so far"
            steps -= 1
            self.step()

    def forget(self) -> None:
        """Forget everything received so far."""
        for heard in (self.sent, self.tool, self.joints):
            heard.clear()

    def until_moving(self) -> None:
        """Run ticks until three commands in a row have moved the arm."""
        # A separate process may miss ticks; nodes in this process take part in every step.
        steps = 300 if self.policies else 3000
        self.until(
            lambda: len(self.sent) >= 3 and not any(s.is_safe for s in self.sent[-3:]), steps
        )

    def run(self, seconds: float) -> None:
        """Advance the simulated time by a number of seconds."""
        end = self.time + round(seconds * SECOND)
        self.until(lambda: self.time >= end, steps=round(seconds * self.interface.rate) + 2)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition without advancing the simulation."""
        spin_until(self.executor, condition)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.node.create_client(kind, name)
        self.wait(client.service_is_ready)
        future = client.call_async(request)
        self.wait(future.done)
        self.node.destroy_client(client)
        return future.result()

    def close(self) -> None:
        for node in (*self.policies, self.bridge):
            node.close()
            node.destroy_node()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
        give_back(self.domain)
