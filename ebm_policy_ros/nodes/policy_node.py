"""policy_node: camera and joints in, the action of lowest energy out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from geometry_msgs.msg import TwistStamped
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy

from ebm_policy_ros.guard import CommandGuard
from ebm_policy_ros.inference.methods import SETTINGS
from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.messages.commands import fill_twist
from ebm_policy_ros.messages.images import MessageError
from ebm_policy_ros.nodes.parameters import declare, declare_optional
from ebm_policy_ros.nodes.running import run_node
from ebm_policy_ros.nodes.topics import message_class
from ebm_policy_ros.observation import Observation, ObservationBuffer, StaleObservation
from ebm_policy_ros.policy import Choice, Policy, PolicyMismatch
from ebm_policy_ros.share import interface_path, policy_path

_TIMES_KEPT = 1000


class PolicyNode(LifecycleNode):
    """Decides and commands at the interface's rate while active.

    Configure loads and warms up the policy, activate lets it command, deactivate commands a
    stop and then nothing. Without fresh input the command is to stand still.
    """

    def __init__(self, **options: Any) -> None:
        """Declares the parameters; with `autostart` also configures and activates.

        Args:
            **options: As rclpy's nodes take them.
        """
        super().__init__("policy_node", **options)
        self._policy_name: str = declare(
            self, "policy", "ur5e_push", "Policy file, or the name of one that is shipped."
        )
        self._interface_name: str = declare(
            self,
            "interface",
            "",
            "Interface file of this robot, or the name of a shipped one; empty: the policy's.",
        )
        self._device: str = declare(
            self, "device", "auto", "Where to decide: auto, cpu, cuda or cuda:N."
        )
        settings = {
            name: declare_optional(
                self, f"optimiser.{name}", "Of the search, docs/methods.md; unset: the policy's."
            )
            for name in SETTINGS
        }
        self._optimiser = {n: value for n, value in settings.items() if value is not None}
        self._choice: Choice = declare(
            self, "choice", "lowest", "lowest energy, or a sample from exp(-E / temperature)."
        )
        self._temperature: float | None = declare_optional(
            self, "temperature", "Of that sample; unset: that of the training."
        )
        self._seed: int = declare(self, "seed", 0, "Seed of the candidates.")
        self._threads: int = declare(self, "threads", 1, "CPU threads of torch.")
        self._lockstep: bool = declare(
            self,
            "lockstep",
            False,
            "For a simulation that waits for each command: decide only once every stream has a "
            "sample stamped at the tick or later.",
        )
        self._autostart: bool = declare(
            self, "autostart", False, "Configure and activate at start."
        )
        self._timer: Any = None
        self._inputs: list[Any] = []
        self._publisher: Any = None
        self._waiting_since: int | None = None
        self._holding = ""
        self._times: list[float] = []
        self._failure = ""
        if self._autostart:
            self._start()

    def _start(self) -> None:
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise ValueError(self._failure)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy, check it against the interface, warm it up, open the topics."""
        try:
            self._load()
        except ValueError as error:
            self._failure = str(error)
            if not self._autostart:  # which ends the process with this text
                self.get_logger().error(self._failure)
            return TransitionCallbackReturn.FAILURE
        action = self._interface.action
        self._publisher = self.create_publisher(TwistStamped, action.topic, 1)
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        for name, stream in self._interface.observation.items():
            self._inputs.append(
                self.create_subscription(
                    message_class(stream.type),
                    stream.topic,
                    lambda message, name=name: self._receive(name, message),
                    newest,
                )
            )
        return TransitionCallbackReturn.SUCCESS

    def _load(self) -> None:
        if self._threads < 1:
            raise ValueError(f"threads: got {self._threads}, expected an integer >= 1")
        torch.set_num_threads(self._threads)
        policy = Policy.load(
            policy_path(self._policy_name),
            device=self._device,
            seed=self._seed,
            optimiser=self._optimiser,
            choice=self._choice,
            temperature=self._temperature,
        )
        if policy.interface is None:
            raise PolicyMismatch(
                f"policy {self._policy_name} was trained on arrays that name no robot; train it "
                "again with --interface"
            )
        name = self._interface_name
        interface = load_interface(interface_path(name)) if name else policy.interface
        differences = policy.interface.differences(interface)
        if differences:
            raise PolicyMismatch(
                f"policy {self._policy_name} is for another interface than {name} "
                f"({differences[0]}); choose a policy trained with this interface"
            )
        policy.warm_up()
        self._policy: Policy = policy
        self._interface: Interface = interface
        self._buffer = ObservationBuffer(interface)
        self._guard = CommandGuard(interface)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to decide and command."""
        self._times.clear()
        self._timer = self.create_timer(1.0 / self._interface.rate, self._tick)
        self.get_logger().info(
            f"active: commands on {self._interface.action.topic} at {self._interface.rate} Hz"
        )
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Command a stop, then fall silent."""
        self._end_motion()
        return super().on_deactivate(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Command a stop if active, and end for good."""
        self.close()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Command a stop if active; the node has to be configured anew."""
        self.close()
        return super().on_error(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the topics and forget the policy."""
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs.clear()
        self.destroy_publisher(self._publisher)
        del self._policy, self._buffer
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Command a stop if active; the node ends."""
        if self._timer is not None:
            self._end_motion()
            # The publisher ends with the node; the stop must be out before.
            self._publisher.wait_for_all_acked(Duration(seconds=0.5))

    def _end_motion(self) -> None:
        self.destroy_timer(self._timer)
        self._timer = None
        self._waiting_since = None
        self._publish(self._guard.stop(), self._now())
        self._log_times()

    def _now(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _receive(self, stream: str, message: Any) -> None:
        self._buffer.add(stream, message, self._now())
        if self._waiting_since is not None and self._buffer.complete(self._waiting_since):
            self._decide_and_publish(self._waiting_since)

    def _tick(self) -> None:
        now = self._now()
        if self._lockstep and not self._buffer.complete(now):
            self._waiting_since = now
            return
        self._decide_and_publish(now)

    def _decide_and_publish(self, now: int) -> None:
        self._waiting_since = None
        try:
            command = self._decide(now)
        except (StaleObservation, MessageError) as problem:
            self._hold(str(problem))
            command = self._guard.stop()
        except Exception:
            self._publish(self._guard.stop(), now)
            raise
        self._publish(command, now)

    def _decide(self, now: int) -> npt.NDArray[np.float32]:
        started = time.perf_counter()
        observation = self._buffer.observe(now)
        decision = self._policy.decide(observation)
        guarded = self._guard.guard(decision.action[0], self._tool_position(observation))
        self._times.append((time.perf_counter() - started) * 1e3)
        if self._holding:
            self.get_logger().info("every stream is fresh again")
            self._holding = ""
        if guarded.interventions:
            self.get_logger().warning(
                f"guard: {', '.join(guarded.interventions)}", throttle_duration_sec=5.0
            )
        if len(self._times) >= _TIMES_KEPT:
            self._log_times()
        return guarded.action

    def _tool_position(self, observation: Observation) -> dict[str, float]:
        box = self._interface.workspace
        if box is None:
            return {}
        fields = self._interface.observation[box.stream].fields  # type: ignore[union-attr]
        return dict(zip(fields, observation[box.stream][-1].tolist(), strict=True))

    def _hold(self, problem: str) -> None:
        # Ages change with every tick; the log is for what begins.
        if not self._holding or problem.count(";") > self._holding.count(";"):
            self.get_logger().warning(f"standing still: {problem}")
        self._holding = problem

    def _publish(self, command: npt.NDArray[np.float32], now: int) -> None:
        message = fill_twist(TwistStamped(), self._interface.action, command, now)
        self._publisher.publish(message)

    def _log_times(self) -> None:
        if self._times:
            p50, p99 = np.percentile(self._times, (50, 99))
            self.get_logger().info(
                f"decision time of the last {len(self._times)}: p50 {p50:.1f} ms, p99 {p99:.1f} ms"
            )
        self._times.clear()


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(PolicyNode, args)


if __name__ == "__main__":
    main()
