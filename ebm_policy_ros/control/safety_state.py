"""Safety state machine: FRESH (commands), HOLD (stand still) and STOPPED (latched)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ebm_policy_ros.interface import NANOSECONDS


class SafetyState(Enum):
    """Safety state of a node."""

    FRESH = "fresh"
    """Decide and send commands."""
    HOLD = "hold"
    """Command the arm to stand still until there is no problem any more."""
    STOPPED = "stopped"
    """Send nothing until an operator resets."""


@dataclass
class SafetyStateMachine:
    """State machine that degrades at once and recovers slowly; only `reset` leaves STOPPED."""

    stop_after: float
    """Time in HOLD until STOPPED, s."""
    recover_after: float
    """Time without a problem until HOLD ends, s."""
    state: SafetyState = SafetyState.HOLD
    reason: str = "nothing decided yet"
    """Reason why the state is not FRESH."""
    stops: int = 0
    """Number of stops so far."""
    _begun: bool = False
    _bad_since: int | None = None
    _good_since: int | None = None

    def begin(self) -> None:
        """Wait for fresh input without a time limit; a latched stop stays."""
        self._begun = False
        self._bad_since = self._good_since = None
        if self.state is not SafetyState.STOPPED:
            self.state, self.reason = SafetyState.HOLD, "nothing decided yet"

    def step(self, time_ns: int, problem: str) -> SafetyState:
        """Safety state at a time.

        Args:
            time_ns: Current time, nanoseconds. A time before the last one restarts the waiting
                times.
            problem: Current problem; empty if there is none.
        """
        if self.state is SafetyState.STOPPED:
            return self.state
        if problem:
            self._descend(time_ns, problem)
        elif self.state is SafetyState.HOLD:
            if self._good_since is None or time_ns < self._good_since:
                self._good_since = time_ns
            waited = time_ns - self._good_since >= round(self.recover_after * NANOSECONDS)
            if waited or not self._begun:
                self.state, self.reason, self._begun = SafetyState.FRESH, "", True
            else:
                self.reason = f"well again, for less than {self.recover_after} s"
        return self.state

    def _descend(self, time_ns: int, problem: str) -> None:
        self.state, self.reason, self._good_since = SafetyState.HOLD, problem, None
        if not self._begun:
            return  # no motion has started, so there is nothing to stop
        if self._bad_since is None or time_ns < self._bad_since:
            self._bad_since = time_ns
        if time_ns - self._bad_since >= round(self.stop_after * NANOSECONDS):
            self.stop(f"held for {self.stop_after} s: {problem}")

    def commanded(self) -> None:
        """Note that a decision was sent: the earlier problem is over."""
        self._bad_since = None

    def stop(self, reason: str) -> None:
        """Change to STOPPED."""
        self.stops += 1
        self.state, self.reason = SafetyState.STOPPED, reason

    def reset(self) -> None:
        """Leave STOPPED; call it only after the problem was solved."""
        self.state = SafetyState.HOLD
        self.begin()
