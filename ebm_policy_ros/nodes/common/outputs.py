"""The command topic of a node: what was decided, or the safe command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.duration import Duration
from rclpy.node import Node

from ebm_policy_ros.control.limits import Limits
from ebm_policy_ros.control.setpoint import Setpoint
from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.interface.action import TRAJECTORY
from ebm_policy_ros.messages.commands import fill_command, fill_gripper
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.util.geometry import near, wrap

Actions = npt.NDArray[np.float64]

# So long a node waits for its last command to arrive.
_LAST_COMMAND = Duration(seconds=0.5)
_PROPOSED = "~/proposed_command"
# Positions that differ by less are the same but for the sensor's noise, rad or m.
_NOISE = 0.01


@dataclass(frozen=True)
class Command:
    """What is to be sent, complete: nothing is left to do but to publish it."""

    sent: Actions
    """Shape (H', D), without the gripper."""
    times: npt.NDArray[np.int64] | None
    """When to be at each, nanoseconds, shape (H',); None for a velocity."""
    message: Any
    gripper: Any
    """None if it is left alone."""


class Outputs:
    """Publishes commands, or proposes them, while open.

    The safe command is zero for a velocity. For a position it is where the arm was told to be at
    that moment, or where it is measured if somebody moved it. The gripper gets no safe command: it
    keeps what it holds.
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
        self._held: Actions | None = None
        if gripper is not None:
            topic = gripper.topic if publish else f"{_PROPOSED}_gripper"
            self._gripper = node.create_publisher(message_class(gripper.type), topic, 1)
        self._point: Any = None
        if TRAJECTORY in (self._action.type, gripper.type if gripper else ""):
            self._point = message_class("trajectory_msgs/msg/JointTrajectoryPoint")
        self._setpoint = Setpoint()
        self.forget()

    @property
    def takes_horizon(self) -> bool:
        """Whether a command has all actions of a decision, and not only the first."""
        return self._action.type == TRAJECTORY

    def close(self) -> None:
        """Close the topics once the last commands have arrived."""
        publishers = [p for p in (self._publisher, self._gripper) if p is not None]
        for publisher in publishers:
            publisher.wait_for_all_acked(_LAST_COMMAND)
            self._node.destroy_publisher(publisher)

    def forget(self) -> None:
        """Begin anew from where the arm is, which somebody may have moved meanwhile."""
        self._setpoint.clear()
        self._held = None
        self._commanded = False

    def freeze(self, time_ns: int) -> None:
        """Hold from now on what was commanded for a time, whatever the clock says later."""
        self._held = self._setpoint.at(time_ns)
        self._setpoint.clear()

    def command(
        self,
        actions: Actions,
        measured: RobotState,
        time_ns: int,
        limits: Limits,
        blend: float,
        grip: bool,
    ) -> Command:
        """Command for the first of the actions, or for all of them as a trajectory; not sent yet.

        Args:
            actions: Guarded, shape (H, D), in the interface's units.
            measured: The arm's state.
            time_ns: The stamp; a trajectory's times count from it.
            limits: Of a trajectory that joins the last one.
            blend: Seconds of its crossfade.
            grip: Whether the gripper is commanded too.
        """
        arm = actions[:, : len(self._action.fields)]
        times: npt.NDArray[np.int64] | None = None
        if self.takes_horizon:
            sent, times = self._plan(arm, measured, time_ns, limits, blend)
            message = self._filled_points(sent, times, time_ns)
        else:
            sent = arm[:1]
            if not self._action.is_velocity:
                times = np.array([time_ns])
            message = self._filled(sent[0], time_ns)
        gripper, filled = self._action.gripper, None
        if gripper is not None and grip:
            seconds = self._interface.period_ns / NANOSECONDS
            filled = message_class(gripper.type)()
            fill_gripper(filled, gripper, actions[0, -1], time_ns, seconds, self._point)
        return Command(sent, times, message, filled)

    def send(self, command: Command) -> None:
        """Publish a command. Nothing that takes time comes before: it was true a moment ago."""
        self._commanded = True
        self._publisher.publish(command.message)
        if command.gripper is not None:
            self._gripper.publish(command.gripper)
        if command.times is not None:
            self._setpoint.follow(command.sent, command.times)
        self._held = None

    def _plan(
        self, arm: Actions, measured: RobotState, time_ns: int, limits: Limits, blend: float
    ) -> tuple[Actions, npt.NDArray[np.int64]]:
        """The points that go on from the last trajectory, and their times."""
        period = self._interface.period_ns
        times: npt.NDArray[np.int64] = time_ns + period * np.arange(1, len(arm) + 1)
        now = max(time_ns, self._now())
        self.told(now, measured)
        points, times = self._setpoint.join(
            arm, times, now, blend, limits.max_velocity, limits.max_acceleration
        )
        # What is left of the old plan counts no more than the limits of now.
        size = points.shape[1]
        low = np.minimum(limits.low[:size], points[0])
        high = np.maximum(limits.high[:size], points[0])
        points = np.clip(points, low, high)
        if len(points) == 1:  # everything planned is past
            times = np.array([now + period])
        return points, times

    def told(self, time_ns: int, measured: RobotState) -> Actions:
        """Where the arm is told to be at a time, shape (D,); only for a position.

        That is where it is measured before the first command, or if somebody moved it since; from
        then on it counts as told to be there.
        """
        told = self._setpoint.at(time_ns)
        if told is not None:
            aligned = self._aligned(told, measured)
            self._setpoint.shift(aligned - told)
            told = aligned
        if told is None or self._is_elsewhere(told, measured):
            told = self._place(measured)
            self._setpoint.follow(told[None], np.array([time_ns]))
        return told

    def _aligned(self, told: Actions, measured: RobotState) -> Actions:
        """Commanded position, its turns counted as those measured, which may wrap."""
        endless, aligned = self._interface.continuous, told.copy()
        aligned[endless] = near(told[endless], self._place(measured)[endless])
        return aligned

    def _is_elsewhere(self, told: Actions, measured: RobotState) -> bool:
        """Whether the arm is twice as far away as it may lag behind: somebody moved it."""
        seconds = self._interface.period_ns / NANOSECONDS + self._action.lag
        # The interface's limit: one that was tightened doesn't undo a lag that is there.
        reach = 2 * np.asarray(self._action.max_velocity) * seconds
        apart = told - self._place(measured)
        apart[self._interface.continuous] = wrap(apart[self._interface.continuous])
        return bool((np.abs(apart) > np.maximum(reach, _NOISE)).any())

    def _place(self, measured: RobotState) -> Actions:
        return np.array([measured.position[field] for field in self._action.fields])

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def hold(self, time_ns: int, measured: RobotState | None) -> None:
        """Command to stand still; an arm that was not commanded here is left alone.

        Args:
            time_ns: Of the tick.
            measured: The arm's state, if it is known at this tick.
        """
        if not self._commanded:
            return
        # A decision that came too late has taken its time.
        now = max(time_ns, self._now())
        if self._action.is_velocity:
            self._publisher.publish(self._filled(np.zeros(len(self._action.fields)), now))
            return
        if self._held is None:
            self._held = self._setpoint.at(now)
        if self._held is None and measured is not None:
            self._held = self._place(measured)
        if self._held is None:
            return  # any position might be a motion
        if measured is not None:
            self._held = self._aligned(self._held, measured)
        if measured is not None and self._is_elsewhere(self._held, measured):
            self._held = self._place(measured)
        if self.takes_horizon:
            # A controller refuses a trajectory that ends in the past.
            times = np.array([now + self._interface.period_ns])
            message = self._filled_points(self._held[None], times, now)
        else:
            times = np.array([now])
            message = self._filled(self._held, now)
        self._publisher.publish(message)
        self._setpoint.follow(self._held[None], times)

    def _filled(self, values: Actions, time_ns: int) -> Any:
        return fill_command(self._class(), self._action, values, time_ns)

    def _filled_points(self, points: Actions, times: npt.NDArray[np.int64], time_ns: int) -> Any:
        seconds = (times - time_ns) / NANOSECONDS
        return fill_command(self._class(), self._action, points, time_ns, seconds, self._point)
