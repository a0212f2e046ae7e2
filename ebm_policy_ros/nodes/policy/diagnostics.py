"""Diagnostics: publishes /diagnostics of policy_node once per second."""

from __future__ import annotations

import dataclasses
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.nodes.common.inputs import StreamHealth
from ebm_policy_ros.nodes.common.ticks import STANDSTILL
from ebm_policy_ros.nodes.policy.execution import LEVELS
from ebm_policy_ros.nodes.policy.node_state import PolicyNodeState


class Diagnostics:
    """One status for the policy, and one for each stream."""

    def __init__(self, node: LifecycleNode, state: PolicyNodeState) -> None:
        """Start publishing; it continues while a simulation's clock has stopped.

        Args:
            node: Node whose publisher, clock and log are used.
            state: State of the same node.
        """
        self._node, self._state = node, state
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self._told: set[str] = set()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(1.0, self._publish, clock=steady)

    def _publish(self) -> None:
        now = self._node.get_clock().now()
        message = DiagnosticArray()
        message.header.stamp = now.to_msg()
        message.status = [self._policy()]
        if self._state.inputs is not None:
            self._tell_shapes(self._state.inputs.buffer.image_shapes.notes())
            streams = self._state.inputs.health(now.nanoseconds)
            message.status += [self._stream(stream) for stream in streams]
            ages = [stream.age for stream in streams if stream.age is not None]
            if ages:
                _add(message.status[0], "skew (s)", f"{max(ages) - min(ages):.4f}")
        self._publisher.publish(message)

    def _tell_shapes(self, notes: list[str]) -> None:
        """Log each unusual property of the shapes of the cameras' frames once."""
        for note in notes:
            if note not in self._told:
                self._node.get_logger().warning(note)
                self._told.add(note)

    def _status(self, name: str, level: bytes, text: str) -> Any:
        full = f"{self._node.get_fully_qualified_name()}: {name}"
        return DiagnosticStatus(name=full, level=level, message=text)

    def _policy(self) -> Any:
        state, safety, statistics = self._state, self._state.safety, self._state.statistics
        stopped = safety.state is SafetyState.STOPPED  # the arm's state says more than the clock's
        if not stopped and state.clock_watch.stands():
            return self._status("policy", DiagnosticStatus.ERROR, STANDSTILL)
        if state.control_loop is None and not stopped:
            return self._status("policy", DiagnosticStatus.OK, "not configured")
        if state.is_active or stopped:
            text = safety.state.value + (f": {safety.reason}" if safety.reason else "")
            status = self._status("policy", LEVELS[safety.state], text)
        else:
            status = self._status("policy", DiagnosticStatus.OK, "inactive")
        if state.control_loop is None:
            return status
        loaded = state.control_loop.loaded
        _add(status, "commander", state.control_loop.commander.value)
        if state.control_loop.person:
            _add(status, "taken over by", state.control_loop.person)
        _add(status, "policy", loaded.shown_name)
        _add(status, "policy sha256", "hidden" if loaded.is_hidden else loaded.sha256)
        _add(status, "calibrated", str(loaded.policy.has_thresholds).lower())
        _add(status, "shadow", str(not state.values["publish_commands"]).lower())
        for name, (p50, p95, p99) in statistics.times().items():
            _add(status, f"{name} p50 / p95 / p99 (ms)", f"{p50:.1f} / {p95:.1f} / {p99:.1f}")
        for name, count in statistics.counts.items():
            _add(status, name, str(count))
        for name, count in sorted(statistics.interventions.items()):
            _add(status, f"guard {name}", str(count))
        if statistics.decision is not None:
            if statistics.decision.intent is not None:
                _add(status, "intent", str(statistics.decision.intent))
            confidence = statistics.decision.confidence
            if confidence.unsure and status.level == DiagnosticStatus.OK:
                status.level = DiagnosticStatus.WARN
            for field in dataclasses.fields(confidence):
                value = getattr(confidence, field.name)
                text = f"{value:.4g}" if isinstance(value, float) else "; ".join(value)
                _add(status, field.name.replace("_", " "), text)
        return status

    def _stream(self, stream: StreamHealth) -> Any:
        old = stream.age is None
        bad = stream.problem or ("no sample that may be used" if old else "")
        level = DiagnosticStatus.ERROR if bad else DiagnosticStatus.OK
        status = self._status(stream.name, level, bad or "fresh")
        _add(status, "topic", stream.topic)
        if stream.age is not None:
            _add(status, "age (s)", f"{stream.age:.4f}")
        _add(status, "rate (Hz)", f"{stream.rate:.1f}")
        _add(status, "received", str(stream.received))
        _add(status, "refused", str(stream.refused))
        _add(status, "stamped", str(not stream.unstamped).lower())
        return status


def _add(status: Any, key: str, value: str) -> None:
    status.values.append(KeyValue(key=key, value=value))
