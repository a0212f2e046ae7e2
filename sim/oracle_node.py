"""oracle_node: the task's scripted teleoperator, on the topics that a person's commands use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import PoseArray, PoseStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from ebm_policy_ros.interface import NANOSECONDS, Action, Gripper, Interface, load_interface
from ebm_policy_ros.messages.commands import command_message
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.common.parameters import Setting, declare_all
from ebm_policy_ros.nodes.common.spin import run_node
from ebm_policy_ros.nodes.common.ticks import ClockWatch
from ebm_policy_ros.sim.tasks import Demonstrator, make_task
from ebm_policy_ros.util.resources import interface_path

SETTINGS = (
    Setting("task", "push", "Task of the simulation: a name, or my_package.my_module.MyTask."),
    Setting("interface", "", "Interface file, or a shipped one's name; empty: the task's."),
    Setting("bridge", "sim_bridge_node", "Name of the simulation's node."),
)


class OracleNode(Node):
    """Answers each new scene of the simulation with the demonstrator's command."""

    def __init__(self, **options: Any) -> None:
        """Subscribes to the simulation's true scene and the tool's pose.

        Args:
            **options: As rclpy's nodes take them.
        """
        super().__init__("oracle_node", **options)
        ClockWatch(self, log=True)
        values = declare_all(self, SETTINGS)
        self._task = make_task(values["task"])
        self._interface = load_interface(
            interface_path(values["interface"] or self._task.interface)
        )
        bridge: str = values["bridge"]
        self._task.demonstrator(np.random.default_rng(0), self._interface)  # or refuse now
        self._demonstrator: Demonstrator | None = None
        self._seed: int | None = None
        self._scene: Any = None
        topics = _tool_topics(self._interface)
        self._tools: list[Any] = [None] * len(topics)
        self._commanders = {
            command.topic: self.create_publisher(
                message_class(command.command_type.ROS_TYPE), command.topic, 10
            )
            for command in self._interface.commands
        }
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, f"{bridge}/status", self._on_status, latched)
        self.create_subscription(PoseArray, f"{bridge}/scene", self._on_scene, 1)
        for number, topic in enumerate(topics):
            self.create_subscription(PoseStamped, topic, partial(self._on_tool, number), 1)

    def _on_status(self, message: Any) -> None:
        status = json.loads(message.data)
        if status["state"] == "running":
            self._seed = status["seed"]
            self._demonstrator = None
            # It acts on what comes from now on: the simulation sends samples after a start.
            self._scene, self._tools = None, [None] * len(self._tools)
        else:
            self._seed = None

    def _on_scene(self, message: Any) -> None:
        self._scene = message
        self._act()

    def _on_tool(self, number: int, message: Any) -> None:
        self._tools[number] = message
        self._act()

    def _act(self) -> None:
        """Command once all parts of a scene are there."""
        if self._seed is None or self._scene is None or None in self._tools:
            return
        time_ns = stamp_ns(self._scene)
        if any(stamp_ns(tool) != time_ns for tool in self._tools):
            return
        if self._demonstrator is None:
            rng = np.random.default_rng(self._seed)
            self._demonstrator = self._task.demonstrator(rng, self._interface)
        poses = np.array([_values(pose) for pose in self._scene.poses]).reshape(-1, 7)
        tools = np.concatenate([_values(tool.pose) for tool in self._tools])
        self._publish(self._demonstrator.act(tools, poses), time_ns)

    def _publish(self, values: npt.NDArray[np.float64], time_ns: int) -> None:
        """Publish an action, a gripper's part first: the arm's ends the simulation's tick."""
        values = np.clip(values, *self._interface.action.bounds)  # as teleoperation does
        for part in self._interface.parts:
            action, own = part.interface.command, values[part.columns]
            if action.gripper is not None:
                self._send(action.gripper, own[-1:], time_ns)
            self._send(action, own[: len(action.fields)], time_ns)

    def _send(
        self, command: Action | Gripper, values: npt.NDArray[np.float64], time_ns: int
    ) -> None:
        seconds = np.array([self._interface.period_ns / NANOSECONDS])
        message = command_message(command, values[None], time_ns, seconds)
        self._commanders[command.topic].publish(message)

    def close(self) -> None:
        """Do nothing: a simulation without commands needs no last one."""


def _tool_topics(interface: Interface) -> list[str]:
    """Topics of the poses of the tools: the only arm's, or those that measure each part."""
    streams = interface.observation
    poses = {n: s.topic for n, s in streams.items() if s.type.endswith("PoseStamped")}
    if len(interface.parts) == 1:
        return list(poses.values())[:1]
    measured = {part.name: part.interface.command.measured for part in interface.parts}
    for name, stream in measured.items():
        if not stream:
            raise ValueError(
                f"action.parts.{name}.measured: missing, expected the stream of the tool's pose"
            )
    return [poses[stream] for stream in measured.values()]


def _values(pose: Any) -> npt.NDArray[np.float64]:
    """Return x, y, z, qx, qy, qz, qw of a pose's message."""
    at, turn = pose.position, pose.orientation
    return np.array([at.x, at.y, at.z, turn.x, turn.y, turn.z, turn.w])


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(OracleNode, "oracle_node", SETTINGS, args)


if __name__ == "__main__":
    main()
