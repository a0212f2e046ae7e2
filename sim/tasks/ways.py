"""Ways of a tool over the table, for scripted teleoperators."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_GAIN = 4.0
"""Gain with which a tool returns to its way (1/s)."""


def follow_way(points: Sequence[tuple[float, float]], tool: Array, speed: float) -> Array:
    """Return the velocity along a way with smooth turns, and back to it from beside.

    Args:
        points: x and y of each (m), at least two, towards larger or towards smaller x; from each
            to the next, y is a smooth step over x. Behind the last, the way goes straight on.
        tool: Position of the tool (m). Shape (2,).
        speed: Along the way (m/s).

    Returns:
        Along x and y, in m/s. Shape (2,).
    """
    x, y = tool
    wanted, slope = _at(points, float(x))
    ahead = np.copysign(speed, points[-1][0] - points[0][0]) / np.hypot(1, slope)
    return np.array([ahead, slope * ahead + _GAIN * (wanted - y)])


def _at(points: Sequence[tuple[float, float]], x: float) -> tuple[float, float]:
    """Return y and slope of a way at x."""
    for (x0, y0), (x1, y1) in pairwise(points):
        share = max(0.0, (x - x0) / (x1 - x0))
        if share < 1:
            slope = 6 * share * (1 - share) / (x1 - x0)
            return y0 + (y1 - y0) * smoothstep(share, 0.0, 1.0), (y1 - y0) * slope
    return points[-1][1], 0.0


def smoothstep(value: float, low: float, high: float) -> float:
    """Return 0 up to `low` and 1 from `high` on, with a smooth step between."""
    x = min(1.0, max(0.0, (value - low) / (high - low)))
    return x * x * (3 - 2 * x)


def towards(apart: Array, speed: float, gain: float) -> Array:
    """Return the velocity over a way, straight and slower near its end.

    Args:
        apart: From here to the end of the way (m). Shape (D,).
        speed: Largest speed (m/s).
        gain: Speed for each metre that is left, near the end (1/s).

    Returns:
        In m/s. Shape (D,).
    """
    distance = max(float(np.linalg.norm(apart)), 1e-6)
    velocity: Array = apart * (speed * np.tanh(gain * distance / speed) / distance)
    return velocity


def distance_from_segment(point: Array, start: Array, end: Array) -> float:
    """Return the distance of a point from a straight way (m)."""
    along = end - start
    share = np.clip((point - start) @ along / max(float(along @ along), 1e-9), 0, 1)
    return float(np.linalg.norm(point - (start + share * along)))
