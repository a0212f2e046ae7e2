"""Curves over an episode's time as shapes of a picture 1000 wide and 100 high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.training.inspection.columns import Column
from ebm_policy_ros.training.inspection.reading import Recording

WIDTH, HEIGHT = 1000, 100
# Less than this share of a number's size is not blown up to the height of the picture.
_LEAST_SPAN = 0.01
_TAIL = 0.1
# A longer stretch is drawn through the lowest and highest value of each of half as many bins.
_MOST_POINTS = 400

Range = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """One number over time."""

    column: Column
    path: str
    """What an SVG path draws; gaps part it."""
    reached: Range
    """Lowest and highest value in this episode."""
    zero: float | None
    """Where zero is, from above; None where it isn't in the picture."""


def draw_curves(
    recording: Recording, columns: Sequence[Column], scales: Mapping[Column, Range]
) -> list[Curve]:
    """The curve of each column.

    Args:
        recording: What to draw.
        columns: Of the action or of streams.
        scales: What is at the bottom and at the top of each column's picture, unless this episode
            goes further.
    """
    x = WIDTH * recording.times / recording.facts.duration
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
    """Where the episode has gaps: left and width."""
    scale = WIDTH / recording.facts.duration
    return [(start * scale, length * scale) for start, length in recording.facts.gaps]


def usual_scales(
    recordings: Sequence[Recording], columns: Sequence[Column]
) -> dict[Column, Range]:
    """The range of each column in all but the tenth of the episodes that go furthest."""
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
    # A single step is a dot: with round ends a line to itself shows.
    return f"M{points[0]}L{' '.join(points[1:] or points)}"
