"""Histograms and tool coverage, as shapes of plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface, PoseStream
from ebm_policy_ros.training.inspection.reading import Recording

BINS = 40
_CELLS = 40


@dataclass(frozen=True)
class Histogram:
    """Histogram with bins of equal width."""

    low: float
    high: float
    heights: tuple[float, ...]
    """Height of each bin, relative to the highest."""
    bounds: tuple[float, ...]
    """Positions of the bounds, as shares of the width."""


@dataclass(frozen=True)
class Mark:
    """Start or end of an episode, as shares of the plot from its lower left."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Coverage:
    """Density of tool positions, projected along one axis."""

    axes: tuple[str, str]
    """Names of the horizontal and the vertical axis."""
    low: tuple[float, float]
    """Lower left corner, m."""
    high: tuple[float, float]
    """Upper right corner, m."""
    cells: tuple[int, int]
    """Number of cells to the right, and up."""
    filled: tuple[tuple[int, int, float], ...]
    """Column, row and density of each visited cell: the square root of its share of the
    densest."""
    box: tuple[float, float, float, float] | None
    """The interface's workspace: left, bottom, width and height, as shares."""
    starts: tuple[Mark, ...]
    ends: tuple[Mark, ...]


def draw_histogram(
    values: npt.NDArray[np.floating], bounds: tuple[float, float] | None = None
) -> Histogram:
    """Histogram over the range of the values and the bounds."""
    ends = [float(values.min()), float(values.max()), *(bounds or ())]
    low, high = min(ends), max(ends)
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(values, BINS, (low, high))
    return Histogram(
        low,
        high,
        tuple((counts / counts.max()).tolist()),
        tuple((bound - low) / (high - low) for bound in bounds or ()),
    )


def draw_coverage(recordings: Sequence[Recording], interface: Interface) -> list[Coverage]:
    """Tool coverage along each pair of axes with x; empty if no pose is measured.

    The pose is the one of the interface's workspace, otherwise the first one.
    """
    poses = {
        name: stream
        for name, stream in interface.observation.items()
        if isinstance(stream, PoseStream) and len(set(stream.fields) & set("xyz")) >= 2
    }
    box = interface.workspace
    name = box.stream if box else next(iter(poses), "")
    if name not in poses or not recordings:
        return []
    axes = [axis for axis in poses[name].fields if axis in "xyz"]
    drawn = []
    for pair in list(combinations(axes, 2))[:2]:
        columns = [poses[name].fields.index(axis) for axis in pair]
        tracks = [recording.states[name][:, columns] for recording in recordings]
        bounds = None
        if box and set(pair) <= set(box.fields):
            index = [box.fields.index(axis) for axis in pair]
            bounds = np.array([[edge[i] for i in index] for edge in (box.low, box.high)])
        drawn.append(_coverage(pair, [r.name for r in recordings], tracks, bounds))
    return drawn


def _coverage(
    axes: tuple[str, str],
    names: Sequence[str],
    tracks: Sequence[npt.NDArray[np.float32]],
    box: npt.NDArray[np.float64] | None,
) -> Coverage:
    points = np.concatenate(tracks).astype(np.float64)
    edges = points if box is None else np.concatenate((points, box))
    low, high = edges.min(axis=0), edges.max(axis=0)
    margin = max(0.04 * float((high - low).max()), 1e-6)
    low, high = low - margin, high + margin
    cell = float((high - low).max()) / _CELLS
    cells = np.ceil((high - low) / cell - 1e-9).astype(np.int64)
    high = low + cells * cell
    counts, _, _ = np.histogram2d(
        points[:, 0], points[:, 1], cells.tolist(), [(low[0], high[0]), (low[1], high[1])]
    )
    shares = np.sqrt(counts / counts.max())

    def mark(name: str, point: npt.NDArray[np.float32]) -> Mark:
        x, y = ((point - low) / (high - low)).tolist()
        return Mark(name, x, y)

    corners = None
    if box is not None:
        left, bottom = ((box[0] - low) / (high - low)).tolist()
        width, height = ((box[1] - box[0]) / (high - low)).tolist()
        corners = (left, bottom, width, height)
    return Coverage(
        axes=axes,
        low=(float(low[0]), float(low[1])),
        high=(float(high[0]), float(high[1])),
        cells=(int(cells[0]), int(cells[1])),
        filled=tuple((int(i), int(j), float(shares[i, j])) for i, j in np.argwhere(counts)),
        box=corners,
        starts=tuple(mark(name, track[0]) for name, track in zip(names, tracks, strict=True)),
        ends=tuple(mark(name, track[-1]) for name, track in zip(names, tracks, strict=True)),
    )
