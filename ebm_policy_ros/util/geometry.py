"""Angles and rotations: several values of an angle, or of a quaternion, are the same position.

Quaternions are (x, y, z, w), as in messages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Angles = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]
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


def unit(quaternions: Vector) -> Vector:
    """Quaternions of length 1, shape (..., 4)."""
    scaled: Vector = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
    return scaled


def facing(quaternions: Vector, reference: Vector) -> Vector:
    """Same orientations, shape (..., 4), with the sign that is nearer to a reference (4,)."""
    away = quaternions @ reference < 0
    nearer: Vector = np.where(away[..., None], -quaternions, quaternions)
    return nearer


def conjugate(quaternion: Vector) -> Vector:
    """Inverse of a rotation, shape (4,)."""
    inverse: Vector = quaternion * np.array([-1.0, -1.0, -1.0, 1.0])
    return inverse


def multiply(first: Vector, second: Vector) -> Vector:
    """Hamilton product, shape (4,): the rotation `second`, followed by `first`."""
    x, y, z, w = first.tolist()
    a, b, c, d = second.tolist()
    return np.array(
        [
            w * a + x * d + y * c - z * b,
            w * b - x * c + y * d + z * a,
            w * c + x * b - y * a + z * d,
            w * d - x * a - y * b - z * c,
        ]
    )


def rotate(quaternion: Vector, vector: Vector) -> Vector:
    """Vector, shape (3,), turned by a quaternion of length 1."""
    x, y, z, w = quaternion.tolist()
    a, b, c = vector.tolist()
    # Twice the cross product of the axis and the vector; np.cross takes ten times as long.
    i, j, k = 2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)
    return np.array(
        [a + w * i + y * k - z * j, b + w * j + z * i - x * k, c + w * k + x * j - y * i]
    )


def interpolate(first: Vector, second: Vector, share: float) -> Vector:
    """Orientation between two, shape (4,), along the shorter way at a constant speed (slerp).

    Args:
        first: Quaternion of length 1 at share 0.
        second: Quaternion of length 1 at share 1.
        share: 0 to 1.
    """
    away = rotation_vector(multiply(facing(second, first), conjugate(first)))
    return multiply(from_rotation_vector(share * away), first)


def from_rotation_vector(vector: Vector) -> Vector:
    """Quaternion of a rotation about a vector, shape (3,), by its length in rad."""
    angle = float(np.linalg.norm(vector))
    return np.append(np.sin(angle / 2) * vector / (angle or 1.0), np.cos(angle / 2))


def rotation_vector(quaternion: Vector) -> Vector:
    """Axis of a rotation with its angle, at most pi rad, as the length, shape (3,)."""
    vector, scalar = quaternion[:3], quaternion[3]
    length = float(np.linalg.norm(vector))
    angle = 2 * np.arctan2(length, abs(scalar))
    sign = 1.0 if scalar >= 0 else -1.0
    result: Vector = sign * vector * (angle / length if length > 1e-12 else 2.0)
    return result
