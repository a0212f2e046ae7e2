"""Control loop of an active policy node: observe, decide, guard, and command or hold."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from rclpy.exceptions import InvalidHandle
from rclpy.node import Node

from ebm_policy_ros.control.safety_state import SafetyState, SafetyStateMachine
from ebm_policy_ros.interface import NANOSECONDS
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.nodes.common.arms import Actions, Arm, Arms, RobotStates
from ebm_policy_ros.nodes.common.background import result_of
from ebm_policy_ros.nodes.common.inputs import Inputs
from ebm_policy_ros.nodes.common.outputs import Command
from ebm_policy_ros.nodes.common.pauses import boot_time
from ebm_policy_ros.nodes.policy.execution import Commander, Execution
from ebm_policy_ros.nodes.policy.inference_thread import DecisionLate, InferenceThread
from ebm_policy_ros.nodes.policy.loading import LoadedPolicy
from ebm_policy_ros.nodes.policy.observer import Observer, PendingObservation
from ebm_policy_ros.nodes.policy.statistics import RuntimeStatistics
from ebm_policy_ros.nodes.policy.timeliness import Timeliness
from ebm_policy_ros.nodes.policy.visualization import Visualization
from ebm_policy_ros.observation.buffer import Observation, StaleObservation
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.policy.chunk import Chunk
from ebm_policy_ros.policy.decision import Decision
from ebm_policy_ros.policy.out_of_distribution import Confidence

# Longest duration of the policy's self-check, s.
_CHECK = 5.0


class Withheld(Exception):
    """No command is sent, for the reason in the text."""


@dataclass
class _Pending:
    """A decision in progress."""

    sight: PendingObservation
    future: Future[tuple[Observation, Decision]]
    loaded: LoadedPolicy
    started: float
    """Boot time at its start, s."""


class ControlLoop:
    """Connects the inputs and the command topics of a configured node.

    A tick starts a decision and returns. The executor is woken when the decision is ready, or when
    it is late. A tick that arrives meanwhile is executed directly afterwards. If several actions
    of a decision are executed, the ticks after it send them instead.
    """

    def __init__(
        self,
        node: Node,
        loaded: LoadedPolicy,
        inference_thread: InferenceThread,
        inputs: Inputs,
        safety: SafetyStateMachine,
        statistics: RuntimeStatistics,
        values: dict[str, Any],
    ) -> None:
        """Create the loop; it commands after `open`.

        Args:
            node: Node whose clock, log and publishers are used.
            loaded: Policy and interface.
            inference_thread: Thread of the policy, warmed up.
            inputs: Source of the observations.
            safety: State machine that defines what the loop may do; it is kept when the loop ends.
            statistics: Counters of events; they are kept when the loop ends.
            values: Parameters of the node.

        Raises:
            LimitError: If a limit in the parameters is invalid.
        """
        self.loaded, self.values = loaded, values
        self._node, self._safety, self._statistics = node, safety, statistics
        self.arms = Arms(node, loaded.interface, loaded.limits(values))
        self._inference_thread = inference_thread
        self._observer = Observer(loaded.interface, inputs)
        self._timeliness = Timeliness(node, loaded.interface, values, self._on_late)
        self._visualization = Visualization(node, loaded.interface)
        self._execution = Execution(node)
        self._unreported: int | None = None
        self._confidence: Confidence | None = None
        self._pending: _Pending | None = None
        self._is_due = False
        self._wake = node.create_guard_condition(self._on_decision)
        self._told = safety.state
        self.forget()

    @property
    def is_deciding(self) -> bool:
        """True while a decision is in progress."""
        return self._pending is not None

    @property
    def commander(self) -> Commander:
        """Source of the commands at this moment."""
        commands = self.arms.is_open and self._safety.state is SafetyState.FRESH
        return Commander.POLICY if commands else Commander.NOBODY

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def forget(self) -> None:
        """Forget the earlier commands and measurements, which are not valid any more."""
        self.last_tick = self._now()
        self._chunk: Chunk | None = None
        self._intent: int | None = None
        self._unsure_since: int | None = None
        self._observer.forget()
        self.arms.forget()

    def open(self, publish: bool) -> None:
        """Begin to command, or to propose in shadow mode; a latched stop stays."""
        self._safety.begin()
        if self._safety.state is not SafetyState.STOPPED:
            self.arms.open(publish)
        self.forget()

    def shut(self) -> None:
        """Command a stop and close the command topics."""
        self._abandon()
        try:
            self.arms.close(self._now())
        except Exception:
            self._node.get_logger().error(traceback.format_exc())
        self._report()

    def close(self) -> None:
        """Command a stop and release the policy."""
        self.shut()
        self._visualization.close()
        self._execution.close()
        self._timeliness.close()
        self._inference_thread.close()
        self._node.destroy_guard_condition(self._wake)

    def stop(self, reason: str) -> None:
        """Command a stop at once and latch it."""
        was_stopped = self._safety.state is SafetyState.STOPPED
        self._safety.stop(reason)
        self._abandon()
        if was_stopped:
            return  # another node that commands meanwhile is not disturbed
        self._tell()
        self._hold(self._now(), None)
        self._report()

    async def check(self) -> None:
        """Check that there is no problem.

        Raises:
            ValueError: If there is a problem; the text names it.
        """
        now, stops = self._now(), self._safety.stops
        try:
            sight = self._observer.look(now)
            await result_of(self._inference_thread.check(sight.snapshot), _CHECK)
        except Exception as error:
            raise ValueError(f"still wrong: {error}") from None
        if self._safety.stops > stops:
            raise ValueError("still wrong: stopped meanwhile")
        if problem := self.arms.misplaced(sight.measured) or self._topic_problem():
            raise ValueError(f"still wrong: {problem}")

    def _topic_problem(self) -> str:
        """Problem of a command topic; empty if there is none, or if the check is disabled."""
        if not self.values["publish_commands"] or not self.values["check_command_topic"]:
            self.arms.ignore_rivals()
            return ""
        return self.arms.rivals() or self.arms.listeners()

    def swap(self, loaded: LoadedPolicy, inference_thread: InferenceThread) -> None:
        """Decide with another policy of the same interface from the next tick on."""
        self._inference_thread.end()
        self.loaded, self._inference_thread = loaded, inference_thread
        self._chunk = self._intent = None

    def tick(self, now: int) -> None:
        """Start a decision, or hold.

        Args:
            now: Time of the tick, nanoseconds.
        """
        if self._pending is not None:
            if now >= self.last_tick:
                self._is_due = True
                return
            self._abandon()  # its observation is from before the clock was set back
            self._report()
        if now < self.last_tick:
            self._set_back(now)
        self._statistics.ticked(now - self.last_tick, self.loaded.interface.period_ns)
        self.last_tick = self._unreported = now
        self._confidence = None
        seen = None
        with self._holding(now):
            sight, problem = self._look(now)
            seen = sight.measured if sight is not None else None
            if self._safety.step(now, problem) is SafetyState.FRESH and sight is not None:
                self._decide(sight)
            else:
                self._chunk = None  # its rest is not executed after a pause; the intent stays
        if self._pending is None:
            self._finish(now, seen)

    def _set_back(self, now: int) -> None:
        """Wait for new samples after the clock was set back."""
        self._node.get_logger().warning("the clock was set back: waiting for new samples")
        self._observer.clear()
        self._chunk = self._intent = self._unsure_since = None
        self.arms.set_back(now, self.last_tick)

    def _look(self, now: int) -> tuple[PendingObservation | None, str]:
        """Read the inputs; return the observation and the problem."""
        problem = self._timeliness.pause() or self._topic_problem()
        try:
            return self._observer.look(now), problem
        except (StaleObservation, MessageError) as stale:
            return None, str(stale)

    # Decisions

    def _decide(self, sight: PendingObservation) -> None:
        """Send the next action of the last decision if it is its turn, or start a decision.

        Raises:
            Withheld: If the policy is unsure, or the guard refuses the action.
            DecisionLate: If the last decision still runs, or a stream became too old.
        """
        chunk, interface = self._chunk, self.loaded.interface
        executed = self.loaded.executed(self.values)
        # A slower arm falls behind the actions of a chunk, which were decided for full speed.
        if chunk is None or executed == 1 or self._speed(chunk.decision, sight.now) < 1:
            self._begin(sight)
            return
        due = chunk.due(sight.now, interface.period_ns)
        if due == chunk.sent < executed:
            self._send(chunk, sight)
        elif due >= chunk.sent:  # it is executed, or a tick was missed
            self._begin(sight)

    def _begin(self, sight: PendingObservation) -> None:
        """Start a decision."""
        started, budget = boot_time(), self._timeliness.start()
        last = self._chunk if self.values["warm_start"] else None
        previous = None if last is None else last.continued()
        future = self._inference_thread.decide(sight.snapshot, previous, self._intent, budget)
        self._pending = _Pending(sight, future, self.loaded, started)
        future.add_done_callback(self._on_done)

    def _on_done(self, future: Future[Any]) -> None:
        """Wake the executor; called by the inference thread."""
        with suppress(InvalidHandle):  # the node has ended
            self._wake.trigger()

    def _on_decision(self) -> None:
        """Command the result of the decision, unless the decision was abandoned."""
        if self._pending is not None and self._pending.future.done():
            self._conclude(self._pending)

    def _on_late(self) -> None:
        """Abandon a decision that is late."""
        if self._pending is not None:
            self._conclude(self._pending)

    def _abandon(self) -> None:
        """Abandon the decision in progress and the tick that waits for it."""
        self._pending, self._is_due = None, False
        self._timeliness.cancel()

    def _conclude(self, pending: _Pending) -> None:
        """Command the result of the decision, or hold; then execute a waiting tick."""
        is_due = self._is_due
        self._abandon()
        now = pending.sight.now
        with self._holding(now):
            self._command(pending)
        self._finish(now, pending.sight.measured)
        if is_due:
            self.tick(self._now())

    @contextmanager
    def _holding(self, now: int) -> Iterator[None]:
        """Hold if no command can be sent within the block; stop after an unexpected error."""
        try:
            yield
        except (MessageError, Withheld) as problem:
            self._give_up(now, str(problem))
        except DecisionLate as problem:
            self._statistics.late()
            self._give_up(now, str(problem))
        except Exception as error:  # after any error the arm must not continue
            self._fail(error)

    def _give_up(self, now: int, problem: str) -> None:
        """Hold for a reason; the next search starts without a previous action."""
        self._chunk = None
        self._safety.step(now, problem)

    def _fail(self, error: Exception) -> None:
        """Change to STOPPED because of an unexpected error."""
        self._node.get_logger().error(traceback.format_exc())
        self._safety.stop(f"a decision failed: {type(error).__name__}: {error}")

    def _finish(self, now: int, seen: RobotStates | None) -> None:
        """Report the result of the tick, and hold unless a command was sent."""
        self._tell()
        if self._safety.state is not SafetyState.FRESH:
            self._hold(now, seen)
        self._report()

    def _report(self) -> None:
        """Publish the result of the last tick, once."""
        if (tick := self._unreported) is not None:
            self._execution.publish(
                tick, self.commander, self._safety, self.loaded, self._confidence
            )
        self._unreported = None

    def _command(self, pending: _Pending) -> None:
        """Command the result of the decision.

        Raises:
            Withheld: If the policy is unsure, or the guard refuses the action.
            DecisionLate: If it is too late.
            MessageError: If a message doesn't match the description of its stream.
        """
        sight = pending.sight
        self._timeliness.refuse_late(pending.future, pending.started)
        observation, decision = pending.future.result()
        milliseconds = (boot_time() - pending.started) * 1e3
        self._statistics.decided(milliseconds, decision)
        chunk = Chunk(decision, sight.now, sight.stamp)
        commands = self._send(chunk, sight, pending)
        if pending.loaded is self.loaded:
            self._chunk, self._intent = chunk, decision.intent
        else:
            self._chunk = None
        sent = [command.sent for command in commands]
        self._visualization.show(
            pending.loaded.policy, observation, sight.measured, decision, sent
        )

    def _send(
        self, chunk: Chunk, sight: PendingObservation, pending: _Pending | None = None
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
        self._confidence = chunk.decision.confidence
        speed, ahead = self._speed(chunk.decision, sight.now), chunk.ahead()
        rows = [
            ahead[:, arm.part.columns]
            if arm.outputs.takes_horizon
            else ahead[:1, arm.part.columns]
            for arm in self.arms
        ]
        # The tools continued to move during the decision.
        late = max(0, self._now() - sight.now) / NANOSECONDS
        measured = tuple(replace(s, tool_age=s.tool_age + late) for s in sight.measured)
        actions, interventions = self.arms.guarded(rows, measured, speed)
        self._statistics.intervened(interventions)
        if actions is None:
            raise Withheld(f"guard: {', '.join(interventions)}")
        if interventions:
            text = ", ".join(interventions)
            self._node.get_logger().warning(f"guard: {text}", throttle_duration_sec=5.0)
        commands = [
            self._complete(arm, guarded, state, chunk, sight.now, speed > 0)
            for arm, guarded, state in zip(self.arms, actions, sight.measured, strict=True)
        ]
        # No slow step is allowed between this check and the sending.
        if pending is not None:
            self._timeliness.refuse_late(pending.future, pending.started)
        self._timeliness.refuse_outdated(sight.snapshot)
        self.arms.send(commands)
        chunk.sent += 1
        self._statistics.commanded((self._now() - sight.stamp) / 1e6, decided=pending is not None)
        self._safety.commanded()
        return commands

    def _complete(
        self, arm: Arm, actions: Actions, state: RobotState, chunk: Chunk, now: int, grip: bool
    ) -> Command:
        """Create the command of an arm; a trajectory counts from the stamp of its observation."""
        begun = chunk.stamp + chunk.sent * self.loaded.interface.period_ns
        stamp = begun if arm.outputs.takes_horizon else now
        limits, blend = arm.guard.limits, self.values["blend"]
        return arm.outputs.command(actions, state, stamp, limits, blend, grip)

    def _speed(self, decision: Decision, now: int) -> float:
        """Factor on the motion.

        Raises:
            Withheld: If the policy is unsure, and shall hold then.
        """
        speed: float = self.values["speed"]
        unsure, wanted = decision.confidence.unsure, self.values["when_unsure"]
        if not unsure or wanted == "go":
            self._unsure_since = None
            return speed
        text = f"unsure: {', '.join(unsure)}"
        if self._unsure_since is None:
            self._unsure_since = now
        slow_for = round(self.values["unsure_for"] * NANOSECONDS)
        if wanted == "hold" or now - self._unsure_since >= slow_for:
            raise Withheld(text)
        self._node.get_logger().warning(f"slow, {text}", throttle_duration_sec=5.0)
        slow: float = self.values["unsure_speed"]
        return speed * slow

    def _hold(self, now: int, seen: RobotStates | None) -> None:
        """Send the safe commands as long as necessary."""
        try:
            self.arms.hold(now, seen, self._safety.state is SafetyState.STOPPED)
        except Exception:
            self._node.get_logger().error(traceback.format_exc())
            self._safety.stop("the safe command could not be sent")

    def _tell(self) -> None:
        """Log each change of the state once."""
        state, log = self._safety.state, self._node.get_logger()
        if state is self._told:
            return
        self._told = state
        self._statistics.entered(state)
        if state is SafetyState.FRESH:
            log.info("commanding")
        elif state is SafetyState.HOLD:
            log.warning(f"standing still: {self._safety.reason}")
        else:
            log.error(f"stopped: {self._safety.reason}; ~/reset goes on")
