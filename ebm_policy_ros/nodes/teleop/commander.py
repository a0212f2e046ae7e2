"""Commander: sends teleoperation commands, with the same limits as for a policy's decisions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rclpy.node import Node

from ebm_policy_ros.control.limits import Limits
from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.takeover import PersonCommand
from ebm_policy_ros.nodes.common.arms import Arm, Arms, ArmStates, RobotStates
from ebm_policy_ros.nodes.common.inputs import Inputs
from ebm_policy_ros.nodes.common.outputs import Command
from ebm_policy_ros.nodes.common.pauses import PauseWatch
from ebm_policy_ros.nodes.teleop.takeover import TakeoverLink
from ebm_policy_ros.observation.buffer import Snapshot, StaleObservation
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.teleop.mapping import TeleopCommand, TeleopMapping, Vector

# Time after a pause of the process in which nothing moves, until queued input is processed, s.
_AFTER_A_PAUSE = 0.5
# Largest takeover_timeout of a policy node, nanoseconds.
_LONGEST_SILENCE_NS = 2 * NANOSECONDS


class Commander:
    """Takes the command topics when they are wanted and free, and releases them afterwards.

    While it holds them, it sends a command to each arm at every tick: the teleoperation command,
    or the safe command while there is a problem with any of them.
    """

    def __init__(
        self,
        node: Node,
        interface: Interface,
        limits: Sequence[Limits],
        check_topic: bool,
        link: TakeoverLink | None = None,
    ) -> None:
        """Open the inputs that the guard needs.

        Args:
            node: Node whose topics, clock and log are used.
            interface: Defines the meaning of an action.
            limits: Limits of the commands of each part.
            check_topic: True to hold beside another publisher, or without a subscriber.
            link: Receives the commands in place of the arm, whose topic then stays closed.
        """
        self._link, self._sent_ns = link, 0
        self._node, self._interface, self._check_topic = node, interface, check_topic
        self.arms = Arms(node, interface, limits)
        alone = [part.interface for part in interface.parts]
        needed = {one.command.measured for one in alone}
        needed |= {one.workspace.stream for one in alone if one.workspace}
        self._inputs = Inputs(node, interface, lambda name: None, sorted(needed - {""}))
        self._states = ArmStates(interface)
        self._pauses = PauseWatch()
        self.last_tick = 0
        """Time of the last tick, nanoseconds."""
        self._measured: RobotStates | None = None
        self._snapshot: Snapshot | None = None
        self._unseen = ""
        self._wanted = False
        self.problem = ""
        """Reason why the arm holds or the topic is not taken; empty if there is no problem."""
        self.changed: tuple[str, ...] = ()
        """Changes of the last commands by the guards."""

    @property
    def is_wanted(self) -> bool:
        """True if the arm should be commanded."""
        return self._wanted

    @property
    def state(self) -> str:
        """State in one word, for users."""
        if not self._wanted:
            return "free"
        if not self.arms.is_open:
            return "waiting"
        return "holding" if self.problem else "commanding"

    def take(self) -> None:
        """Command the arm from the next tick on."""
        self._wanted = True

    def let_go(self) -> None:
        """Send the safe commands and release the topics."""
        if self._link is not None:
            self._link.let_go()
        self._release()

    def _release(self) -> None:
        self._wanted, self.problem, self.changed = False, "", ()
        self.arms.close(self._now())

    def close(self) -> None:
        """Release the topics and close the inputs.

        A policy node is told to stand still, but not that the person has let go: it stops, because
        a program that ends is no decision that the policy shall go on.
        """
        self._pauses.close()
        if self.arms.is_open:
            self._rest(self._now())
        self._release()
        self.arms.destroy()
        self._inputs.close()
        if self._link is not None:
            self._link.close()

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def pause(self) -> str:
        """Description of a recent pause of this process (queued input is old); empty if none."""
        return self._pauses.problem(_AFTER_A_PAUSE)

    def look(self, now: int) -> RobotStates | None:
        """State of each arm at a tick; None if it is not known.

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
            self._measured = self._states.update(seen, snapshot.stamps, now)
        return self._measured

    def _set_back(self, now: int) -> None:
        """Delete the samples after the clock was set back."""
        self._inputs.clear()
        self._states.clear()
        self.arms.set_back(now, self.last_tick)

    def tick(
        self, now: int, desired: Sequence[TeleopCommand], mappings: Sequence[TeleopMapping]
    ) -> None:
        """Send a command to each arm, or hold.

        Args:
            now: Time of the last `look`, nanoseconds.
            desired: Current teleoperation command of each arm.
            mappings: Mapping of each command to actions.
        """
        if not self._wanted:
            return
        other = self.arms.rivals() if self._check_topic and self._link is None else ""
        if other and not self.arms.is_open:
            self._wanted, self.problem = False, other
            return
        wrong = next((one.problem for one in desired if one.problem), "")
        problem = other or self.pause() or self._unseen or wrong
        if problem and not self.arms.is_open:
            self.problem = problem
            return
        if not self.arms.is_open:
            self.arms.open(publish=self._link is None)
        problem = problem or self._unheard()
        self.problem = problem or self._send(now, desired, mappings)
        if self.problem:
            self.arms.hold(now, self._measured)
            self._rest(now)

    def _rest(self, now: int) -> None:
        """Command a policy node once to stand still; in the silence that follows it stops."""
        link = self._link
        # After a longer silence it has stopped already, and may decide again.
        if link is None or not link.is_moving or now - self._sent_ns > _LONGEST_SILENCE_NS:
            return
        rows = []
        for index, arm in enumerate(self.arms):
            state = None if self._measured is None else self._measured[index]
            still = arm.outputs.still(now, state)
            if still is None:
                return
            row = np.zeros((1, len(arm.part.interface.command.names)))  # no gripper is commanded
            row[0, : len(still)] = still
            rows.append(row)
        link.send_last(PersonCommand(tuple(rows), (False,) * len(rows)))

    def _unheard(self) -> str:
        """Problem that nobody receives the commands; empty if there is none."""
        if self._link is not None:
            return self._link.problem()
        return self.arms.listeners() if self._check_topic else self.arms.gripper_problem()

    def _outdated(self) -> str:
        """List the streams of the arm that are too old just before a command is sent."""
        assert self._snapshot is not None
        return self._snapshot.outdated(self._now(), self._interface.period_ns)

    def _send(
        self, now: int, desired: Sequence[TeleopCommand], mappings: Sequence[TeleopMapping]
    ) -> str:
        """Send a command to each arm; return the reason if it is not possible."""
        assert self._measured is not None
        wishes = list(zip(self.arms, self._measured, desired, mappings, strict=True))
        # A node that is linked sends between two ticks too.
        since = None if self._link is None else max(0, now - self._sent_ns) / NANOSECONDS
        rows = [
            mapping.actions(wish, _setpoint(arm, now, state), arm.guard.limits, since)
            for arm, state, wish, mapping in wishes
        ]
        actions, self.changed = self.arms.guarded(rows, self._measured)
        if actions is None:
            return f"guard: {', '.join(self.changed)}"
        commands: list[Command] = []
        grips: list[bool] = []
        for (arm, state, wish, mapping), guarded in zip(wishes, actions, strict=True):
            grip = mapping.grip is not None
            if wish.target is not None:
                # What a policy has gripped stays gripped until the person moves the gripper.
                grip = self._link is None or wish.grips
            # A plan has one or two periods only, so it is not crossfaded.
            limits = arm.guard.limits
            commands.append(arm.outputs.command(guarded, state, now, limits, 0.0, grip))
            grips.append(grip)
        # No slow step is allowed between this check and the sending.
        if outdated := self.pause() or self._outdated():
            return outdated
        self.arms.send(commands)
        self._sent_ns = now
        if self._link is not None:
            self._link.send(PersonCommand(tuple(actions), tuple(grips)))
        return ""


def _setpoint(arm: Arm, now: int, state: RobotState) -> Vector | None:
    """Current setpoint of an arm that is commanded by positions."""
    is_velocity = arm.part.interface.command.is_velocity
    return None if is_velocity else arm.outputs.setpoint_at(now, state)
