"""The beat of a node that commands, and whether the clock goes on at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node

# A clock counts as standing still after so many seconds of real time, and is looked at so often.
_STANDSTILL, _LOOK = 1.0, 0.25
STANDSTILL = "the clock stands still: /clock says nothing new; is the simulation running?"


class ClockWatch:
    """Tells whether a node's clock stands still, as a simulation's that hangs or is paused."""

    def __init__(self, node: Node, log: bool = False) -> None:
        """Begins with a clock that goes on.

        Args:
            node: Whose clock it is.
            log: Whether the node's log tells when it stops and goes on.
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
        """Whether it has not moved for a second of real time; to be asked often."""
        now, real = self._clock.now().nanoseconds, time.monotonic()
        if now != self._time:
            self._time, self._moved = now, real
        return real - self._moved > _STANDSTILL


class Ticks:
    """Calls something at a rate, on the steady clock or on a simulation's."""

    def __init__(self, node: Node, rate: float, call: Callable[[], None]) -> None:
        """Begins.

        Args:
            node: Whose timer it is.
            rate: Calls per second, Hz.
            call: Also called at once after a simulation's clock was set back.
        """
        self._node, self._call = node, call
        # The system's clock may be set; a simulation's time is what its ticks are made of.
        simulated = node.get_parameter("use_sim_time").value
        clock = None if simulated else Clock(clock_type=ClockType.STEADY_TIME)
        self.timer = node.create_timer(1.0 / rate, call, clock=clock)
        back = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1))
        self._jumps = node.get_clock().create_jump_callback(back, post_callback=self._on_jump)

    def _on_jump(self, jump: Any) -> None:
        """The clock was set back; the timer would wait until it is what it was."""
        self.timer.reset()
        self._call()

    def close(self) -> None:
        """End."""
        self._jumps.unregister()
        self._node.destroy_timer(self.timer)
