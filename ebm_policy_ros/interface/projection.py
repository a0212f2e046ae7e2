"""Projection of a camera: from metres in the frame of commands to pixels of its pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface.checks import is_number, require, require_names

AXES = ("x", "y", "z")
"""Axes of a position, metres."""
Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Place and lens of a camera, to draw into its pictures; a policy does not see it.

    A pinhole camera without distortion: intrinsics times pose (Hartley and Zisserman, Multiple
    View Geometry, section 6.1).
    """

    size: tuple[int, int]
    """Height and width of the published pictures for which it holds, pixels."""
    matrix: Mapping[str, Rows]
    """By the frame of a command: from x, y, z (m), 1 to depth times u, v, 1; shape (3, 4)."""
    fixed: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Values of the axes that nothing measures, m."""

    def __post_init__(self) -> None:
        fits = len(self.size) == 2 and all(isinstance(n, int) and n > 0 for n in self.size)
        require(fits, "size", list(self.size), "[height, width] in pixels")
        require_names("matrix", tuple(self.matrix))
        matrix = {frame: _checked(f"matrix.{frame}", m) for frame, m in self.matrix.items()}
        object.__setattr__(self, "matrix", matrix)
        fits = set(self.fixed) <= set(AXES) and all(map(is_number, self.fixed.values()))
        require(fits, "fixed", dict(self.fixed), "numbers in m for some of x, y, z")

    def pixels(self, frame: str, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Pixels of points, as far as they lie in front of the camera.

        Args:
            frame: Frame of the points, one of `matrix`.
            points: Points of a path, m, shape (N, 3).

        Returns:
            u to the right and v down from the picture's upper left corner, shape (M, 2); M is
            less than N if point M is the first one that is not in front.
        """
        pixels, in_front = self._project(frame, points)
        return pixels[: np.argmin(np.append(in_front, False))]

    def sees(self, frame: str, points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Points in front of the camera and inside its picture.

        Args:
            frame: Frame of the points, one of `matrix`.
            points: Points, m, shape (N, 3).

        Returns:
            True for each point that is seen, shape (N,).
        """
        pixels, in_front = self._project(frame, points)
        inside = (pixels >= 0) & (pixels <= self.size[::-1])
        seen: npt.NDArray[np.bool_] = in_front & inside.all(axis=1)
        return seen

    def _project(
        self, frame: str, points: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Pixels of points, shape (N, 2), and whether they are in front, shape (N,)."""
        rows = np.array(self.matrix[frame], float)
        with np.errstate(all="ignore"):
            found = np.asarray(points, float) @ rows[:, :3].T + rows[:, 3]
            pixels: npt.NDArray[np.float64] = found[:, :2] / found[:, 2:]
        return pixels, (found[:, 2] > 0) & np.isfinite(pixels).all(axis=1)


def _checked(key: str, matrix: object) -> Rows:
    """Matrix whose depths are those of a camera."""
    fits = isinstance(matrix, (list, tuple)) and all(
        isinstance(row, (list, tuple)) and len(row) == 4 and all(map(is_number, row))
        for row in matrix
    )
    require(fits and len(matrix) == 3, key, matrix, "3 rows of 4 numbers")  # type: ignore[arg-type]
    rows = tuple(tuple(row) for row in matrix)  # type: ignore[attr-defined]
    # Intrinsics and a rotation have positive determinants; a factor below 0 turns depths round.
    volume = float(np.linalg.det(np.array(rows, float)[:, :3]))
    expected = "> 0; if points in front have a depth below 0, change the sign of all numbers"
    require(volume > 0, f"{key}, determinant of the first three columns", volume, expected)
    return rows
