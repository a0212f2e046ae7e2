"""Summaries of the action's dimensions and the topics over all episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.training.inspection.columns import Column, action_columns
from ebm_policy_ros.training.inspection.curves import Range
from ebm_policy_ros.training.inspection.distributions import Histogram, draw_histogram
from ebm_policy_ros.training.inspection.reading import Recording


@dataclass(frozen=True)
class Dimension:
    """One dimension of the action over all episodes."""

    column: Column
    bounds: Range
    histogram: Histogram
    saturated: float
    """Share of the steps at a bound."""
    outside: float
    """Share of the steps outside the bounds."""


@dataclass(frozen=True)
class StreamSummary:
    """One topic over all episodes."""

    topic: str
    rate: float
    """Median rate, Hz."""
    slowest: tuple[float, str]
    """Lowest rate, Hz, and its episode."""
    longest_gap: tuple[float, str]
    """Longest gap between messages, s, and its episode."""
    max_age: float | None
    """Maximum age by the interface, s; None for a command."""
    unstamped: float
    """Share of the messages without a stamp."""


def summarise_dimensions(used: Sequence[Recording], interface: Interface) -> list[Dimension]:
    """Summaries of the action's dimensions, in order; empty without episodes."""
    if not used:
        return []
    steps = np.array([r.metrics.steps for r in used])
    saturated = np.average([r.metrics.saturated for r in used], axis=0, weights=steps)
    outside = np.average([r.metrics.outside for r in used], axis=0, weights=steps)
    low, high = interface.action.bounds
    return [
        Dimension(
            column,
            (low[i], high[i]),
            draw_histogram(np.concatenate([column.values(r) for r in used]), (low[i], high[i])),
            float(saturated[i]),
            float(outside[i]),
        )
        for i, column in enumerate(action_columns(interface))
    ]


def summarise_streams(used: Sequence[Recording], interface: Interface) -> list[StreamSummary]:
    """Summaries of the topics with message statistics."""
    ages = {stream.topic: stream.max_age for stream in interface.observation.values()}
    summaries = []
    for topic in dict.fromkeys(topic for recording in used for topic in recording.streams):
        all_ = [(r.streams[topic], r.name) for r in used if topic in r.streams]
        summaries.append(
            StreamSummary(
                topic,
                float(np.median([metrics.rate for metrics, _ in all_])),
                min((metrics.rate, name) for metrics, name in all_),
                max((metrics.longest_gap, name) for metrics, name in all_),
                ages.get(topic),
                sum(f.unstamped for f, _ in all_) / max(1, sum(f.count for f, _ in all_)),
            )
        )
    return summaries
