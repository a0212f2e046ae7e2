"""From fresh input to standing still to stopped for good: the fault ladder."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ebm_policy_ros.interface import NANOSECONDS


class SafetyState(Enum):
    """What a node may do."""

    FRESH = "fresh"
    """Decide and command."""
    HOLD = "hold"
    """Command to stand still, until all is well again."""
    STOPPED = "stopped"
    """Nothing, until somebody resets."""


@dataclass
class SafetyStateMachine:
    """Goes down at once and up slowly; the last rung is left by `reset` alone."""

    stop_after: float
    """Time in HOLD until STOPPED, s."""
    recover_after: float
    """Time without a problem until HOLD ends, s."""
    state: SafetyState = SafetyState.HOLD
    reason: str = "nothing decided yet"
    """Why the rung is not FRESH."""
    stops: int = 0
    """Number of stops so far."""
    _begun: bool = False
    _bad_since: int | None = None
    _good_since: int | None = None

    def begin(self) -> None:
        """Wait for fresh input, however long it takes; a latched stop stays."""
        self._begun = False
        self._bad_since = self._good_since = None
        if self.state is not SafetyState.STOPPED:
            self.state, self.reason = SafetyState.HOLD, "nothing decided yet"

    def step(self, time_ns: int, problem: str) -> SafetyState:
        """The rung at a time.

        Args:
            time_ns: Now. A time before the last one starts the waiting times anew.
            problem: What is wrong now; empty if nothing.
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
            return  # nothing has moved, and there is nothing to give up
        if self._bad_since is None or time_ns < self._bad_since:
            self._bad_since = time_ns
        if time_ns - self._bad_since >= round(self.stop_after * NANOSECONDS):
            self.stop(f"held for {self.stop_after} s: {problem}")

    def commanded(self) -> None:
        """A decision went out: what was wrong before is over."""
        self._bad_since = None

    def stop(self, reason: str) -> None:
        """Go down to STOPPED."""
        self.stops += 1
        self.state, self.reason = SafetyState.STOPPED, reason

    def reset(self) -> None:
        """Leave STOPPED; for when all is well."""
        self.state = SafetyState.HOLD
        self.begin()
