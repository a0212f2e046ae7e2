"""Runtime statistics of policy_node: event counters, and recent durations."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

import numpy as np

from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.policy.decision import Decision

_TIMES_KEPT = 1000


class RuntimeStatistics:
    """Counters for diagnostics, of bounded size."""

    def __init__(self) -> None:
        """Begin with zero counts."""
        self.counts: Counter[str] = Counter()
        """Counters: ticks, decisions, commands, missed ticks, and so on."""
        self.interventions: Counter[str] = Counter()
        """Interventions of the guard, by kind and dimension."""
        self.decision: Decision | None = None
        """Last decision."""
        self._times: dict[str, deque[float]] = {
            name: deque(maxlen=_TIMES_KEPT)
            for name in (
                "decision",
                "stamp to command",
                "all but the decision",
                "person to command",
            )
        }

    def ticked(self, since_last_ns: int, period_ns: int) -> None:
        """Count a tick, and the ticks missed before it."""
        self.counts["ticks"] += 1
        self.counts["missed ticks"] += max(0, round(since_last_ns / period_ns) - 1)

    def decided(self, milliseconds: float, decision: Decision) -> None:
        """Count a decision and its duration."""
        self.decision = decision
        self.counts["decisions"] += 1
        self.counts["decisions cut short"] += not decision.complete
        self.counts["unsure decisions"] += bool(decision.confidence.unsure)
        self._times["decision"].append(milliseconds)

    def late(self) -> None:
        """Count a decision that was not ready in time."""
        self.counts["late decisions"] += 1

    def commanded(self, milliseconds: float, rest: float | None) -> None:
        """Count a command.

        Args:
            milliseconds: Its delay after the stamp of the image.
            rest: The part of it in which nobody decided; None for a later action of a decision.
        """
        self.counts["commands"] += 1
        self._times["stamp to command"].append(milliseconds)
        if rest is not None:
            self._times["all but the decision"].append(rest)

    def obeyed(self, milliseconds: float) -> None:
        """Count a command of a person.

        Args:
            milliseconds: Its delay after the receipt of what the person wants.
        """
        self.counts["commands of a person"] += 1
        self._times["person to command"].append(milliseconds)

    def intervened(self, interventions: Iterable[str]) -> None:
        """Count interventions of the guard."""
        self.interventions.update(interventions)

    def entered(self, state: SafetyState) -> None:
        """Count a change of the safety state."""
        self.counts[f"times {state.value}"] += 1

    def latest(self) -> dict[str, float]:
        """Last measured durations, milliseconds."""
        return {name: round(values[-1], 3) for name, values in self._times.items() if values}

    def times(self) -> dict[str, tuple[float, float, float]]:
        """Percentiles p50, p95 and p99 of the measured durations, milliseconds."""
        return {
            name: tuple(np.percentile(values, (50, 95, 99)).tolist())
            for name, values in self._times.items()
            if values
        }
