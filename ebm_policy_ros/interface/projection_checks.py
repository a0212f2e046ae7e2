"""Checks of the projections of an interface: they must fit its commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface.action import Action, Workspace
from ebm_policy_ros.interface.checks import require
from ebm_policy_ros.interface.projection import AXES, Projection
from ebm_policy_ros.interface.streams import ImageStream, Stream

# Points along each side of a workspace, of which a camera must see one.
_POINTS = 21


def check_projections(
    streams: Mapping[str, Stream], arms: Sequence[tuple[Action, Workspace | None]]
) -> None:
    """Refuse projections that do not fit the commands; joints need none.

    Raises:
        InterfaceError: If no frame is that of a command, nobody gives an axis of a tool, or a
            camera sees nothing of a workspace.
    """
    tools = [(action, box) for action, box in arms if not action.is_joints]
    frames = sorted({action.frame_id for action, _ in tools})
    for name, stream in streams.items():
        if not isinstance(stream, ImageStream) or stream.projection is None:
            continue
        key, projection = f"observation.{name}.projection", stream.projection
        # Others may be there: of two arms, each may have an interface of its own.
        strange = frames and not set(frames) & set(projection.matrix)
        expected = f"the frame of a command: {', '.join(frames)}"
        require(not strange, f"{key}.matrix", ", ".join(projection.matrix), expected)
        for action, box in tools:
            if action.frame_id in projection.matrix:
                measured = getattr(streams.get(action.measured), "fields", ())
                given = {*measured, *(box.fields if box is not None else ())}
                _check_axes(key, projection, given, action)
                if box is not None:
                    _check_view(key, projection, box, action)


def _check_axes(key: str, projection: Projection, given: set[str], action: Action) -> None:
    """Refuse a tool of which some axes are measured, and another is unknown."""
    known = {*given, *action.fixed, *projection.fixed}
    unknown = " and ".join(axis for axis in AXES if axis not in known)
    expected = f"a number in m for {unknown}, which no stream measures"
    require(not given or not unknown, f"{key}.fixed", dict(projection.fixed), expected)


def _check_view(key: str, projection: Projection, box: Workspace, action: Action) -> None:
    """Refuse a camera that sees nothing of the workspace."""
    sides = zip(box.fields, box.low, box.high, strict=True)
    known: dict[str, npt.ArrayLike] = {**projection.fixed, **action.fixed}
    known |= {axis: np.linspace(float(low), float(high), _POINTS) for axis, low, high in sides}
    if not set(AXES) <= set(known):
        return  # the workspace has no limits there
    grid = np.meshgrid(*(np.asarray(known[axis], float) for axis in AXES))
    points, frame = np.stack(grid, axis=-1).reshape(-1, len(AXES)), action.frame_id
    ranges = zip(AXES, points.min(axis=0), points.max(axis=0), strict=True)
    told = ", ".join(f"{axis} {low:g} to {high:g}" for axis, low, high in ranges)
    height, width = projection.size
    expected = (
        f"a part of the workspace, {told}, in front of the camera and inside its picture of "
        f"{width} x {height} pixels"
    )
    got = [list(row) for row in projection.matrix[frame]]
    require(bool(projection.sees(frame, points).any()), f"{key}.matrix.{frame}", got, expected)
