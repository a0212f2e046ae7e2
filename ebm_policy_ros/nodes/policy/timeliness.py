"""Timeliness: what is too late for a command, and an alarm for a decision that is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.nodes.common.pauses import PauseWatch, boot_time
from ebm_policy_ros.nodes.policy.inference_thread import DecisionLate
from ebm_policy_ros.observation.buffer import Snapshot


class Timeliness:
    """Refuses late decisions and old observations; in lockstep nothing is late."""

    def __init__(
        self, node: Node, interface: Interface, values: dict[str, Any], on_late: Callable[[], None]
    ) -> None:
        """Start watching for pauses of this process.

        Args:
            node: Node whose clock is used.
            interface: Rate of the decisions.
            values: Parameters of the node.
            on_late: Called when a decision is late.
        """
        self._node, self._interface, self._values = node, interface, values
        self._pauses = PauseWatch()
        self._patience: float | None = None
        self._alarm: Any = None
        if not values["lockstep"]:  # in lockstep the simulation waits for each tick
            # Simulated time is not the time in which decisions are computed.
            periods = 10 if node.get_parameter("use_sim_time").value else 1
            self._patience = periods / interface.rate
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._alarm = node.create_timer(self._patience, on_late, clock=steady)
            self._alarm.cancel()

    def start(self) -> float | None:
        """Set the alarm for a decision that starts now.

        Returns:
            Time after which the search returns its best action so far, s; None for no limit.
        """
        if self._alarm is None:
            return None
        self._alarm.reset()
        budget: float = self._values["budget"]
        return budget / self._interface.rate

    def cancel(self) -> None:
        """Cancel the alarm."""
        if self._alarm is not None:
            self._alarm.cancel()

    def close(self) -> None:
        """Stop watching, and destroy the alarm."""
        self._pauses.close()
        if self._alarm is not None:
            self._node.destroy_timer(self._alarm)

    def pause(self) -> str:
        """Pause of this process that has just ended; empty if there was none, or in lockstep."""
        if self._patience is None:
            return ""
        return self._pauses.problem(max(self._values["recover_after"], 2 / self._interface.rate))

    def refuse_late(self, decision: Future[Any], started: float) -> None:
        """Reject a late decision, also if it is late because this process was paused.

        Args:
            decision: The decision, perhaps still in progress.
            started: Boot time at its start, s.

        Raises:
            DecisionLate: If it is too late.
        """
        if self._patience is None:
            return
        if not decision.done() or boot_time() - started > self._patience:
            raise DecisionLate(f"no decision after {self._patience:.3f} s")

    def refuse_outdated(self, snapshot: Snapshot) -> None:
        """Reject a command from samples that are too old now.

        In every case the observation of a command is at most as old as its `max_age` plus a
        period. This is checked on the node's clock, and on a clock that continues if that one
        stops or is set.

        Raises:
            DecisionLate: With the streams that are too old, or a pause of this process.
        """
        if self._patience is None:
            return
        now = int(self._node.get_clock().now().nanoseconds)
        if outdated := self.pause() or snapshot.outdated(now, self._interface.period_ns):
            raise DecisionLate(outdated)
