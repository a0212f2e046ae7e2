"""A person's wishes to the command topic, limited as a policy's decisions are."""

from __future__ import annotations

from rclpy.node import Node

from ebm_policy_ros.guard import CommandGuard
from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.limits import Limits
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.nodes.inputs import Inputs
from ebm_policy_ros.nodes.outputs import Outputs, deaf, rivals
from ebm_policy_ros.nodes.pauses import PauseWatch
from ebm_policy_ros.observation import Snapshot, StaleObservation
from ebm_policy_ros.state import Measured, StateEstimator
from ebm_policy_ros.teleop.steering import Steering, Wish

# Beside somebody else the safe command is repeated for so long; then it is theirs to move.
_LAST_WORDS_NS = NANOSECONDS // 2
# So long after a pause of the process nothing moves, s: until what waited for it is gone.
_AFTER_A_PAUSE = 0.5


class Commander:
    """Takes the command topic when it is wanted and free, and leaves it when it is not.

    While it has it a command goes out at every tick: what is wanted, or the safe command while
    something is wrong.
    """

    def __init__(
        self, node: Node, interface: Interface, limits: Limits, check_topic: bool
    ) -> None:
        """Opens those inputs that the guard needs.

        Args:
            node: Whose topics, clock and log are used.
            interface: Tells what an action means.
            limits: Of the commands.
            check_topic: Whether to hold beside another publisher, or while nobody listens.
        """
        self._node, self._interface, self._check_topic = node, interface, check_topic
        self.guard = CommandGuard(interface, limits)
        box = interface.workspace
        needed = {interface.action.measured, box.stream if box else ""} - {""}
        self._inputs = Inputs(node, interface, lambda name: None, sorted(needed))
        self._estimator = StateEstimator(interface)
        self._outputs: Outputs | None = None
        self._pauses = PauseWatch()
        self.last_tick = 0
        """Time of the last tick, nanoseconds."""
        self._measured: Measured | None = None
        self._snapshot: Snapshot | None = None
        self._unseen = ""
        self._silent_after: int | None = None
        self._wanted = False
        self.problem = ""
        """Why the arm holds or the topic is not taken; empty if nothing is wrong."""
        self.changed: tuple[str, ...] = ()
        """What the guard changed of the last command."""

    @property
    def is_wanted(self) -> bool:
        """Whether the arm is to be commanded."""
        return self._wanted

    @property
    def state(self) -> str:
        """In a word, for people."""
        if not self._wanted:
            return "free"
        if self._outputs is None:
            return "waiting"
        return "holding" if self.problem else "commanding"

    def take(self) -> None:
        """Command from the next tick on."""
        self._wanted = True

    def let_go(self) -> None:
        """Send the safe command and leave the topic."""
        self._wanted, self.problem, self.changed = False, "", ()
        if self._outputs is not None:
            outputs, self._outputs = self._outputs, None
            try:
                if self._silent_after is None:
                    outputs.hold(self._now(), None)
            finally:
                outputs.close()

    def close(self) -> None:
        """Let go, and close the inputs."""
        self._pauses.close()
        self.let_go()
        self._inputs.close()

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def pause(self) -> str:
        """That this process stood still a moment ago: whatever waits for it is old; else empty."""
        return self._pauses.problem(_AFTER_A_PAUSE)

    def look(self, now: int) -> Measured | None:
        """The arm's state at a tick; None if it is not known.

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
        """The clock was set back."""
        self._inputs.clear()
        self._estimator.clear()
        if self._silent_after is not None:
            self._silent_after = min(self._silent_after, now - 1)
        if self._outputs is not None:
            self._outputs.freeze(self.last_tick)

    def tick(self, now: int, wish: Wish, steering: Steering) -> None:
        """Command what is wanted, or stand still.

        Args:
            now: Of the last `look`.
            wish: Of now.
            steering: What makes an action of it.
        """
        if not self._wanted:
            return
        other = self._rivals()
        if self._outputs is None and other:
            self._wanted, self.problem = False, other
            return
        problem = other or self.pause() or self._unseen or wish.problem
        if self._outputs is None:
            self.problem = problem
            if problem:
                return
            self._outputs = Outputs(self._node, self._interface, True)
            self._silent_after = None
        problem = problem or self._deaf() or self._send(self._outputs, now, wish, steering)
        self.problem = problem
        if problem:
            self._hold(self._outputs, now, bool(other))

    def _outdated(self) -> str:
        """Streams of the arm that are too old by now, just before a command goes out."""
        assert self._snapshot is not None
        return self._snapshot.outdated(self._now(), self._interface.period_ns)

    def _rivals(self) -> str:
        if not self._check_topic:
            return ""
        topic = self._node.resolve_topic_name(self._interface.action.topic)
        return rivals(self._node, topic, int(self._outputs is not None))

    def _deaf(self) -> str:
        if not self._check_topic:
            return ""
        return deaf(self._node, self._node.resolve_topic_name(self._interface.action.topic))

    def _send(self, outputs: Outputs, now: int, wish: Wish, steering: Steering) -> str:
        """Command; else why not."""
        assert self._measured is not None
        is_velocity = self._interface.action.is_velocity
        told = None if is_velocity else outputs.told(now, self._measured)
        actions = steering.actions(wish, told, self.guard.limits)
        guarded = self.guard.guard(actions, self._measured)
        self.changed = guarded.interventions
        if guarded.actions is None:
            return f"guard: {', '.join(guarded.interventions)}"
        grip = wish.target is not None or steering.grip is not None
        # A person's plan is no longer than a period or two: nothing is to be faded over.
        limits = self.guard.limits
        command = outputs.command(guarded.actions, self._measured, now, limits, 0.0, grip)
        # Nothing may take time between this look and the sending.
        if outdated := self.pause() or self._outdated():
            return outdated
        outputs.send(command)
        self._silent_after = None
        return ""

    def _hold(self, outputs: Outputs, now: int, contested: bool) -> None:
        """The safe command; beside somebody else only for a moment."""
        if not contested:
            self._silent_after = None
        elif self._silent_after is None:
            self._silent_after = now + _LAST_WORDS_NS
        elif now > self._silent_after:
            outputs.forget()  # the other one may move the arm meanwhile
            return
        outputs.hold(now, self._measured)
