"""The command topic of a node: what was decided, or the safe command."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.duration import Duration
from rclpy.node import Node

from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.interface.action import TRAJECTORY
from ebm_policy_ros.messages.commands import fill_command, fill_gripper
from ebm_policy_ros.nodes.topics import message_class
from ebm_policy_ros.setpoint import Setpoint
from ebm_policy_ros.state import Measured

Actions = npt.NDArray[np.float64]

# So long a node waits for its last command to arrive.
_LAST_COMMAND = Duration(seconds=0.5)
_PROPOSED = "~/proposed_command"


class Outputs:
    """Publishes commands, or proposes them, while open.

    The safe command is zero for a velocity. For a position it is where the arm was last told to
    be at that moment, or where it was measured before the first command; if neither is known,
    nothing is sent. The gripper gets no safe command: it keeps what it holds.
    """

    def __init__(self, node: Node, interface: Interface, publish: bool) -> None:
        """Opens the topics.

        Args:
            node: Whose publishers they are.
            interface: Tells what an action means.
            publish: False for shadow mode: commands go to `~/proposed_command` alone.
        """
        self._node, self._interface = node, interface
        self._action = interface.action
        self.publishes = publish
        self._class = message_class(self._action.type)
        topic = self._action.topic if publish else _PROPOSED
        self._publisher = node.create_publisher(self._class, topic, 1)
        gripper = self._action.gripper
        self._gripper: Any = None
        if gripper is not None:
            topic = gripper.topic if publish else f"{_PROPOSED}_gripper"
            self._gripper = node.create_publisher(message_class(gripper.type), topic, 1)
        self._point: Any = None
        if TRAJECTORY in (self._action.type, gripper.type if gripper else ""):
            self._point = message_class("trajectory_msgs/msg/JointTrajectoryPoint")
        self._setpoint = Setpoint()
        self._held: Actions | None = None

    @property
    def takes_horizon(self) -> bool:
        """Whether a command has all actions of a decision, and not only the first."""
        return self._action.type == TRAJECTORY

    def close(self) -> None:
        """Close the topics once the last command has arrived."""
        self._publisher.wait_for_all_acked(_LAST_COMMAND)
        for publisher in (self._publisher, self._gripper):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def forget(self) -> None:
        """Begin anew from where the arm is, which somebody may have moved meanwhile."""
        self._setpoint.clear()
        self._held = None

    def problem(self) -> str:
        """Why commanding makes no sense, or is not for this node alone; empty if all is well."""
        if not self.publishes:
            return ""
        topic = self._publisher.topic_name
        if self._publisher.get_subscription_count() == 0:
            return f"nobody listens on {topic}; start the controller"
        if self._node.count_publishers(topic) > 1:
            names = [p.node_name for p in self._node.get_publishers_info_by_topic(topic)]
            if self._node.get_name() in names:
                names.remove(self._node.get_name())  # once: another may be called the same
            return f"{', '.join(names)} may command on {topic} too; stop it first"
        return ""

    def send(
        self, actions: Actions, measured: Measured, time_ns: int, blend: float, limits: Any
    ) -> Actions:
        """Command the first of the actions, or all of them as a trajectory.

        Args:
            actions: Guarded, shape (H, D), in the interface's units.
            measured: The arm's state.
            time_ns: Of the observation.
            blend: For a trajectory, seconds of crossfade from the last one.
            limits: For a trajectory, the largest velocity of each dimension.

        Returns:
            What went out, shape (H', D) without the gripper.
        """
        self._held = None
        size = len(self._action.fields)
        arm = actions[:, :size]
        if self.takes_horizon:
            points, times = self._plan(arm, measured, time_ns, blend, limits)
            self._publish_points(points, times, time_ns)
            sent = points
        else:
            sent = arm[:1]
            if not self._action.is_velocity:
                self._setpoint.follow(sent, np.array([time_ns]))
            self._publish(sent[0], time_ns)
        if self._gripper is not None:
            gripper, period = self._action.gripper, self._interface.period_ns
            assert gripper is not None
            message = message_class(gripper.type)()
            fill_gripper(
                message, gripper, actions[0, size], time_ns, period / NANOSECONDS, self._point
            )
            self._gripper.publish(message)
        return sent

    def _plan(
        self, arm: Actions, measured: Measured, time_ns: int, blend: float, limits: Any
    ) -> tuple[Actions, npt.NDArray[np.int64]]:
        """The points that go on from the last trajectory, and their times."""
        period = self._interface.period_ns
        times: npt.NDArray[np.int64] = time_ns + period * np.arange(1, len(arm) + 1)
        now = max(time_ns, self._node.get_clock().now().nanoseconds)
        told, here = self._setpoint.at(now), self._place(measured)
        # An arm that is twice as far away as it may lag behind was moved by somebody else.
        reach = 2 * limits * (period / NANOSECONDS + self._action.lag)
        if told is None or (np.abs(told - here) > reach).any():
            self._setpoint.follow(here[None], np.array([now]))
        points, times = self._setpoint.join(arm, times, now, blend, limits)
        self._setpoint.follow(points, times)
        return points, times

    def _place(self, measured: Measured) -> Actions:
        return np.array([measured.position[field] for field in self._action.fields])

    def hold(self, time_ns: int, measured: Measured | None) -> None:
        """Command to stand still.

        Args:
            time_ns: Now.
            measured: The arm's last known state, if any.
        """
        if self._action.is_velocity:
            self._publish(np.zeros(len(self._action.fields)), time_ns)
            return
        if self._held is None:
            self._held = self._setpoint.at(time_ns)
        if self._held is None and measured is not None and measured.position:
            self._held = self._place(measured)
        if self._held is None:
            return  # any position might be a motion
        if self._action.type == TRAJECTORY:
            # A controller refuses a trajectory that ends in the past.
            times = np.array([time_ns + self._interface.period_ns])
            self._publish_points(self._held[None], times, time_ns)
            self._setpoint.follow(self._held[None], times)
        else:
            self._publish(self._held, time_ns)

    def _publish(self, values: Actions, time_ns: int) -> None:
        self._publisher.publish(fill_command(self._class(), self._action, values, time_ns))

    def _publish_points(self, points: Actions, times: npt.NDArray[np.int64], time_ns: int) -> None:
        seconds = (times - time_ns) / NANOSECONDS
        message = fill_command(self._class(), self._action, points, time_ns, seconds, self._point)
        self._publisher.publish(message)
