"""What an active policy node does at a tick: look, decide, guard, command; or stand still."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rclpy.node import Node

from ebm_policy_ros.decision import Decision
from ebm_policy_ros.guard import CommandGuard
from ebm_policy_ros.interface import NANOSECONDS, ImageStream
from ebm_policy_ros.ladder import Ladder, Rung
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.nodes.decider import Decider, DecisionLate
from ebm_policy_ros.nodes.inputs import Inputs
from ebm_policy_ros.nodes.loading import LoadedPolicy
from ebm_policy_ros.nodes.outputs import Outputs, deaf, rivals
from ebm_policy_ros.nodes.pauses import PauseWatch, boot_time
from ebm_policy_ros.nodes.tally import Tally
from ebm_policy_ros.nodes.views import Views
from ebm_policy_ros.observation import Snapshot, StaleObservation
from ebm_policy_ros.state import Measured, StateEstimator

# After a stop the safe command is repeated for so long; then another may command.
_LAST_WORDS_NS = NANOSECONDS // 2


@dataclass
class _Sight:
    """What a decision needs."""

    now: int
    snapshot: Snapshot
    measured: Measured
    stamp: int
    """Of the newest camera image, or of the newest sample without a camera."""


class Pilot:
    """Everything between the inputs and the command topic of a node that is configured."""

    def __init__(
        self,
        node: Node,
        loaded: LoadedPolicy,
        inputs: Inputs,
        ladder: Ladder,
        tally: Tally,
        values: dict[str, Any],
        serve_stop: Callable[[], None],
    ) -> None:
        """Waits for `open`.

        Args:
            node: Whose clock, log and publishers are used.
            loaded: The policy and the interface.
            inputs: Where observations come from.
            ladder: What the pilot may do; it outlives it.
            tally: What happened; it outlives it.
            values: The node's parameters.
            serve_stop: Called while a decision is waited for; calls `stop` if somebody asks.

        Raises:
            LimitError: If a limit among the parameters cannot be.
        """
        self.loaded, self.values = loaded, values
        self.guard = CommandGuard(loaded.interface, loaded.limits(values))
        self.outputs: Outputs | None = None
        self._node, self._inputs, self._ladder, self._tally = node, inputs, ladder, tally
        self._serve_stop = serve_stop
        # A simulation's time is not that in which decisions are made.
        self._periods = 10 if node.get_parameter("use_sim_time").value else 1
        self._decider = Decider(loaded.policy, values["threads"])
        self._pauses = PauseWatch()
        streams = loaded.interface.observation
        self._images = [n for n, stream in streams.items() if isinstance(stream, ImageStream)]
        self._measurements = [name for name in streams if name not in self._images]
        self._estimator = StateEstimator(loaded.interface)
        self._views = Views(node, loaded.interface)
        self._silent_after: int | None = None
        self._contested = False
        self._told = ladder.rung
        self.forget()

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def forget(self) -> None:
        """Begin anew: what was commanded or measured before says nothing about now."""
        self.last_tick = self._now()
        self._previous: Any = None
        self._unsure_since: int | None = None
        self._estimator.clear()
        if self.outputs is not None:
            self.outputs.forget()

    def open(self, publish: bool) -> None:
        """Begin to command, or in shadow mode to propose; a stop that is latched stays so."""
        self._ladder.begin()
        if self._ladder.rung is not Rung.STOPPED:
            self.outputs = Outputs(self._node, self.loaded.interface, publish)
            self._silent_after = None
        self.forget()

    def shut(self) -> None:
        """Command a stop, then fall silent."""
        if self.outputs is None:
            return
        outputs, self.outputs = self.outputs, None
        try:
            if self._silent_after is None:
                outputs.hold(self._now(), None)
        except Exception:
            self._node.get_logger().error(traceback.format_exc())
        finally:
            outputs.close()

    def close(self) -> None:
        """Shut, and forget the policy."""
        self.shut()
        self._views.close()
        self._pauses.close()
        self._decider.close()

    def stop(self, reason: str) -> None:
        """Command a stop at once, and latch it."""
        was_stopped = self._ladder.rung is Rung.STOPPED
        self._ladder.stop(reason)
        if was_stopped:
            return  # who commands meanwhile is not disturbed
        self._tell()
        self._hold(self._now(), None)

    def check(self) -> None:
        """See that nothing is wrong.

        Raises:
            ValueError: If something is, naming it.
        """
        now = self._now()
        try:
            snapshot = self._inputs.snapshot(now)
            measured = self._measure(snapshot, now)
            stops = self._ladder.stops

            def stopped() -> bool:
                self._serve_stop()
                return self._ladder.stops > stops

            self._decider.check(snapshot, stopped)
        except Exception as error:
            raise ValueError(f"still wrong: {error}") from None
        if problem := ", ".join(self.guard.misplaced(measured)) or self._topic_problem():
            raise ValueError(f"still wrong: {problem}")

    def _topic_problem(self) -> str:
        """What is wrong with the command topic; empty if nothing, or nobody is to look."""
        self._contested = False
        if not self.values["publish_commands"] or not self.values["check_command_topic"]:
            return ""
        topic = self._node.resolve_topic_name(self.loaded.interface.action.topic)
        own = self.outputs is not None and self.outputs.publishes
        self._contested = bool(other := rivals(self._node, topic, int(own)))
        return other or deaf(self._node, topic)

    def swap(self, loaded: LoadedPolicy, decider: Decider) -> None:
        """Decide with another policy of the same interface from the next tick on."""
        self._decider.close()
        self.loaded, self._decider, self._previous = loaded, decider, None

    def tick(self, now: int) -> None:
        """Decide and command, or stand still.

        Args:
            now: Time of the tick, nanoseconds.
        """
        if now < self.last_tick:
            self._set_back(now)
        self._tally.ticked(now - self.last_tick, self.loaded.interface.period_ns)
        self.last_tick = now
        seen = None
        try:
            seen = self._step(now)
        except Exception as error:  # whatever it is, the arm must not go on
            self._node.get_logger().error(traceback.format_exc())
            self._ladder.stop(f"a decision failed: {type(error).__name__}: {error}")
        self._tell()
        if self._ladder.rung is not Rung.FRESH:
            self._hold(now, seen)

    def _set_back(self, now: int) -> None:
        """The clock was set back."""
        self._node.get_logger().warning("the clock was set back: waiting for new samples")
        self._inputs.clear()
        self._estimator.clear()
        self._previous = self._unsure_since = None
        if self._silent_after is not None:
            self._silent_after = min(self._silent_after, now - 1)
        if self.outputs is not None:
            self.outputs.freeze(self.last_tick)

    def _step(self, now: int) -> Measured | None:
        """Decide and command if all is well; the arm's state if it is seen."""
        sight, problem = self._look(now)
        if self._ladder.step(now, problem) is Rung.FRESH and sight is not None:
            problem = self._decide(sight)
            if problem:
                self._previous = None
                self._ladder.step(now, problem)
            else:
                self._ladder.commanded()
        return sight.measured if sight is not None else None

    def _look(self, now: int) -> tuple[_Sight | None, str]:
        """What is seen now, and what is wrong."""
        problem = self._pause_problem() or self._topic_problem()
        try:
            snapshot = self._inputs.snapshot(now)
            measured = self._measure(snapshot, now)
        except (StaleObservation, MessageError) as stale:
            return None, str(stale)
        stamps = snapshot.stamps
        images = [stamps[name] for name in self._images]
        return _Sight(now, snapshot, measured, max(images or stamps.values())), problem

    def _measure(self, snapshot: Snapshot, now: int) -> Measured:
        """The arm's state; images, which take long to decode, are left alone."""
        return self._estimator.update(snapshot.measured(self._measurements), snapshot.stamps, now)

    def _pause_problem(self) -> str:
        """That this process stood still a moment ago; empty if not, or if nothing goes on then."""
        if self.values["lockstep"]:
            return ""
        period = 1.0 / self.loaded.interface.rate
        return self._pauses.problem(max(self.values["recover_after"], 2 * period))

    def _decide(self, sight: _Sight) -> str:
        """Decide and command; else why not."""
        assert self.outputs is not None
        started = boot_time()
        patience = budget = None
        if not self.values["lockstep"]:  # who waits for each tick doesn't mind how long it takes
            period = 1.0 / self.loaded.interface.rate
            patience, budget = self._periods * period, self.values["budget"] * period
        previous = self._previous if self.values["warm_start"] else None
        try:
            observation, decision = self._decider.decide(
                sight.snapshot, previous, budget, patience, self._is_stopped
            )
        except DecisionLate as problem:
            self._tally.late()
            return str(problem)
        except MessageError as problem:
            return str(problem)
        milliseconds = (boot_time() - started) * 1e3
        self._tally.decided(milliseconds, decision)
        speed, unsure = self._speed(decision, sight.now)
        if unsure:
            return unsure
        actions = decision.action if self.outputs.takes_horizon else decision.action[:1]
        # While it was decided the tool went on as it did.
        late = max(0, self._now() - sight.now) / NANOSECONDS
        measured = replace(sight.measured, tool_age=sight.measured.tool_age + late)
        guarded = self.guard.guard(actions, measured, speed)
        self._tally.intervened(guarded.interventions)
        if guarded.actions is None:
            return f"guard: {', '.join(guarded.interventions)}"
        if guarded.interventions:
            text = ", ".join(guarded.interventions)
            self._node.get_logger().warning(f"guard: {text}", throttle_duration_sec=5.0)
        command = self.outputs.command(
            guarded.actions,
            sight.measured,
            sight.stamp if self.outputs.takes_horizon else sight.now,
            self.guard.limits,
            self.values["blend"],
            grip=speed > 0,
        )
        # Nothing may take time between this look and the sending.
        if outdated := self._outdated(sight, started, patience):
            self._tally.late()
            return outdated
        self.outputs.send(command)
        self._previous = decision.action
        self._silent_after = None  # what moves the arm now owes it a safe command
        self._tally.commanded((self._now() - sight.stamp) / 1e6)
        self._views.show(self.loaded.policy, observation, sight.measured, decision, command.sent)
        return ""

    def _outdated(self, sight: _Sight, started: float, patience: float | None) -> str:
        """Why a command may not go out any more, asked just before; empty if it may.

        Whatever took long, the observation that it answers is no older then than its `max_age` and
        a period: by the node's clock, and by one that goes on where that one stands or is set.
        """
        if patience is None:
            return ""
        if boot_time() - started > patience:
            return f"no command after {patience:.3f} s"
        period_ns = self.loaded.interface.period_ns
        return self._pause_problem() or sight.snapshot.outdated(self._now(), period_ns)

    def _is_stopped(self) -> bool:
        """Whether somebody stopped the arm while it was being decided what it does."""
        self._serve_stop()
        return self._ladder.rung is Rung.STOPPED

    def _speed(self, decision: Decision, now: int) -> tuple[float, str]:
        """Factor on the motion, and why to hold instead."""
        speed: float = self.values["speed"]
        unsure, wanted = decision.confidence.unsure, self.values["when_unsure"]
        if not unsure or wanted == "go":
            self._unsure_since = None
            return speed, ""
        text = f"unsure: {', '.join(unsure)}"
        if self._unsure_since is None:
            self._unsure_since = now
        slow_for = round(self.values["unsure_for"] * NANOSECONDS)
        if wanted == "hold" or now - self._unsure_since >= slow_for:
            return 0.0, text
        self._node.get_logger().warning(f"slow, {text}", throttle_duration_sec=5.0)
        return speed * self.values["unsure_speed"], ""

    def _hold(self, now: int, measured: Measured | None) -> None:
        """The safe command; after a stop, or beside somebody else, only for a moment."""
        if self.outputs is None:
            return
        stopped = self._ladder.rung is Rung.STOPPED
        if not stopped and not self._contested:
            self._silent_after = None
        elif self._silent_after is None:
            self._silent_after = now + _LAST_WORDS_NS
        elif now > self._silent_after:
            if stopped:  # off the topic, so that another node may have it
                self.outputs.close()
                self.outputs = None
            else:
                self.outputs.forget()  # the other one may move the arm meanwhile
            return
        try:
            self.outputs.hold(now, measured)
        except Exception:
            self._node.get_logger().error(traceback.format_exc())
            self._ladder.stop("the safe command could not be sent")

    def _tell(self) -> None:
        """Log each change of the rung, once."""
        rung, log = self._ladder.rung, self._node.get_logger()
        if rung is self._told:
            return
        self._told = rung
        self._tally.entered(rung)
        if rung is Rung.FRESH:
            log.info("commanding")
        elif rung is Rung.HOLD:
            log.warning(f"standing still: {self._ladder.reason}")
        else:
            log.error(f"stopped: {self._ladder.reason}; ~/reset goes on")
