"""Path of a tool through the actions of a decision, and its pixels in a camera's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import ImageStream, Interface
from ebm_policy_ros.interface.projection import AXES
from ebm_policy_ros.observation.robot_state import RobotState

SECONDS = 0.5
"""Time for which a single velocity is drawn, s."""

Array = npt.NDArray[np.floating[Any]]
Lines = list[list[list[float]]]


def drawn_paths(
    interface: Interface, actions: Array, states: Sequence[RobotState]
) -> dict[str, Lines]:
    """Paths of the tools in the pictures of each camera whose place the interface names.

    Args:
        interface: Interface of the robot.
        actions: Actions of a decision, shape (H, D).
        states: State of each arm at the decision.

    Returns:
        By the name of a stream a line for each tool: u, v (pixels) of its place at the decision
        and after each action, as far as the camera looks there.
    """
    found: dict[str, Lines] = {}
    for name, stream in interface.observation.items():
        if not isinstance(stream, ImageStream) or (projection := stream.projection) is None:
            continue
        lines = []
        for part, state in zip(interface.parts, states, strict=True):
            frame = part.interface.command.frame_id
            path = tool_path(part.interface, actions[:, part.columns], state, projection.fixed)
            if path is not None and frame in projection.matrix:
                lines.append(np.round(projection.pixels(frame, path), 1).tolist())
        if lines:
            found[name] = lines
    return found


def tool_path(
    interface: Interface, actions: Array, state: RobotState, fixed: Mapping[str, float]
) -> Array | None:
    """Path of a tool through the actions of a decision.

    Positions are taken as they are. Velocities are added up from the place of the tool, each for
    one period of the rate; a single one for `SECONDS`.

    Args:
        interface: Interface with one command.
        actions: Actions, shape (H, D).
        state: State of the arm at the decision.
        fixed: Values of axes that nothing measures, m.

    Returns:
        Place of the tool at the decision and after each action in the frame of the command, m,
        shape (H + 1, 3). None for joints, and where nothing measures the tool.
    """
    action = interface.command
    here = {**fixed, **action.fixed, **state.tool, **state.position}
    if action.is_joints or not (state.tool or state.position) or not set(AXES) <= set(here):
        return None
    start = np.array([here[axis] for axis in AXES])
    # What is not commanded stays as it is.
    rest = np.zeros(len(AXES)) if action.is_velocity else start
    ends = np.tile(rest, (len(actions), 1))
    for index, axis in enumerate(AXES):
        field = f"linear.{axis}" if action.is_velocity else axis
        if field in action.fields:
            ends[:, index] = actions[:, action.fields.index(field)]
    if action.is_velocity:
        period = 1 / interface.rate if len(actions) > 1 else SECONDS
        ends = start + np.cumsum(ends * period, axis=0)
    return np.vstack([start, ends])
