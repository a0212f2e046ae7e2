"""Command topic of a node: commands from decisions, and the safe command."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.duration import Duration
from rclpy.node import Node

from ebm_policy_ros.control.limits import Limits
from ebm_policy_ros.control.setpoint import Setpoint
from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.interface.action import QUATERNION
from ebm_policy_ros.messages.commands import command_message
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.common.gripper_client import GripperClient
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.util.geometry import facing, near, wrap

Actions = npt.NDArray[np.float64]

# Time that a node waits for the delivery of its last commands, s.
_LAST_COMMAND = 0.5
# Positions that differ by less are equal within the sensor's noise, rad or m.
_NOISE = 0.01
# Positions that differ by less differ by rounding.
_SAME = 1e-9


def proposed_topic(node: str, part: str = "") -> str:
    """Topic of the commands that a node proposes in shadow mode.

    Args:
        node: Name of the node, or ~ for one's own.
        part: Name of the part of the action, if it has parts.
    """
    return f"{node}/proposed_command" + (f"_{part}" if part else "")


@dataclass(frozen=True)
class Command:
    """A complete command, ready to be published."""

    sent: Actions
    """Positions or velocities, shape (H', D), without the gripper."""
    times: npt.NDArray[np.int64]
    """Time of each, nanoseconds, shape (H',)."""
    message: Any
    gripper: Any
    """Gripper message; None if the gripper is not commanded."""
    grip: float
    """Position of the gripper; unused if it is not commanded."""


class Outputs:
    """Publishes commands, or proposes them in shadow mode, while open.

    The safe command is zero for a velocity. For a position it is the setpoint at that moment, or
    the measured position if the arm was moved by another node or by hand. There is no safe command
    for the gripper: it keeps its position.
    """

    def __init__(
        self,
        node: Node,
        interface: Interface,
        publish: bool,
        part: str = "",
        client: GripperClient | None = None,
    ) -> None:
        """Open the topics.

        Args:
            node: Node that owns the publishers.
            interface: Defines the meaning of an action.
            publish: False for shadow mode: commands are published on `~/proposed_command` only.
            part: Name of the part that this is, which `~/proposed_command` then ends with.
            client: Gets the positions of the gripper too, if commands are published.
        """
        self._client = client if publish else None
        self._node, self._interface = node, interface
        self._action = interface.command
        self.publishes = publish
        kind = message_class(self._action.command_type.ROS_TYPE)
        proposed = proposed_topic("~", part)
        topic = self._action.topic if publish else proposed
        self._publisher = node.create_publisher(kind, topic, 1)
        gripper = self._action.gripper
        self._gripper: Any = None
        self._held: Actions | None = None
        if gripper is not None:
            topic = gripper.topic if publish else f"{proposed}_gripper"
            kind = message_class(gripper.command_type.ROS_TYPE)
            self._gripper = node.create_publisher(kind, topic, 1)
        fields = self._action.fields
        # Indices of the quaternion's fields, if the action has a quaternion.
        whole = set(QUATERNION) <= set(fields)
        self._turn = [fields.index(field) for field in QUATERNION] if whole else []
        self._setpoint = Setpoint()
        self.forget()

    @property
    def takes_horizon(self) -> bool:
        """True if a command contains all actions of a decision; False if only the first."""
        return self._action.command_type.TAKES_HORIZON

    def close(self) -> None:
        """Close the topics after the last commands have been delivered."""
        end = time.monotonic() + _LAST_COMMAND
        for publisher in filter(None, (self._publisher, self._gripper)):
            left = max(0.0, end - time.monotonic())
            publisher.wait_for_all_acked(Duration(seconds=left))
            self._node.destroy_publisher(publisher)

    def forget(self) -> None:
        """Start again from the measured position; the arm may have been moved meanwhile."""
        self._setpoint.clear()
        self._held = None
        self._commanded = False

    def freeze(self, time_ns: int) -> None:
        """Hold the setpoint of a given time from now on, independent of the clock."""
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
        """Create a command from the first action, or from all as a trajectory; it is not sent yet.

        Args:
            actions: Guarded actions, shape (H, D), in the interface's units.
            measured: Measured robot state.
            time_ns: Stamp of the command, nanoseconds; the times of a trajectory start from it.
            limits: Limits for the transition from the last trajectory.
            blend: Duration of the crossfade from the last trajectory, s.
            grip: True to command the gripper too.
        """
        arm = actions[:, : len(self._action.fields)]
        sent, times = arm[:1], np.array([time_ns])
        if self.takes_horizon:
            sent, times = self._plan(arm, measured, time_ns, limits, blend)
        gripper, grips, position = self._action.gripper, None, 0.0
        if gripper is not None and grip:
            position = float(actions[0, -1])
            seconds = np.array([self._interface.period_ns / NANOSECONDS])
            grips = command_message(gripper, actions[:1, -1:], time_ns, seconds)
        return Command(sent, times, self._message(sent, times, time_ns), grips, position)

    def send(self, command: Command) -> None:
        """Publish a command; no slow step comes before, because its checks soon expire."""
        self._commanded = True
        self._publisher.publish(command.message)
        if command.gripper is not None:
            self._gripper.publish(command.gripper)
            if self._client is not None:
                self._client.move(command.grip)
        if not self._action.is_velocity:
            self._setpoint.follow(command.sent, command.times)
        self._held = None

    def _plan(
        self, arm: Actions, measured: RobotState, time_ns: int, limits: Limits, blend: float
    ) -> tuple[Actions, npt.NDArray[np.int64]]:
        """Points that continue the last trajectory, and their times."""
        period = self._interface.period_ns
        times: npt.NDArray[np.int64] = time_ns + period * np.arange(1, len(arm) + 1)
        now = max(time_ns, self._now())
        self.setpoint_at(now, measured)
        points, times = self._setpoint.join(
            arm, times, now, blend, limits.max_velocity, limits.max_acceleration
        )
        # The rest of the old plan must respect the current limits too.
        size = points.shape[1]
        low = np.minimum(limits.low[:size], points[0])
        high = np.maximum(limits.high[:size], points[0])
        points = np.clip(points, low, high)
        if len(points) == 1:  # all planned points are in the past
            times = np.array([now + period])
        return points, times

    def continued(
        self, actions: Actions, measured: RobotState, time_ns: int, limits: Limits
    ) -> Actions:
        """Actions whose position lies no further from the last one than the velocity limit allows.

        Velocities and trajectories stay as they are: the guard limits the acceleration of the
        former, and `command` lets the latter continue the last one.

        Args:
            actions: Actions, shape (H, D), in the interface's units.
            measured: Measured robot state.
            time_ns: Time of the command, nanoseconds.
            limits: Limits of the transition.

        Returns:
            Actions; the same array if nothing has to change.
        """
        last = self._setpoint.last_ns
        if self._action.is_velocity or self.takes_horizon or last is None:
            return actions
        told, size = self.setpoint_at(time_ns, measured), len(self._action.fields)
        wanted = actions[0, :size].copy()
        if self._turn:  # the same orientation has two quaternions
            wanted[self._turn] = facing(wanted[self._turn], told[self._turn])
        since = min(max(0, time_ns - last), self._interface.period_ns) / NANOSECONDS
        reach = limits.max_velocity * since
        first = told + np.clip(wanted - told, -reach, reach)
        if np.allclose(first, wanted, rtol=0.0, atol=_SAME):
            return actions
        changed = actions[:1].copy()
        changed[0, :size] = first
        return changed

    def setpoint_at(self, time_ns: int, measured: RobotState) -> Actions:
        """Setpoint at a time, shape (D,); only for a position.

        Before the first command, or if the arm was moved by another node or by hand, this is the
        measured position, which then becomes the setpoint.
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
        """Setpoint with its turns counted like the measured ones, which may wrap."""
        endless, aligned = self._interface.continuous, told.copy()
        aligned[endless] = near(told[endless], self._place(measured)[endless])
        return aligned

    def _is_elsewhere(self, told: Actions, measured: RobotState) -> bool:
        """True if the arm is further away than twice its possible lag: something else moved it."""
        seconds = self._interface.period_ns / NANOSECONDS + self._action.lag
        # Use the interface's limit: a tightened limit doesn't reduce a lag that is already there.
        reach = 2 * np.asarray(self._action.max_velocity) * seconds
        apart = told - self._place(measured)
        apart[self._interface.continuous] = wrap(apart[self._interface.continuous])
        return bool((np.abs(apart) > np.maximum(reach, _NOISE)).any())

    def _place(self, measured: RobotState) -> Actions:
        return np.array([measured.position[field] for field in self._action.fields])

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def hold(self, time_ns: int, measured: RobotState | None) -> None:
        """Command the arm to stand still, unless it was never commanded by this node.

        Args:
            time_ns: Time of the tick, nanoseconds.
            measured: Robot state, if it is known at this tick.
        """
        if not self._commanded:
            return
        # A late decision has taken some time since the tick.
        now = max(time_ns, self._now())
        still = self.still(now, measured)
        if still is None:
            return
        # A controller rejects a trajectory that ends in the past.
        times = np.array([now + self._interface.period_ns if self.takes_horizon else now])
        self._publisher.publish(self._message(still[None], times, now))
        if not self._action.is_velocity:
            self._setpoint.follow(still[None], times)

    def still(self, time_ns: int, measured: RobotState | None) -> Actions | None:
        """Velocity or position, shape (D,), at which the arm stands still from a time on.

        None if there was no command and the state is not known: any position could cause a motion.
        """
        if self._action.is_velocity:
            return np.zeros(len(self._action.fields))
        if self._held is None:
            self._held = self._setpoint.at(time_ns)
        if self._held is None and measured is not None:
            self._held = self._place(measured)
        if self._held is None or measured is None:
            return self._held
        self._held = self._aligned(self._held, measured)
        if self._is_elsewhere(self._held, measured):
            self._held = self._place(measured)
        return self._held

    def _message(self, points: Actions, times: npt.NDArray[np.int64], time_ns: int) -> Any:
        return command_message(self._action, points, time_ns, (times - time_ns) / NANOSECONDS)
