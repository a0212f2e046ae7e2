"""Commander: sends teleoperation commands, with the same limits as for a policy's decisions."""

from __future__ import annotations

from rclpy.node import Node

from ebm_policy_ros.control.command_guard import CommandGuard
from ebm_policy_ros.control.limits import Limits
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.nodes.common.command_session import CommandSession
from ebm_policy_ros.nodes.common.inputs import Inputs
from ebm_policy_ros.nodes.common.outputs import Outputs
from ebm_policy_ros.nodes.common.pauses import PauseWatch
from ebm_policy_ros.observation.buffer import Snapshot, StaleObservation
from ebm_policy_ros.observation.robot_state import RobotState, RobotStateEstimator
from ebm_policy_ros.teleop.mapping import TeleopCommand, TeleopMapping

# Time after a pause of the process in which nothing moves, until queued input is processed, s.
_AFTER_A_PAUSE = 0.5


class Commander:
    """Takes the command topic when it is wanted and free, and releases it afterwards.

    While it holds the topic, it sends a command at every tick: the teleoperation command, or the
    safe command while there is a problem.
    """

    def __init__(
        self, node: Node, interface: Interface, limits: Limits, check_topic: bool
    ) -> None:
        """Open the inputs that the guard needs.

        Args:
            node: Node whose topics, clock and log are used.
            interface: Defines the meaning of an action.
            limits: Limits of the commands.
            check_topic: True to hold beside another publisher, or without a subscriber.
        """
        self._node, self._interface, self._check_topic = node, interface, check_topic
        self.guard = CommandGuard(interface, limits)
        box = interface.workspace
        needed = {interface.action.measured, box.stream if box else ""} - {""}
        self._inputs = Inputs(node, interface, lambda name: None, sorted(needed))
        self._estimator = RobotStateEstimator(interface)
        self._session = CommandSession(node, interface)
        self._pauses = PauseWatch()
        self.last_tick = 0
        """Time of the last tick, nanoseconds."""
        self._measured: RobotState | None = None
        self._snapshot: Snapshot | None = None
        self._unseen = ""
        self._wanted = False
        self.problem = ""
        """Reason why the arm holds or the topic is not taken; empty if there is no problem."""
        self.changed: tuple[str, ...] = ()
        """Changes of the last command by the guard."""

    @property
    def is_wanted(self) -> bool:
        """True if the arm should be commanded."""
        return self._wanted

    @property
    def state(self) -> str:
        """State in one word, for users."""
        if not self._wanted:
            return "free"
        if not self._session.is_open:
            return "waiting"
        return "holding" if self.problem else "commanding"

    def take(self) -> None:
        """Command the arm from the next tick on."""
        self._wanted = True

    def let_go(self) -> None:
        """Send the safe command and release the topic."""
        self._wanted, self.problem, self.changed = False, "", ()
        self._session.close(self._now())

    def close(self) -> None:
        """Release the topic and close the inputs."""
        self._pauses.close()
        self.let_go()
        self._inputs.close()

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def pause(self) -> str:
        """Description of a recent pause of this process (queued input is old); empty if none."""
        return self._pauses.problem(_AFTER_A_PAUSE)

    def look(self, now: int) -> RobotState | None:
        """Robot state at a tick; None if it is not known.

        Args:
            now: Time of the tick, nanoseconds.
        """
        if now < self.last_tick:
            self._set_back(now)
        self.last_tick = now
        self._measured, self._unseen = None, ""
        try:
            self._snapshot = snapshot = self._inputs.snapshot(now)
            seen = snapshot.measured(self._inputs.buffer)
        except (StaleObservation, MessageError) as problem:
            self._unseen = str(problem)
        else:
            self._measured = self._estimator.update(seen, snapshot.stamps, now)
        return self._measured

    def _set_back(self, now: int) -> None:
        """Delete the samples after the clock was set back."""
        self._inputs.clear()
        self._estimator.clear()
        self._session.set_back(now, self.last_tick)

    def tick(self, now: int, desired: TeleopCommand, mapping: TeleopMapping) -> None:
        """Send a command, or hold.

        Args:
            now: Time of the last `look`, nanoseconds.
            desired: Current teleoperation command.
            mapping: Mapping of the command to actions.
        """
        if not self._wanted:
            return
        other = self._session.rivals() if self._check_topic else ""
        if other and not self._session.is_open:
            self._wanted, self.problem = False, other
            return
        problem = other or self.pause() or self._unseen or desired.problem
        if problem and not self._session.is_open:
            self.problem = problem
            return
        outputs = self._session.outputs or self._session.open()
        if not problem and self._check_topic:
            problem = self._session.listeners()
        self.problem = problem or self._send(outputs, now, desired, mapping)
        if self.problem:
            self._session.hold(now, self._measured)

    def _outdated(self) -> str:
        """List the streams of the arm that are too old just before a command is sent."""
        assert self._snapshot is not None
        return self._snapshot.outdated(self._now(), self._interface.period_ns)

    def _send(
        self, outputs: Outputs, now: int, desired: TeleopCommand, mapping: TeleopMapping
    ) -> str:
        """Send a command; return the reason if it is not possible."""
        assert self._measured is not None
        is_velocity = self._interface.action.is_velocity
        told = None if is_velocity else outputs.setpoint_at(now, self._measured)
        actions = mapping.actions(desired, told, self.guard.limits)
        guarded = self.guard.guard(actions, self._measured)
        self.changed = guarded.interventions
        if guarded.actions is None:
            return f"guard: {', '.join(guarded.interventions)}"
        grip = desired.target is not None or mapping.grip is not None
        # A plan has one or two periods only, so it is not crossfaded.
        limits = self.guard.limits
        command = outputs.command(guarded.actions, self._measured, now, limits, 0.0, grip)
        # No slow step is allowed between this check and the sending.
        if outdated := self.pause() or self._outdated():
            return outdated
        self._session.send(command)
        return ""
