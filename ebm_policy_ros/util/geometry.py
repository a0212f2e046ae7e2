"""Angles of joints that turn without end: values a turn apart are the same place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Angles = npt.NDArray[np.floating[Any]]
TURN = 2 * np.pi


def wrap(angles: Angles) -> Angles:
    """The same places, from -pi up to pi."""
    wrapped: Angles = (angles + np.pi) % TURN - np.pi
    return wrapped


def near(angles: Angles, reference: Angles) -> Angles:
    """The same places, at most half a turn away from a reference of the same shape."""
    nearest: Angles = angles + TURN * np.round((reference - angles) / TURN)
    return nearest


def follow(rows: Angles, reference: Angles) -> Angles:
    """Rows (H, ...) of the same places without a jump, the first near a reference (...)."""
    found = []
    for row in rows:
        reference = near(row, reference)
        found.append(reference)
    return np.stack(found)
