"""Executions of a policy: who commanded when, and what was seen before each stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS
from ebm_policy_ros.training.data.episodes import Episode
from ebm_policy_ros.training.data.execution import LEARNED
from ebm_policy_ros.training.inspection.pictures import FilmStrip, film_strip

BEFORE = 3.0
"""Usual time before a stop that is shown, s."""


@dataclass(frozen=True)
class Span:
    """Time for which one commanded, s from the first step."""

    commander: str
    """The commander: policy, person, nobody or other."""
    start: float
    length: float


@dataclass(frozen=True)
class StopView:
    """A stop, and what was seen before it."""

    time: float
    """Time of the stop, s from the first step."""
    start: float
    """Time from which on it is shown, s from the first step."""
    reason: str
    strips: Mapping[str, FilmStrip]
    """Camera -> its film strip of the time before the stop; empty if nothing was seen then."""


@dataclass(frozen=True)
class ExecutionView:
    """Execution of a policy."""

    policy: str
    sha256: str
    """Digest of the policy file; empty if it is unknown."""
    corrected: int
    """Number of steps that a person commanded."""
    spans: tuple[Span, ...]
    stops: tuple[StopView, ...]

    @property
    def teaches(self) -> bool:
        """True if training learns some of its steps."""
        return any(span.commander in LEARNED for span in self.spans)


def view_execution(
    episode: Episode,
    times: npt.NDArray[np.float64],
    frames: Mapping[str, npt.NDArray[Any]],
    before: float,
) -> ExecutionView | None:
    """Extract what is shown of an execution; None for a demonstration.

    Args:
        episode: Episode with all steps of the execution, M.
        times: Times of the steps, s from the first step, shape (M,).
        frames: Camera -> newest frame of each step, (M, H, W, 3).
        before: Time before a stop that is shown, s.
    """
    execution = episode.execution
    if execution is None:
        return None
    stops = []
    for time_ns, reason in execution.stops:
        # A stop may come when no step is usable any more: the clock of the last one goes on.
        step = max(0, int(np.searchsorted(episode.times_ns, time_ns, side="right")) - 1)
        time = max(0.0, float(times[step]) + (time_ns - episode.times_ns[step]) / NANOSECONDS)
        start = max(0.0, time - before)
        seen = (times >= start) & (times <= time)
        strips = {}
        if seen.any():
            strips = {name: film_strip(each[seen], times[seen]) for name, each in frames.items()}
        stops.append(StopView(time, start, reason, strips))
    return ExecutionView(
        policy=execution.policy,
        sha256=execution.sha256,
        corrected=int(execution.corrected.sum()),
        spans=_spans(execution.commanders, times),
        stops=tuple(stops),
    )


def _spans(commanders: npt.NDArray[np.str_], times: npt.NDArray[np.float64]) -> tuple[Span, ...]:
    changes = np.flatnonzero(commanders[1:] != commanders[:-1]) + 1
    starts = [0, *changes.tolist()]
    ends = [*times[changes].tolist(), float(times[-1])]
    return tuple(
        Span(str(commanders[start]), float(times[start]), end - float(times[start]))
        for start, end in zip(starts, ends, strict=True)
        if commanders[start]
    )
