"""Arms: guards and command topics of all parts of an action; they command together or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt
from rclpy.node import Node

from ebm_policy_ros.control.command_guard import CommandGuard
from ebm_policy_ros.control.limits import Limits
from ebm_policy_ros.interface import Interface, Part
from ebm_policy_ros.nodes.common.command_session import CommandSession
from ebm_policy_ros.nodes.common.outputs import Command, Outputs
from ebm_policy_ros.observation.buffer import Observation
from ebm_policy_ros.observation.robot_state import RobotState, RobotStateEstimator

Actions = npt.NDArray[np.float64]
RobotStates = tuple[RobotState, ...]
"""State of each arm, in the order of the parts."""


class Arm:
    """Guard and command topic of one part of an action."""

    def __init__(self, node: Node, part: Part, limits: Limits) -> None:
        """Create an arm whose topic is closed."""
        self.part = part
        self.guard = CommandGuard(part.interface, limits)
        self.session = CommandSession(node, part.interface, part.name)

    @property
    def outputs(self) -> Outputs:
        """Command topics, which are open."""
        assert self.session.outputs is not None
        return self.session.outputs


class Arms:
    """All arms of an interface. A problem of one stops every one of them."""

    def __init__(self, node: Node, interface: Interface, limits: Sequence[Limits]) -> None:
        """Create arms whose topics are closed; see `open`.

        Args:
            node: Node whose publishers and graph are used.
            interface: Defines the commands.
            limits: Limits of each part.
        """
        pairs = zip(interface.parts, limits, strict=True)
        self._arms = [Arm(node, part, own) for part, own in pairs]

    def __iter__(self) -> Iterator[Arm]:
        """Each arm, in the order of the parts."""
        return iter(self._arms)

    def limit(self, limits: Sequence[Limits]) -> None:
        """Replace the limits of each part."""
        for arm, own in zip(self._arms, limits, strict=True):
            arm.guard.limits = own

    @property
    def is_open(self) -> bool:
        """True if commands are published or proposed."""
        return any(arm.session.is_open for arm in self._arms)

    @property
    def publishes(self) -> bool:
        """True if commands are published; false if they are proposed, or no topic is open."""
        return any(o.publishes for arm in self._arms if (o := arm.session.outputs) is not None)

    def open(self, publish: bool = True) -> None:
        """Open the topics; without `publish` those of proposed commands only."""
        for arm in self._arms:
            arm.session.open(publish)

    def close(self, time_ns: int) -> None:
        """Send the safe commands that are necessary, and close the topics.

        Args:
            time_ns: Current time, nanoseconds.
        """
        with ExitStack() as steps:  # the last one first, and all of them even if one fails
            for arm in self._arms:
                steps.callback(arm.session.close)
            for arm in self._arms:  # no arm waits for the delivery of another one's
                steps.callback(arm.session.rest, time_ns)

    def destroy(self) -> None:
        """Close what `close` keeps for the next `open`."""
        for arm in self._arms:
            arm.session.destroy()

    def forget(self) -> None:
        """Start again from the measured positions; the arms may have been moved meanwhile."""
        for arm in self._arms:
            if arm.session.outputs is not None:
                arm.session.outputs.forget()

    def set_back(self, time_ns: int, last_ns: int) -> None:
        """Keep the current setpoints although the clock was set back; see `CommandSession`."""
        for arm in self._arms:
            arm.session.set_back(time_ns, last_ns)

    def hold(self, time_ns: int, states: RobotStates | None, stopped: bool = False) -> None:
        """Send the safe commands as long as necessary.

        Args:
            time_ns: Time of the tick, nanoseconds.
            states: State of each arm, if they are known.
            stopped: True if the node is in STOPPED: it closes the topics in the end.
        """
        with ExitStack() as steps:  # all of them even if one fails
            for index, arm in enumerate(self._arms):
                state = states[index] if states is not None else None
                steps.callback(arm.session.hold, time_ns, state, stopped)

    # Problems

    def rivals(self) -> str:
        """Other nodes that may publish on a command topic; empty if there are none."""
        return self._problems([arm.session.rivals() for arm in self._arms])

    def ignore_rivals(self) -> None:
        """Command beside other publishers, as requested by a parameter."""
        for arm in self._arms:
            arm.session.ignore_rivals()

    def listeners(self) -> str:
        """Commands that nobody takes; empty if there are none."""
        return self._problems([arm.session.listeners() for arm in self._arms])

    def gripper_problem(self) -> str:
        """Goals of grippers that nobody takes; empty if there are none."""
        return self._problems([arm.session.gripper_problem() for arm in self._arms])

    def misplaced(self, states: RobotStates) -> str:
        """Reasons that forbid any command in the current state; empty if there are none."""
        pairs = zip(self._arms, states, strict=True)
        return self._problems([", ".join(arm.guard.misplaced(state)) for arm, state in pairs])

    def _problems(self, texts: Sequence[str]) -> str:
        pairs = zip(self._arms, texts, strict=True)
        return "; ".join(arm.part.named(text) for arm, text in pairs if text)

    # Commands

    def guarded(
        self, rows: Sequence[npt.NDArray[np.floating]], states: RobotStates, speed: float = 1.0
    ) -> tuple[list[Actions] | None, tuple[str, ...]]:
        """Nearest commands that are allowed, and what the guards changed.

        Args:
            rows: Actions of each arm, shape (H, D) each.
            states: Measured state of each arm.
            speed: Factor on the motions, 0 to 1.

        Returns:
            Actions of each arm; None if all must hold, because one of the guards allows nothing.
            Changes as "kind: dimension", or the reasons to hold.
        """
        found, changes, refusals = [], [], []
        for arm, actions, state in zip(self._arms, rows, states, strict=True):
            guarded = arm.guard.guard(actions, state, speed)
            texts = [arm.part.named(text) for text in guarded.interventions]
            changes += texts
            if guarded.actions is None:
                refusals += texts
            else:
                found.append(guarded.actions)
        return (None, tuple(refusals)) if refusals else (found, tuple(changes))

    def send(self, commands: Sequence[Command]) -> None:
        """Publish a command of each arm; from now on safe commands are necessary."""
        for arm, command in zip(self._arms, commands, strict=True):
            arm.session.send(command)


class ArmStates:
    """Estimates the state of each arm from the streams that measure it."""

    def __init__(self, interface: Interface) -> None:
        """Take the streams from the interface."""
        self._estimators = [RobotStateEstimator(part.interface) for part in interface.parts]

    def clear(self) -> None:
        """Delete the history, for example after the clock was set back."""
        for estimator in self._estimators:
            estimator.clear()

    def update(
        self, observation: Observation, stamps: dict[str, int], time_ns: int
    ) -> RobotStates:
        """State of each arm for an observation; see `RobotStateEstimator`."""
        return tuple(e.update(observation, stamps, time_ns) for e in self._estimators)
