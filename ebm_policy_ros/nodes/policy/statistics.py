"""What happened since a node began to decide: counts, and times of late."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

import numpy as np

from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.policy.decision import Decision

_TIMES_KEPT = 1000


class RuntimeStatistics:
    """Counters for diagnostics; nothing in it grows."""

    def __init__(self) -> None:
        """Everything is zero."""
        self.counts: Counter[str] = Counter()
        """ticks, decisions, commands, missed ticks, and so on."""
        self.interventions: Counter[str] = Counter()
        """Of the guard, by kind and dimension."""
        self.decision: Decision | None = None
        """The last one."""
        self._times: dict[str, deque[float]] = {
            name: deque(maxlen=_TIMES_KEPT)
            for name in ("decision", "stamp to command", "all but the decision")
        }

    def ticked(self, since_last_ns: int, period_ns: int) -> None:
        """A tick came; those that should have come before it are missed."""
        self.counts["ticks"] += 1
        self.counts["missed ticks"] += max(0, round(since_last_ns / period_ns) - 1)

    def decided(self, milliseconds: float, decision: Decision) -> None:
        """A decision was made."""
        self.decision = decision
        self.counts["decisions"] += 1
        self.counts["decisions cut short"] += not decision.complete
        self.counts["unsure decisions"] += bool(decision.confidence.unsure)
        self._times["decision"].append(milliseconds)

    def late(self) -> None:
        """A decision did not come in time."""
        self.counts["late decisions"] += 1

    def commanded(self, milliseconds: float) -> None:
        """A command went out so long after the stamp of the image that it answers."""
        self.counts["commands"] += 1
        self._times["stamp to command"].append(milliseconds)
        self._times["all but the decision"].append(milliseconds - self._times["decision"][-1])

    def intervened(self, interventions: Iterable[str]) -> None:
        """The guard changed a command."""
        self.interventions.update(interventions)

    def entered(self, state: SafetyState) -> None:
        """The ladder was gone up or down."""
        self.counts[f"times {state.value}"] += 1

    def times(self) -> dict[str, tuple[float, float, float]]:
        """p50, p95 and p99 in milliseconds, of what was measured."""
        return {
            name: tuple(np.percentile(values, (50, 95, 99)).tolist())
            for name, values in self._times.items()
            if values
        }
