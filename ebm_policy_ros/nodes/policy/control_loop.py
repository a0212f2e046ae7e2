"""Control loop of an active policy node: observe, decide, guard, and command or hold."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rclpy.node import Node

from ebm_policy_ros.control.safety_state import SafetyState, SafetyStateMachine
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.execution import Commander
from ebm_policy_ros.nodes.common.arms import Arms, RobotStates
from ebm_policy_ros.nodes.common.background import result_of
from ebm_policy_ros.nodes.common.inputs import Inputs
from ebm_policy_ros.nodes.policy.decisions import Decisions, PendingDecision
from ebm_policy_ros.nodes.policy.execution import Execution
from ebm_policy_ros.nodes.policy.inference_thread import DecisionLate, InferenceThread
from ebm_policy_ros.nodes.policy.loading import LoadedPolicy
from ebm_policy_ros.nodes.policy.observer import Observer, PendingObservation
from ebm_policy_ros.nodes.policy.sending import CommandSender, DesiredActions, Withheld
from ebm_policy_ros.nodes.policy.statistics import RuntimeStatistics
from ebm_policy_ros.nodes.policy.takeover import Takeover
from ebm_policy_ros.nodes.policy.timeliness import Timeliness
from ebm_policy_ros.observation.buffer import StaleObservation
from ebm_policy_ros.policy.out_of_distribution import Confidence

# Longest duration of the policy's self-check, s.
_CHECK = 5.0


class ControlLoop:
    """Connects the inputs and the command topics of a configured node.

    A tick starts a decision and returns. The executor is woken when the decision is ready, or when
    it is late. A tick that arrives meanwhile is executed directly afterwards. If several actions
    of a decision are executed, the ticks after it send them instead. While a person commands, each
    tick sends their command, and so does each of their messages.
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
        self.values = values
        self._node, self._safety, self._statistics = node, safety, statistics
        interface = loaded.interface
        self.arms = Arms(node, interface, loaded.limits(values))
        self._observer = Observer(interface, inputs)
        self._timeliness = Timeliness(node, interface, values, self._on_late)
        self._sender = CommandSender(node, self.arms, safety, statistics, self._timeliness)
        self._decisions = Decisions(
            node,
            loaded,
            inference_thread,
            self.arms,
            self._sender,
            statistics,
            self._timeliness,
            values,
            self._on_decision,
        )
        self._takeover = Takeover(
            node, interface, values, self._refusal, self._on_person, self._on_release
        )
        self._is_withheld = False
        self.confidence: Confidence | None = None
        """Confidence of the decision that the last tick executed or withheld; None if there is
        none."""
        self._execution = Execution(node)
        self._unreported: int | None = None
        self._is_due = False
        self._told = safety.state
        self.forget()

    @property
    def loaded(self) -> LoadedPolicy:
        """Policy and interface."""
        return self._decisions.loaded

    @property
    def is_deciding(self) -> bool:
        """True while a decision is in progress."""
        return self._decisions.pending is not None

    @property
    def commander(self) -> Commander:
        """Source of the commands at this moment."""
        if not self.arms.is_open or self._safety.state is not SafetyState.FRESH:
            return Commander.NOBODY
        return Commander.PERSON if self._takeover.is_active else Commander.POLICY

    @property
    def drawn(self) -> dict[str, dict[str, Any]]:
        """Chosen actions in the pictures of cameras; see `Visualization.chosen`."""
        return self._decisions.drawn() if self.commander is Commander.POLICY else {}

    @property
    def person(self) -> str:
        """Name of the sender of a person's commands; empty if nobody has taken over."""
        return self._takeover.sender

    @property
    def person_ignored(self) -> tuple[str, str]:
        """Sender whose messages are ignored, and the reason; empty if there is none."""
        return self._takeover.ignored

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def forget(self) -> None:
        """Forget the earlier commands and measurements, which are not valid any more."""
        self.last_tick = self._now()
        self._decisions.forget()
        self._observer.forget()
        self.arms.forget()

    def open(self, publish: bool) -> None:
        """Begin to command, or to propose in shadow mode; a latched stop stays."""
        self._safety.begin()
        if self._safety.state is not SafetyState.STOPPED:
            self.arms.open(publish)
        self.forget()

    def reopen(self, publish: bool) -> None:
        """Command a stop and open the command topics anew; who has taken over keeps the arm."""
        self._close_topics()
        self.open(publish)

    def shut(self) -> None:
        """Command a stop and close the command topics."""
        self._takeover.end()
        self._close_topics()

    def _close_topics(self) -> None:
        self._abandon()
        now, was_open = self._now(), self.arms.is_open
        try:
            self.arms.close(now)
        except Exception:
            self._node.get_logger().error(traceback.format_exc())
        self._report()
        if was_open:  # no tick may follow to tell that nobody commands any more
            self._unreported = now
            self._report()

    def close(self) -> None:
        """Command a stop and release the policy."""
        self.shut()
        self.arms.destroy()
        self._takeover.close()
        self._decisions.close()
        self._execution.close()
        self._timeliness.close()

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
            await result_of(self._decisions.inference_thread.check(sight.snapshot), _CHECK)
        except Exception as error:
            raise ValueError(f"still wrong: {error}") from None
        if self._safety.stops > stops:
            raise ValueError("still wrong: stopped meanwhile")
        if problem := self.arms.misplaced(sight.measured) or self._topic_problem():
            raise ValueError(f"still wrong: {problem}")

    def _topic_problem(self) -> str:
        """Problem of who commands and listens; empty if there is none."""
        if self.values["publish_commands"] and self.values["check_command_topic"]:
            return self.arms.rivals() or self.arms.listeners()
        self.arms.ignore_rivals()
        return self.arms.gripper_problem() if self.values["publish_commands"] else ""

    def swap(self, loaded: LoadedPolicy, inference_thread: InferenceThread) -> None:
        """Decide with another policy of the same interface from the next tick on."""
        self._decisions.swap(loaded, inference_thread)

    def tick(self, now: int) -> None:
        """Start a decision, or hold.

        Args:
            now: Time of the tick, nanoseconds.
        """
        if self.is_deciding:
            if now >= self.last_tick:
                self._is_due = True
                return
            self._abandon()  # its observation is from before the clock was set back
            self._report()
        if now < self.last_tick:
            self._set_back(now)
        self._statistics.ticked(now - self.last_tick, self.loaded.interface.period_ns)
        self.last_tick = self._unreported = now
        self._decisions.confidence = None
        seen = None
        with self._holding(now):
            sight, problem = self._look(now)
            seen = sight.measured if sight is not None else None
            if problem:
                self._is_withheld = False
            if self._safety.step(now, problem) is SafetyState.FRESH and sight is not None:
                if self._takeover.is_active:
                    self._obey(sight)
                else:
                    self._decisions.proceed(sight)
            else:
                self._decisions.skip_rest()  # it is not executed after a pause
        if not self.is_deciding:
            self._finish(now, seen)

    def _set_back(self, now: int) -> None:
        """Wait for new samples after the clock was set back."""
        self._node.get_logger().warning("the clock was set back: waiting for new samples")
        self._observer.clear()
        self._decisions.forget()
        self._takeover.set_back()
        self.arms.set_back(now, self.last_tick)

    def _look(self, now: int) -> tuple[PendingObservation | None, str]:
        """Read the inputs; return the observation and the problem."""
        problem = self._timeliness.pause() or self._topic_problem()
        try:
            return self._observer.look(now), problem
        except (StaleObservation, MessageError) as stale:
            return None, str(stale)

    # A person

    def _refusal(self) -> str:
        """Reason why nobody can take over now; empty if somebody can."""
        if self._safety.state is SafetyState.STOPPED:
            return f"the node is stopped ({self._safety.reason}); ~/reset goes on"
        return "" if self.arms.is_open else "the node is not active"

    def _on_person(self) -> None:
        """Send what a person commands at once."""
        now, seen, is_due = self._now(), None, self._is_due
        if self._takeover.is_new:
            self._begin_takeover()
        if now < self.last_tick:
            self._report()
            return  # the clock was set back, and the next tick reacts to it
        with self._holding(now):
            sight, problem = self._look(now)
            seen = sight.measured if sight is not None else None
            if self._is_withheld and not problem and self._safety.state is SafetyState.HOLD:
                self._safety.begin()  # what stopped the policy doesn't stop a person
            self._is_withheld = False
            if self._safety.step(now, problem) is SafetyState.FRESH and sight is not None:
                self._obey(sight)
        self._finish(now, seen)
        if is_due:
            self.tick(self._now())

    def _begin_takeover(self) -> None:
        """Abandon what the policy was about to do."""
        self._abandon()
        self._decisions.forget()
        self._sender.join()
        self._statistics.counts["takeovers"] += 1
        self._node.get_logger().info(f"a person commands: {self._takeover.sender}")

    def _on_release(self, problem: str) -> None:
        """Stand still, then let the policy go on or stop, as the parameter says."""
        if problem:
            self.stop(problem)
        elif self.values["after_takeover"] == "wait":
            self.stop("the person who commanded has let go (after_takeover: wait)")
        else:
            self._node.get_logger().info("the person has let go: the policy goes on")
            self._sender.join()
            self._hold(self._now(), None)

    def _obey(self, sight: PendingObservation) -> None:
        """Send the command of the person; the speed of the policy doesn't concern it.

        Raises:
            Withheld: If the guard refuses it.
            DecisionLate: If a stream became too old.
        """
        command = self._takeover.command
        assert command is not None
        self._sender.send(DesiredActions(command.rows, self._takeover.heard, command.grips), sight)
        self._statistics.obeyed((self._now() - self._takeover.heard) / 1e6)

    # Decisions

    def _on_decision(self) -> None:
        """Command the result of the decision, unless the decision was abandoned."""
        pending = self._decisions.pending
        if pending is not None and pending.future.done():
            self._conclude(pending)

    def _on_late(self) -> None:
        """Abandon a decision that is late."""
        if self._decisions.pending is not None:
            self._conclude(self._decisions.pending)

    def _abandon(self) -> None:
        """Abandon the decision in progress and the tick that waits for it."""
        self._is_due = False
        self._decisions.abandon()

    def _conclude(self, pending: PendingDecision) -> None:
        """Command the result of the decision, or hold; then execute a waiting tick."""
        is_due = self._is_due
        self._abandon()
        now = pending.sight.now
        if not self._takeover.is_active:
            with self._holding(now):
                self._decisions.command(pending)
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
        self._decisions.skip_rest()
        self._is_withheld = not self._takeover.is_active
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
            self.confidence = self._decisions.confidence
            self._execution.publish(
                tick,
                self.commander,
                self.arms.publishes,
                self._safety,
                self.loaded,
                self.confidence,
            )
        self._unreported = None

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
        if state is SafetyState.STOPPED:
            self._takeover.end()
        if state is self._told:
            return
        self._told = state
        self._statistics.entered(state)
        if state is SafetyState.FRESH:
            log.info("commanding" if self.arms.publishes else "proposing")
        elif state is SafetyState.HOLD:
            log.warning(f"standing still: {self._safety.reason}")
        else:
            log.error(f"stopped: {self._safety.reason}; ~/reset goes on")
