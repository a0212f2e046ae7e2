"""Execution: publishes at each tick who commanded, in which state, and how sure the policy was."""

from __future__ import annotations

import math

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from ebm_policy_ros.control.safety_state import SafetyState, SafetyStateMachine
from ebm_policy_ros.interface import NANOSECONDS
from ebm_policy_ros.messages.execution import Commander, execution_topic
from ebm_policy_ros.nodes.policy.loading import LoadedPolicy
from ebm_policy_ros.policy.out_of_distribution import Confidence

LEVELS = {
    SafetyState.FRESH: DiagnosticStatus.OK,
    SafetyState.HOLD: DiagnosticStatus.WARN,
    SafetyState.STOPPED: DiagnosticStatus.ERROR,
}
"""Level of a status for each safety state."""
# Ticks that wait for a slow subscriber.
_DEPTH = 100


class Execution:
    """Publishes `~/execution`, one message for each tick, for a record of who did what."""

    def __init__(self, node: Node) -> None:
        """Open the topic."""
        self._node = node
        self._name = f"{node.get_fully_qualified_name()}: execution"
        self._publisher = node.create_publisher(DiagnosticArray, execution_topic("~"), _DEPTH)

    def close(self) -> None:
        """Close the topic."""
        self._node.destroy_publisher(self._publisher)

    def publish(
        self,
        time_ns: int,
        commander: Commander,
        publishes: bool,
        safety: SafetyStateMachine,
        loaded: LoadedPolicy,
        confidence: Confidence | None,
    ) -> None:
        """Publish the result of a tick.

        Args:
            time_ns: Time of the tick, nanoseconds.
            commander: Source of the command of this tick.
            publishes: True if the node has the command topics; false in shadow mode.
            safety: Safety state after the tick.
            loaded: Policy of the node.
            confidence: Confidence of the decision that this tick executed or withheld; None if
                there is none.
        """
        numbers = {"features": math.nan, "colours": math.nan, "energy": math.nan}
        if confidence is not None:
            numbers = {name: getattr(confidence, name) for name in numbers}
        values = {
            "commander": commander.value,
            "publishes": str(publishes).lower(),
            "state": safety.state.value,
            "reason": safety.reason,
            "policy": loaded.name,
            "sha256": loaded.sha256,
            "unsure": ", ".join(confidence.unsure) if confidence is not None else "",
            **{name: _text(value) for name, value in numbers.items()},
        }
        status = DiagnosticStatus(
            name=self._name, level=LEVELS[safety.state], message=commander.value
        )
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        sec, nanosec = divmod(time_ns, NANOSECONDS)
        message.header.stamp = Time(sec=sec, nanosec=nanosec)
        self._publisher.publish(message)


def _text(value: float) -> str:
    """Number as text; empty if it is unknown."""
    return f"{value:.6g}" if math.isfinite(value) else ""
