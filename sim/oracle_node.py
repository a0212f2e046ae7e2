"""oracle_node: the task's scripted teleoperator, on the topics that a person's commands use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import PoseArray, PoseStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from ebm_policy_ros.interface import NANOSECONDS, load_interface
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
        poses = [s for s in self._interface.observation.values() if s.type.endswith("PoseStamped")]
        self._task.demonstrator(np.random.default_rng(0), self._interface)  # or refuse now
        self._demonstrator: Demonstrator | None = None
        self._seed: int | None = None
        self._scene: Any = None
        self._tool: Any = None
        action, gripper = self._interface.command, self._interface.command.gripper
        kind = message_class(action.command_type.ROS_TYPE)
        self._publisher = self.create_publisher(kind, action.topic, 10)
        if gripper is not None:
            kind = message_class(gripper.command_type.ROS_TYPE)
            self._gripper = self.create_publisher(kind, gripper.topic, 10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, f"{bridge}/status", self._on_status, latched)
        self.create_subscription(PoseArray, f"{bridge}/scene", self._on_scene, 1)
        self.create_subscription(PoseStamped, poses[0].topic, self._on_tool, 1)

    def _on_status(self, message: Any) -> None:
        status = json.loads(message.data)
        if status["state"] == "running":
            self._seed = status["seed"]
            self._demonstrator = None
            # It acts on what comes from now on: the simulation sends samples after a start.
            self._scene = self._tool = None
        else:
            self._seed = None

    def _on_scene(self, message: Any) -> None:
        self._scene = message
        self._act()

    def _on_tool(self, message: Any) -> None:
        self._tool = message
        self._act()

    def _act(self) -> None:
        """Command once both halves of a scene are there."""
        if self._seed is None or self._scene is None or self._tool is None:
            return
        time_ns = stamp_ns(self._scene)
        if stamp_ns(self._tool) != time_ns:
            return
        if self._demonstrator is None:
            rng = np.random.default_rng(self._seed)
            self._demonstrator = self._task.demonstrator(rng, self._interface)
        poses = np.array([_values(pose) for pose in self._scene.poses]).reshape(-1, 7)
        self._publish(self._demonstrator.act(_values(self._tool.pose), poses), time_ns)

    def _publish(self, values: npt.NDArray[np.float64], time_ns: int) -> None:
        """Publish an action, the gripper's part first: the arm's ends the simulation's tick."""
        action, gripper = self._interface.command, self._interface.command.gripper
        values = np.clip(values, *action.bounds)  # as teleoperation does
        seconds = np.array([self._interface.period_ns / NANOSECONDS])
        if gripper is not None:
            values, grip = values[:-1], values[-1:]
            self._gripper.publish(command_message(gripper, grip[None], time_ns, seconds))
        self._publisher.publish(command_message(action, values[None], time_ns, seconds))

    def close(self) -> None:
        """Do nothing: a simulation without commands needs no last one."""


def _values(pose: Any) -> npt.NDArray[np.float64]:
    """Return x, y, z, qx, qy, qz, qw of a pose's message."""
    at, turn = pose.position, pose.orientation
    return np.array([at.x, at.y, at.z, turn.x, turn.y, turn.z, turn.w])


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(OracleNode, "oracle_node", SETTINGS, args)


if __name__ == "__main__":
    main()
