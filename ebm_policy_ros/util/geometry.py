"""Angles of continuous joints: values that differ by whole turns are the same position."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Angles = npt.NDArray[np.floating[Any]]
TURN = 2 * np.pi


def wrap(angles: Angles) -> Angles:
    """Equivalent angles in [-pi, pi)."""
    wrapped: Angles = (angles + np.pi) % TURN - np.pi
    return wrapped


def near(angles: Angles, reference: Angles) -> Angles:
    """Equivalent angles, at most half a turn away from a reference of the same shape."""
    nearest: Angles = angles + TURN * np.round((reference - angles) / TURN)
    return nearest


def follow(rows: Angles, reference: Angles) -> Angles:
    """Equivalent angles (H, ...) without jumps between rows, the first near a reference (...)."""
    found = []
    for row in rows:
        reference = near(row, reference)
        found.append(reference)
    return np.stack(found)
