"""Curves of an episode over time, as SVG shapes of 1000 x 100 units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.training.inspection.columns import Column
from ebm_policy_ros.training.inspection.reading import Recording

WIDTH, HEIGHT = 1000, 100
# Minimum span of the vertical axis, as a share of the value: smaller changes are not magnified.
_LEAST_SPAN = 0.01
_TAIL = 0.1
# A longer piece is reduced to the minimum and maximum of each of half as many bins.
_MOST_POINTS = 400

Range = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """One number over time."""

    column: Column
    path: str
    """SVG path, interrupted at gaps."""
    reached: Range
    """Lowest and highest value in this episode."""
    zero: float | None
    """Distance of zero from the top; None if zero is outside the picture."""


def draw_curves(
    recording: Recording, columns: Sequence[Column], scales: Mapping[Column, Range]
) -> list[Curve]:
    """Build the curve of each column.

    Args:
        recording: Episode to draw.
        columns: Columns of the action or of streams.
        scales: Bottom and top value of each column's picture; extended if the episode exceeds
            them.
    """
    x = WIDTH * recording.times / recording.metrics.duration
    curves = []
    for column in columns:
        values = column.values(recording)
        reached = float(values.min()), float(values.max())
        low, high = min(scales[column][0], reached[0]), max(scales[column][1], reached[1])
        span = high - low or 1.0
        y = HEIGHT * (high - values) / span
        pieces = [_path(x[piece], y[piece]) for piece in recording.pieces]
        zero = HEIGHT * high / span if low < 0 < high else None
        curves.append(Curve(column, "".join(pieces), reached, zero))
    return curves


def gap_bands(recording: Recording) -> list[Range]:
    """Gaps of the episode in the picture: left and width."""
    scale = WIDTH / recording.metrics.duration
    return [(start * scale, length * scale) for start, length in recording.metrics.gaps]


def stop_bands(recording: Recording) -> list[Range]:
    """Times before the stops of an execution in the picture: left and width."""
    if recording.execution is None:
        return []
    scale = WIDTH / recording.metrics.duration
    bands = []
    for stop in recording.execution.stops:
        left = min(WIDTH, stop.start * scale)
        bands.append((left, min(WIDTH, stop.time * scale) - left))
    return bands


def usual_scales(
    recordings: Sequence[Recording], columns: Sequence[Column]
) -> dict[Column, Range]:
    """Range of each column over the episodes, without the most extreme tenth on each side."""
    scales = {}
    for column in columns:
        values = [column.values(recording) for recording in recordings]
        low = float(np.quantile([one.min() for one in values], _TAIL))
        high = float(np.quantile([one.max() for one in values], 1 - _TAIL))
        lacking = max(0.0, _LEAST_SPAN * max(abs(low), abs(high)) - (high - low))
        scales[column] = low - lacking / 2, high + lacking / 2
    return scales


def _path(x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]) -> str:
    if len(x) > _MOST_POINTS:
        bins = np.array_split(np.arange(len(x)), _MOST_POINTS // 2)
        kept = np.unique([i for b in bins for i in (b[y[b].argmin()], b[y[b].argmax()])])
        x, y = x[kept], y[kept]
    points = [f"{a:.0f} {b:.1f}".removesuffix(".0") for a, b in zip(x, y, strict=True)]
    # A single step is drawn as a dot: a line of length zero with round ends.
    return f"M{points[0]}L{' '.join(points[1:] or points)}"
