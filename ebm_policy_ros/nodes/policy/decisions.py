"""Decisions of policy_node: at most one in progress, and the actions of the last one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rclpy.exceptions import InvalidHandle
from rclpy.node import Node

from ebm_policy_ros.nodes.common.arms import Arms, RobotStates
from ebm_policy_ros.nodes.common.outputs import Command
from ebm_policy_ros.nodes.common.pauses import boot_time
from ebm_policy_ros.nodes.policy.inference_thread import InferenceThread
from ebm_policy_ros.nodes.policy.loading import LoadedPolicy
from ebm_policy_ros.nodes.policy.observer import PendingObservation
from ebm_policy_ros.nodes.policy.pace import Pace
from ebm_policy_ros.nodes.policy.sending import CommandSender, DesiredActions
from ebm_policy_ros.nodes.policy.statistics import RuntimeStatistics
from ebm_policy_ros.nodes.policy.timeliness import Timeliness
from ebm_policy_ros.nodes.policy.visualization import Visualization
from ebm_policy_ros.observation.buffer import Observation
from ebm_policy_ros.policy.chunk import Chunk
from ebm_policy_ros.policy.decision import Decision
from ebm_policy_ros.policy.out_of_distribution import Confidence


@dataclass
class PendingDecision:
    """A decision in progress."""

    sight: PendingObservation
    future: Future[tuple[Observation, Decision]]
    loaded: LoadedPolicy
    started: float
    """Boot time at its start, s."""
    begun: int
    """Time of the node's clock at its start, nanoseconds."""
    taken: int = 0
    """Duration on the node's clock, nanoseconds, once its result is used."""


class Decisions:
    """Starts decisions in the inference thread, and sends their actions."""

    def __init__(
        self,
        node: Node,
        loaded: LoadedPolicy,
        inference_thread: InferenceThread,
        arms: Arms,
        sender: CommandSender,
        statistics: RuntimeStatistics,
        timeliness: Timeliness,
        values: dict[str, Any],
        on_done: Callable[[], None],
    ) -> None:
        """Begin without a decision.

        Args:
            node: Node whose clock and publishers are used.
            loaded: Policy and interface.
            inference_thread: Thread of the policy, warmed up.
            arms: Arms that are commanded.
            sender: Sends the commands.
            statistics: Counters of events.
            timeliness: Alarm for a late decision.
            values: Parameters of the node.
            on_done: Called by the executor when a decision is ready.
        """
        self.loaded, self.inference_thread = loaded, inference_thread
        self._node, self._arms, self._sender, self._values = node, arms, sender, values
        self._statistics, self._timeliness = statistics, timeliness
        self._pace = Pace(node, values)
        self._visualization = Visualization(node, loaded.interface)
        self._wake = node.create_guard_condition(on_done)
        self.pending: PendingDecision | None = None
        """The decision in progress; None if there is none."""
        self.confidence: Confidence | None = None
        """Confidence of the decision that this tick executed or withheld; None if there is
        none."""
        self.forget()

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def forget(self) -> None:
        """Decide the next time as if it were the first time."""
        self.skip_rest()
        self._intent: int | None = None
        self._pace.forget()

    def skip_rest(self) -> None:
        """Skip the actions of the last decision that were not sent yet; its intent stays."""
        self._chunk: Chunk | None = None
        self._begins: RobotStates = ()
        """State of each arm at the decision."""
        self._executed = 1
        """Number of actions that are executed before the next decision."""

    def drawn(self) -> dict[str, dict[str, Any]]:
        """Actions of the last decision in the pictures; see `Visualization.chosen`."""
        if self._chunk is None:
            return {}
        actions = self._chunk.decision.action
        return self._visualization.chosen(actions, self._begins, self._executed)

    def swap(self, loaded: LoadedPolicy, inference_thread: InferenceThread) -> None:
        """Decide with another policy of the same interface from the next tick on."""
        self.inference_thread.end()
        self.loaded, self.inference_thread = loaded, inference_thread
        self._chunk = self._intent = None

    def abandon(self) -> None:
        """Abandon the decision in progress."""
        self.pending = None
        self._timeliness.cancel()

    def close(self) -> None:
        """Release the policy."""
        self._visualization.close()
        self.inference_thread.close()
        self._node.destroy_guard_condition(self._wake)

    def proceed(self, sight: PendingObservation) -> None:
        """Send the next action of the last decision if it is its turn, or start a decision.

        Raises:
            Withheld: If the policy is unsure, or the guard refuses the action.
            DecisionLate: If the last decision still runs, or a stream became too old.
        """
        chunk, interface = self._chunk, self.loaded.interface
        executed = self.loaded.executed(self._values)
        if chunk is not None:
            self.confidence = chunk.decision.confidence
        # A slower arm falls behind the actions of a chunk, which were decided for full speed.
        if chunk is None or executed == 1 or self._speed(chunk, sight.now) < 1:
            self._begin(sight)
            return
        due = chunk.due(sight.now, interface.period_ns)
        if due == chunk.sent < executed:
            self._send(chunk, sight)
        elif due >= chunk.sent:  # it is executed, or a tick was missed
            self._begin(sight)

    def _begin(self, sight: PendingObservation) -> None:
        """Start a decision."""
        self.confidence = None
        started, begun, budget = boot_time(), self._now(), self._timeliness.start()
        last = self._chunk if self._values["warm_start"] else None
        previous = None if last is None else last.continued()
        future = self.inference_thread.decide(sight.snapshot, previous, self._intent, budget)
        self.pending = PendingDecision(sight, future, self.loaded, started, begun)
        future.add_done_callback(self._on_done)

    def _on_done(self, future: Future[Any]) -> None:
        """Wake the executor; called by the inference thread."""
        with suppress(InvalidHandle):  # the node has ended
            self._wake.trigger()

    def command(self, pending: PendingDecision) -> None:
        """Command the result of a decision.

        Raises:
            Withheld: If the policy is unsure, or the guard refuses the action.
            DecisionLate: If it is too late.
            MessageError: If a message doesn't match the description of its stream.
        """
        sight = pending.sight
        self._timeliness.refuse_late(pending.future, pending.started)
        observation, decision = pending.future.result()
        milliseconds = (boot_time() - pending.started) * 1e3
        pending.taken = self._now() - pending.begun
        self._statistics.decided(milliseconds, decision)
        chunk = Chunk(decision, sight.now, sight.stamp)
        commands = self._send(chunk, sight, pending)
        if pending.loaded is self.loaded:
            self._chunk, self._intent = chunk, decision.intent
            self._begins = sight.measured
        else:
            self._chunk = None
        sent = [command.sent for command in commands]
        self._visualization.show(
            pending.loaded.policy, observation, sight.measured, decision, sent
        )

    def _speed(self, chunk: Chunk, now: int) -> float:
        """Factor on the motion of a decision; see `Pace.factor`."""
        return self._pace.factor(chunk.decision, now, self.loaded.is_hidden)

    def _send(
        self, chunk: Chunk, sight: PendingObservation, pending: PendingDecision | None = None
    ) -> list[Command]:
        """Command the next action of a chunk.

        Args:
            chunk: Actions of a decision.
            sight: The newest observation.
            pending: The decision, if this is its first action.

        Returns:
            The command of each arm.

        Raises:
            Withheld: If the policy is unsure, or a guard refuses the action.
            DecisionLate: If it is too late.
        """
        self.confidence = chunk.decision.confidence
        speed, ahead = self._speed(chunk, sight.now), chunk.ahead()
        self._executed = self.loaded.executed(self._values) if speed == 1 else 1
        rows = [
            ahead[:, arm.part.columns]
            if arm.outputs.takes_horizon
            else ahead[:1, arm.part.columns]
            for arm in self._arms
        ]
        # A trajectory counts from the stamp of its observation.
        begin = chunk.stamp + chunk.sent * self.loaded.interface.period_ns
        grips = [speed > 0] * len(rows)
        desired = DesiredActions(rows, begin, grips, speed, self._values["blend"])

        def check() -> None:
            if pending is not None:
                self._timeliness.refuse_late(pending.future, pending.started)

        commands = self._sender.send(desired, sight, check)
        chunk.sent += 1
        delay = self._now() - sight.stamp
        # A simulation's clock is not the one that measures decisions.
        rest = None if pending is None else (delay - pending.taken) / 1e6
        self._statistics.commanded(delay / 1e6, rest)
        return commands
