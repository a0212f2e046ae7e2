"""policy_node: reads cameras and joints, and commands the action of lowest energy."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from ebm_policy_ros.control.limits import LimitError
from ebm_policy_ros.control.safety_state import SafetyState, SafetyStateMachine
from ebm_policy_ros.interface import ImageStream, Interface
from ebm_policy_ros.nodes.common.inputs import Inputs
from ebm_policy_ros.nodes.common.parameters import UnsetNode, declare_all
from ebm_policy_ros.nodes.common.spin import run_node
from ebm_policy_ros.nodes.common.ticks import ClockWatch, Ticks
from ebm_policy_ros.nodes.policy.control_loop import ControlLoop
from ebm_policy_ros.nodes.policy.diagnostics import Diagnostics
from ebm_policy_ros.nodes.policy.inference_thread import InferenceThread
from ebm_policy_ros.nodes.policy.loading import (
    LoadedPolicy,
    command_topics,
    prepare_policy,
    proposed_topics,
)
from ebm_policy_ros.nodes.policy.parameters import SETTINGS
from ebm_policy_ros.nodes.policy.services import PolicyServices
from ebm_policy_ros.nodes.policy.statistics import RuntimeStatistics
from ebm_policy_ros.nodes.policy.status import Status

# Periods for which the timer waits for the next sample after a sample started a decision.
_PATIENCE = 1.3


class PolicyNode(UnsetNode, LifecycleNode):
    """Decides and commands at the interface's rate while active.

    Configure loads and warms up the policy, activate lets it command, deactivate commands a
    stop and then nothing. docs/explanation/safety.md tells what it does when something is wrong.
    """

    def __init__(self, **options: Any) -> None:
        """Declare the parameters; with `autostart` also configure and activate.

        Args:
            **options: Options of rclpy's nodes.
        """
        super().__init__("policy_node", **options)
        self.values = declare_all(self, SETTINGS)
        """Parameters by name; None for a parameter that is not set."""
        self.add_on_set_parameters_callback(self._on_parameters)
        self.safety = SafetyStateMachine(self.values["stop_after"], self.values["recover_after"])
        self.statistics = RuntimeStatistics()
        self.inputs: Inputs | None = None
        self.control_loop: ControlLoop | None = None
        self.preparation: Future[tuple[LoadedPolicy, InferenceThread]] | None = None
        self._timer: Any = None
        self._waiting_since: int | None = None
        self._triggered_ns = 0
        self.failure = ""
        """Reason why the last transition failed."""
        self.clock_watch = ClockWatch(self, log=True)
        self._operator_services = PolicyServices(self, self)
        self._diagnostics = Diagnostics(self, self)
        self._status = Status(self, self)
        if self.values["autostart"]:
            for transition in (self.trigger_configure, self.trigger_activate):
                if transition() != TransitionCallbackReturn.SUCCESS:
                    raise ValueError(self.failure)
        else:
            self.get_logger().info(
                "waiting, nothing moves: ~/start configures and activates, as do the lifecycle "
                "transitions; autostart:=true does it at once"
            )

    @property
    def is_active(self) -> bool:
        """True if the node is active, so that it decides."""
        return self._timer is not None

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy, check it against the interface, warm it up, and open the inputs."""
        return self._try(self._configure)

    def _try(self, step: Callable[[], None]) -> TransitionCallbackReturn:
        """Execute a step of a transition; an error is logged and fails the transition."""
        try:
            step()
        except Exception as error:
            expected = isinstance(error, ValueError)
            self.failure = str(error) if expected else f"{type(error).__name__}: {error}"
            if not expected:
                self.get_logger().error(traceback.format_exc())
            elif not self.values["autostart"]:  # otherwise the process ends with this text
                self.get_logger().error(self.failure)
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        prepared, self.preparation = self.preparation, None
        if prepared is not None:
            loaded, inference_thread = prepared.result()
        else:
            loaded, inference_thread = prepare_policy(self.values, self.values["policy"])
        with ExitStack() as undo:
            undo.callback(inference_thread.close)
            if self.values["lockstep"] and not self.get_parameter("use_sim_time").value:
                raise ValueError(
                    "lockstep: waits for every sample as long as it takes; expected use_sim_time "
                    "too"
                )
            self._trigger = self._find_trigger(loaded.interface)
            loaded.limits(self.values)
            inputs = Inputs(self, loaded.interface, self._on_sample)
            undo.callback(inputs.close)
            self.control_loop = ControlLoop(
                self, loaded, inference_thread, inputs, self.safety, self.statistics, self.values
            )
            undo.pop_all()
        self.inputs = inputs
        if not loaded.policy.has_thresholds:
            self.get_logger().warning(
                f"{loaded.label} is not calibrated: it cannot tell when it is not at home; "
                "see calibrate_policy"
            )

    def _find_trigger(self, interface: Interface) -> str:
        """Stream whose samples start decisions; empty for the timer."""
        streams, wanted = interface.observation, self.values["trigger"]
        if wanted == "auto":
            if self.get_parameter("use_sim_time").value:
                return ""
            return next((n for n, s in streams.items() if isinstance(s, ImageStream)), "")
        if wanted not in ("timer", *streams):
            names = ", ".join(streams)
            raise ValueError(f"trigger: got {wanted!r}, expected auto, timer or one of {names}")
        return "" if wanted == "timer" else str(wanted)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to decide and command; a latched stop stays."""
        if self._try(self._activate) != TransitionCallbackReturn.SUCCESS:
            self._fall_silent()
            return TransitionCallbackReturn.FAILURE
        return super().on_activate(state)

    def _activate(self) -> None:
        assert self.control_loop is not None
        interface = self.control_loop.loaded.interface
        publish = self.values["publish_commands"]
        self.control_loop.open(publish)
        self._ticks = Ticks(self, interface.rate, self._on_timer)
        self._timer = self._ticks.timer
        self.get_logger().info(self.control_loop.loaded.announcement(self.values))
        if self.safety.state is SafetyState.STOPPED:
            self.get_logger().warning(f"still stopped: {self.safety.reason}; call ~/reset")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Command a stop and close the command topics."""
        self._fall_silent()
        return super().on_deactivate(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Command a stop if active, and release everything."""
        self.close()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Command a stop if active; the node must be configured again."""
        self.close()
        return super().on_error(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the inputs and release the policy."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def _fall_silent(self) -> None:
        if self._timer is not None:
            self._ticks.close()
        self._timer = self._waiting_since = None
        if self.control_loop is not None:
            self.control_loop.shut()

    def close(self) -> None:
        """Command a stop if active, and release the policy and the inputs."""
        self._fall_silent()
        if self.control_loop is not None:
            self.control_loop.close()
        if self.inputs is not None:
            self.inputs.close()
        self.control_loop = self.inputs = None

    # Ticks

    def _on_sample(self, stream: str) -> None:
        """React to a stored sample: run the tick that waits for it, or start a decision."""
        if self._timer is None:
            return
        assert self.inputs is not None and self.control_loop is not None
        if self._waiting_since is not None:
            if self.inputs.buffer.complete(self._waiting_since):
                self._tick(self._waiting_since)
        elif stream == self._trigger and not self.values["lockstep"]:
            now = self.get_clock().now().nanoseconds
            period = self.control_loop.loaded.interface.period_ns
            # If the camera is faster than the rate, use the sample nearest to the next tick.
            early = min(self.inputs.gap_ns(stream, now) or period, period) // 2
            # Independent of ticks by the timer, which isn't synchronised with the camera.
            if not 0 <= now - self._triggered_ns < period - early:
                self._triggered_ns = now
                self._fire_after(_PATIENCE)
                self._timer.reset()
                self._tick(now)

    def _fire_after(self, periods: float) -> None:
        assert self.control_loop is not None
        wanted = round(periods * self.control_loop.loaded.interface.period_ns)
        if self._timer.timer_period_ns != wanted:
            self._timer.timer_period_ns = wanted

    def _on_timer(self) -> None:
        assert self.inputs is not None
        now = self.get_clock().now().nanoseconds
        self._fire_after(1.0)
        if self.values["lockstep"] and not self.inputs.buffer.complete(now):
            self._waiting_since = now
            return
        self._tick(now)

    def _tick(self, now: int) -> None:
        assert self.control_loop is not None
        self._waiting_since = None
        self.control_loop.tick(now)

    # Parameters

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        """Reject invalid values with the reason; valid ones take effect from the next tick on."""
        wanted = {p.name: p.value for p in parameters if p.name in self.values}
        values = {**self.values, **wanted}
        problem = next(
            (text for s in SETTINGS if s.name in wanted and (text := s.check(wanted[s.name]))), ""
        )
        if not problem and self.control_loop is not None:
            problem = self.control_loop.loaded.unsuitable(values)
        if not problem and self.control_loop is not None:
            try:
                self.control_loop.arms.limit(self.control_loop.loaded.limits(values))
            except LimitError as error:
                problem = str(error)
        if problem:
            return SetParametersResult(successful=False, reason=problem)
        if (
            wanted.get("publish_commands", self.values["publish_commands"])
            != (self.values["publish_commands"])
        ):
            self.get_logger().warning(self.destination(wanted["publish_commands"]))
        self.values.update(wanted)
        self.safety.stop_after = values["stop_after"]
        self.safety.recover_after = values["recover_after"]
        if self.is_active and "publish_commands" in wanted:
            self._change_outputs(values["publish_commands"])
        return SetParametersResult(successful=True)

    def destination(self, publish: bool) -> str:
        """Destination of the commands, as text for users."""
        loop = self.control_loop
        if not publish:
            topics = proposed_topics(loop.loaded.interface) if loop else "~/proposed_command"
            return f"shadow mode: commands go to {topics} alone, the arm does not move"
        topics = command_topics(loop.loaded.interface) if loop else "the command topic"
        return f"shadow mode is off: commands go to {topics}, the arm moves"

    def _change_outputs(self, publish: bool) -> None:
        """Command a stop on the old output topics, then continue on the new ones."""
        assert self.control_loop is not None
        if self.control_loop.arms.is_open and self.control_loop.arms.publishes != publish:
            self.control_loop.reopen(publish)
            self.get_logger().info(self.control_loop.loaded.announcement(self.values))


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(PolicyNode, "policy_node", SETTINGS, args)


if __name__ == "__main__":
    main()
