"""Sending: guards actions, completes them to commands, and sends these if nothing is too old."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.node import Node

from ebm_policy_ros.control.safety_state import SafetyStateMachine
from ebm_policy_ros.interface import NANOSECONDS
from ebm_policy_ros.nodes.common.arms import Actions, Arms, RobotStates
from ebm_policy_ros.nodes.common.outputs import Command
from ebm_policy_ros.nodes.policy.observer import PendingObservation
from ebm_policy_ros.nodes.policy.statistics import RuntimeStatistics
from ebm_policy_ros.nodes.policy.timeliness import Timeliness


class Withheld(Exception):
    """No command is sent, for the reason in the text."""


@dataclass(frozen=True)
class DesiredActions:
    """Actions that the policy or a person wants to be executed."""

    rows: Sequence[npt.NDArray[np.floating[Any]]]
    """Actions of each arm, shape (H, D) each."""
    begin: int
    """Time from which a trajectory counts, nanoseconds."""
    grips: Sequence[bool]
    """For each arm, true to command its gripper too."""
    speed: float = 1.0
    """Factor on the motions, 0 to 1."""
    blend: float = 0.0
    """Duration of the crossfade from the last trajectory, s."""


class CommandSender:
    """Sends desired actions as commands, whoever desires them, within the guards' limits.

    After a change of the commander, positions begin at the last one that was sent: until the
    desired ones are within reach, each lies no further from the last than the velocity limit
    allows. The guards have the last word.
    """

    def __init__(
        self,
        node: Node,
        arms: Arms,
        safety: SafetyStateMachine,
        statistics: RuntimeStatistics,
        timeliness: Timeliness,
    ) -> None:
        """Send through the topics of `arms` while these are open."""
        self._node, self._arms, self._safety = node, arms, safety
        self._statistics, self._timeliness = statistics, timeliness
        self._is_joining = False

    def join(self) -> None:
        """Begin where the last commander ended."""
        self._is_joining = True

    def send(
        self,
        desired: DesiredActions,
        sight: PendingObservation,
        check: Callable[[], None] = lambda: None,
    ) -> list[Command]:
        """Send a command to each arm.

        Args:
            desired: Actions before the guards.
            sight: The newest observation.
            check: Last check before the command leaves.

        Returns:
            The command of each arm.

        Raises:
            Withheld: If a guard refuses the actions.
            DecisionLate: If a stream became too old.
        """
        actions = self._guarded(desired, sight)
        commands = [
            arm.outputs.command(
                guarded,
                state,
                desired.begin if arm.outputs.takes_horizon else sight.now,
                arm.guard.limits,
                desired.blend,
                grip,
            )
            for arm, guarded, state, grip in zip(
                self._arms, actions, sight.measured, desired.grips, strict=True
            )
        ]
        # No slow step is allowed between this check and the sending.
        check()
        self._timeliness.refuse_outdated(sight.snapshot)
        self._arms.send(commands)
        self._safety.commanded()
        return commands

    def _guarded(self, desired: DesiredActions, sight: PendingObservation) -> list[Actions]:
        # The tools continued to move during the decision.
        late = max(0, int(self._node.get_clock().now().nanoseconds) - sight.now) / NANOSECONDS
        measured = tuple(replace(s, tool_age=s.tool_age + late) for s in sight.measured)
        actions, changes = self._arms.guarded(desired.rows, measured, desired.speed)
        self._statistics.intervened(changes)
        if actions is not None and changes:
            text = ", ".join(changes)
            self._node.get_logger().warning(f"guard: {text}", throttle_duration_sec=5.0)
        if actions is not None and self._is_joining:
            actions, changes = self._joined(actions, measured, sight.now)
        if actions is None:
            raise Withheld(f"guard: {', '.join(changes)}")
        return actions

    def _joined(
        self, actions: list[Actions], measured: RobotStates, now: int
    ) -> tuple[list[Actions] | None, tuple[str, ...]]:
        """Actions that continue the last commands; without a change the joining is over."""
        rows = [
            arm.outputs.continued(own, state, now, arm.guard.limits)
            for arm, own, state in zip(self._arms, actions, measured, strict=True)
        ]
        if all(row is own for row, own in zip(rows, actions, strict=True)):
            self._is_joining = False
            return actions, ()
        return self._arms.guarded(rows, measured)
