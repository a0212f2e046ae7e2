"""Robot for tests: publishes the streams of an arm and its camera, and receives commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, TwistStamped
from rcl_interfaces.srv import ListParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState

from ebm_policy_ros.interface import Interface

TIMEOUT = 20.0
PERIOD = 100_000_000


def spin_until(executor: Any, condition: Callable[[], bool], timeout: float = TIMEOUT) -> None:
    """Let the nodes of an executor work until a condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        executor.spin_once(timeout_sec=0.05)


class Robot:
    """Publishes the streams of an arm and its camera on simulated time, and receives commands."""

    def __init__(self, context: Any, interface: Interface) -> None:
        self.context = context
        self.node = rclpy.create_node("robot", context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self._clients: dict[str, Any] = {}
        self.joint_names = list(interface.observation["joints"].names)  # type: ignore[union-attr]
        self.topics = {name: s.topic for name, s in interface.observation.items()}
        create = self.node.create_publisher
        self.clock = create(Clock, "/clock", 10)
        self.camera = create(Image, self.topics["camera"], 10)
        self.joints = create(JointState, self.topics["joints"], 10)
        self.tool = create(PoseStamped, self.topics["tool"], 10)
        self.commands: list[TwistStamped] = []
        topic = interface.command.topic
        self.listener = self.node.create_subscription(
            TwistStamped, topic, self.commands.append, 100
        )

    def add(self, node: Any) -> None:
        self.executor.add_node(node)

    def until(self, condition: Callable[[], bool]) -> None:
        spin_until(self.executor, condition)

    def heard(self, topic: str, count: int = 1) -> None:
        self.until(lambda: self.node.count_subscribers(topic) >= count)

    def tick(self, step: int, *, x: float = 0.5, only: str = "camera joints tool") -> None:
        """Publish one set of samples and then their time."""
        stamp = Time(sec=step // 10, nanosec=step % 10 * PERIOD)
        self._publish(stamp, step, x, only)
        self.clock.publish(Clock(clock=stamp))

    def tick_now(self) -> None:
        """Publish one set of samples with the current time."""
        self._publish(self.node.get_clock().now().to_msg(), 0, 0.5, "camera joints tool")

    def repeat(self, seconds: float, call: Callable[[], None]) -> Any:
        """Call a function at an interval of real time; return its timer."""
        return self.node.create_timer(seconds, call)

    def _publish(self, stamp: Time, step: int, x: float, only: str) -> None:
        if "camera" in only and self.camera is not None:
            pixels = np.full((120, 160, 3), step % 256, np.uint8)
            message = Image(height=120, width=160, encoding="rgb8", step=480)
            message.data = pixels.tobytes()
            message.header.stamp = stamp
            self.camera.publish(message)
        if "joints" in only:
            positions = [0.1 * i for i in range(len(self.joint_names))]
            states = JointState(name=self.joint_names, position=positions)
            states.header.stamp = stamp
            self.joints.publish(states)
        if "tool" in only:
            pose = PoseStamped()
            pose.header.stamp, pose.header.frame_id = stamp, "base_link"
            pose.pose.position.x = x
            self.tool.publish(pose)

    def command_at(self, step: int) -> TwistStamped:
        """Wait for the command with the stamp of a tick."""

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
        future = self._client(kind, name).call_async(request)
        self.until(future.done)
        return future.result()

    def _client(self, kind: Any, name: str) -> Any:
        """Client of a node's service that the node has discovered.

        A server drops its answer to a client in another process that it has not discovered yet.
        Clients are announced in order: a server that answers a later client has discovered this
        one too.
        """
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
            later = f"{name.rpartition('/')[0]}/list_parameters"
            known = self.node.create_client(ListParameters, later)
            # Separate waits, so that the traceback of a rare failure shows which service is
            # missing.
            self.until(self._clients[name].service_is_ready)
            self.until(known.service_is_ready)
            asked: list[tuple[float, Any]] = []

            def answered() -> bool:
                if not asked or time.monotonic() - asked[-1][0] > 1.0:
                    asked.append((time.monotonic(), known.call_async(ListParameters.Request())))
                return any(future.done() for _, future in asked)

            self.until(answered)
            self.node.destroy_client(known)
        return self._clients[name]


def parameters(**values: Any) -> list[Parameter]:
    return [Parameter(name, value=value) for name, value in values.items()]


def planar(command: TwistStamped) -> list[float]:
    return [command.twist.linear.x, command.twist.linear.y]
