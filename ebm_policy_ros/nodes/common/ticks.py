"""Ticks of a node that commands, and detection of a clock that has stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node

# Real time after which a clock counts as stopped, and time between two checks, s.
_STANDSTILL, _LOOK = 1.0, 0.25
STANDSTILL = "the clock stands still: /clock says nothing new; is the simulation running?"


class ClockWatch:
    """Detects that a node's clock has stopped, as when a simulation hangs or is paused."""

    def __init__(self, node: Node, log: bool = False) -> None:
        """Begin with a running clock.

        Args:
            node: Node that owns the clock.
            log: True to log when the clock stops and continues.
        """
        self._clock, self._log = node.get_clock(), node.get_logger()
        self._time, self._moved = -1, 0.0
        self._told = False
        if log and node.get_parameter("use_sim_time").value:
            node.create_timer(_LOOK, self._tell, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _tell(self) -> None:
        stands = self.stands()
        if stands and not self._told:
            self._log.warning(STANDSTILL)
        elif self._told and not stands:
            self._log.info("the clock goes on")
        self._told = stands

    def stands(self) -> bool:
        """True if the clock has not advanced for a second of real time; must be called often."""
        now, real = self._clock.now().nanoseconds, time.monotonic()
        if now != self._time:
            self._time, self._moved = now, real
        return real - self._moved > _STANDSTILL


class Ticks:
    """Calls a function at a rate, on the steady clock or on the clock of a simulation."""

    def __init__(self, node: Node, rate: float, call: Callable[[], None]) -> None:
        """Start the timer.

        Args:
            node: Node that owns the timer.
            rate: Rate of the calls, Hz.
            call: Function to call; also called at once after a simulation's clock was set back.
        """
        self._node, self._call = node, call
        # The system's clock may be set, so the steady clock is used. In a simulation the ticks
        # follow its time.
        simulated = node.get_parameter("use_sim_time").value
        clock = None if simulated else Clock(clock_type=ClockType.STEADY_TIME)
        self.timer = node.create_timer(1.0 / rate, call, clock=clock)
        back = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1))
        self._jumps = node.get_clock().create_jump_callback(back, post_callback=self._on_jump)

    def _on_jump(self, jump: Any) -> None:
        """Restart the timer after the clock was set back; it would wait for the old time."""
        self.timer.reset()
        self._call()

    def close(self) -> None:
        """Stop the timer."""
        self._jumps.unregister()
        self._node.destroy_timer(self.timer)
