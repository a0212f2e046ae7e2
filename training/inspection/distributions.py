"""Histograms and tool coverage, as shapes of plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface, Part, PoseStream
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

    part: str
    """Name of the part of the action whose tool it is; empty if the action has no parts."""
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
    """The part's workspace: left, bottom, width and height, as shares."""
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
    """Tool coverage of each part along each pair of axes with x; empty if no pose is measured.

    The pose of a part is that of its workspace, or that which measures its command, otherwise the
    first one that isn't another part's.
    """
    poses = {
        name: stream
        for name, stream in interface.observation.items()
        if isinstance(stream, PoseStream) and len(set(stream.fields) & set("xyz")) >= 2
    }
    if not recordings:
        return []
    own = [_own_pose(part, poses) for part in interface.parts]
    others = iter([name for name in poses if name not in own])
    drawn: list[Coverage] = []
    for part, known in zip(interface.parts, own, strict=True):
        name = known or next(others, "")
        if name in poses:
            tracks = [recording.states[name] for recording in recordings]
            drawn += _draw_part(part, poses[name], [r.name for r in recordings], tracks)
    return drawn


def _own_pose(part: Part, poses: Mapping[str, PoseStream]) -> str:
    """Pose that the interface names for a part; empty if it names none."""
    box, measured = part.interface.workspace, part.interface.command.measured
    if box is not None:
        return box.stream
    return measured if measured in poses else ""


def _draw_part(
    part: Part,
    pose: PoseStream,
    names: Sequence[str],
    tracks: Sequence[npt.NDArray[np.float32]],
) -> Iterator[Coverage]:
    box = part.interface.workspace
    axes = [axis for axis in pose.fields if axis in "xyz"]
    for pair in list(combinations(axes, 2))[:2]:
        columns = [pose.fields.index(axis) for axis in pair]
        bounds = None
        if box and set(pair) <= set(box.fields):
            index = [box.fields.index(axis) for axis in pair]
            bounds = np.array([[edge[i] for i in index] for edge in (box.low, box.high)])
        yield _coverage(part.name, pair, names, [track[:, columns] for track in tracks], bounds)


def _coverage(
    part: str,
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
        part=part,
        axes=axes,
        low=(float(low[0]), float(low[1])),
        high=(float(high[0]), float(high[1])),
        cells=(int(cells[0]), int(cells[1])),
        filled=tuple((int(i), int(j), float(shares[i, j])) for i, j in np.argwhere(counts)),
        box=corners,
        starts=tuple(mark(name, track[0]) for name, track in zip(names, tracks, strict=True)),
        ends=tuple(mark(name, track[-1]) for name, track in zip(names, tracks, strict=True)),
    )
