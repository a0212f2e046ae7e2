"""Features of measured streams: differences, relative frames, angles and distances, by formulas.

A formula is one of

- `A` or `A - B`: a vector or a difference, where A and B are streams (`tool`), columns of a
  stream (`tool[0:2]`) or one column (`state[4]`);
- `V in F`: the vector V in the frame F. An F of one value is an angle in radians, and V is
  planar; of two values, a direction, and the result is V along and across it; of four values, a
  quaternion x, y, z, w, and V is spatial;
- `angle A`: sine and cosine of each angle in A;
- `length V`: the length of V.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ebm_policy_ros.util.quoting import quote

Shape = tuple[int, ...]

_TERM = r"\s*(\w+)(?:\[(?=[\d:])(\d*)(?:(:)(\d*))?\])?\s*"
_VECTOR = re.compile(rf"{_TERM}(?:-{_TERM})?")
_FRAME = re.compile(r"(.+)\sin\s(.+)")
# Number of values of a vector for each number of values of a frame.
_FRAMES = {1: 2, 2: 2, 4: 3}
# Added to the length of a direction: two objects at one place have none.
_NO_LENGTH = 1e-9


class Feature:
    """One formula, for streams of known shapes."""

    def __init__(self, formula: str, shapes: Mapping[str, Shape]) -> None:
        """Read a formula.

        Raises:
            ValueError: If it is not a formula, or does not fit the streams.
        """
        self._formula, self._shapes = formula, shapes
        self.streams: list[str] = []
        """Streams that the formula uses."""
        word, _, rest = formula.strip().partition(" ")
        self._kind = word if word in ("angle", "length") else "vector"
        vector = formula if self._kind == "vector" else rest
        framed = _FRAME.fullmatch(vector)
        self._frame: list[tuple[str, slice]] = []
        frame = 0
        if framed and self._kind != "angle":
            vector = framed[1]
            self._frame, frame = self._vector(framed[2])
        self._parts, count = self._vector(vector)
        if frame and _FRAMES.get(frame) != count:
            raise self._wrong(
                f"a vector of {count} values in a frame of {frame}, expected 2 values in a frame "
                "of 1 (angle) or 2 (direction), or 3 in one of 4 (quaternion)"
            )
        self.size = {"angle": 2 * count, "length": 1, "vector": count}[self._kind]
        """Number of values for each frame of the history."""

    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Compute the feature, shape (B, T, size), from streams (B, T, K)."""
        values = _difference(self._parts, observation)
        if self._kind == "angle":
            return torch.cat((values.sin(), values.cos()), dim=2)
        if self._frame:
            values = _into(_difference(self._frame, observation), values)
        if self._kind == "length":
            values = values.square().sum(dim=2, keepdim=True).sqrt()
        return values

    def _vector(self, text: str) -> tuple[list[tuple[str, slice]], int]:
        """Streams and columns of one term, or of a difference of two, and the number of values."""
        found = _VECTOR.fullmatch(text)
        if not found:
            raise self._wrong(
                "no formula; expected for example block - tool, state[0:2] - state[2:4], block - "
                "tool in goal - block, angle state[4] or length goal - block"
            )
        terms = found.groups()
        parts = [self._term(*terms[:4])]
        if terms[4]:
            parts.append(self._term(*terms[4:]))
        counts = [columns.stop - columns.start for _, columns in parts]
        if len(set(counts)) > 1:
            raise self._wrong(f"a difference of {counts[0]} and {counts[1]} values")
        return parts, counts[0]

    def _term(
        self, name: str, first: str | None, colon: str | None, last: str | None
    ) -> tuple[str, slice]:
        shape = self._shapes.get(name, ())
        if len(shape) != 2:
            measured = [known for known, shape in self._shapes.items() if len(shape) == 2]
            raise self._wrong(
                f"no measured stream {quote(name)}, expected one of "
                f"{', '.join(measured) or 'none: only images are observed'}"
            )
        begin = int(first or 0)
        end = int(last) if last else shape[1] if colon or first is None else begin + 1
        if not 0 <= begin < end <= shape[1]:
            raise self._wrong(f"columns {begin} to {end - 1} of {name}, which has {shape[1]}")
        self.streams.append(name)
        if self._shapes[self.streams[0]][0] != shape[0]:
            raise self._wrong(f"{self.streams[0]} and {name} have histories of different lengths")
        return name, slice(begin, end)

    def _wrong(self, problem: str) -> ValueError:
        return ValueError(f"model.features: got {quote(self._formula)}: {problem}")


class Features:
    """All features of an observation, side by side."""

    def __init__(self, formulas: Sequence[str], shapes: Mapping[str, Shape]) -> None:
        """Read the formulas.

        Args:
            formulas: At least one.
            shapes: Shape of each stream.

        Raises:
            ValueError: If one is not a formula, or does not fit the streams.
        """
        self._features = [Feature(formula, shapes) for formula in formulas]
        self.shapes = {n: tuple(shapes[n]) for each in self._features for n in each.streams}
        """Shape of each stream that the formulas use."""
        self.size = sum(each.size * shapes[each.streams[0]][0] for each in self._features)
        """Number of values, over all frames of the history."""

    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Compute all features, shape (B, size), from streams (B, T, K)."""
        return torch.cat([each(observation).flatten(1) for each in self._features], dim=1)


def _difference(parts: Sequence[tuple[str, slice]], observation: Mapping[str, Tensor]) -> Tensor:
    values = [observation[name][:, :, columns] for name, columns in parts]
    return values[0] if len(values) == 1 else values[0] - values[1]


def _into(frame: Tensor, vector: Tensor) -> Tensor:
    """Rotate vectors (B, T, 2 or 3) into frames (B, T, 1, 2 or 4)."""
    if frame.shape[2] == 4:
        # The conjugate rotates from the outer frame into the one that the quaternion describes.
        axis, real = -frame[..., :3], frame[..., 3:]
        twice = 2 * torch.linalg.cross(axis, vector)
        rotated: Tensor = vector + real * twice + torch.linalg.cross(axis, twice)
        return rotated
    if frame.shape[2] == 1:
        frame = torch.cat((frame.cos(), frame.sin()), dim=2)
    length = frame.square().sum(dim=2, keepdim=True).sqrt()
    x, y = (frame / (length + _NO_LENGTH)).unbind(dim=2)
    return torch.stack(
        (x * vector[..., 0] + y * vector[..., 1], x * vector[..., 1] - y * vector[..., 0]), dim=2
    )
