"""Spatula: a blade with low walls; two of them, edge to edge, are a trough."""

from __future__ import annotations

import mujoco
import numpy as np

from ebm_policy_ros.sim.tasks.pusher import LENGTH, add_rod

AHEAD = 0.085
"""Distance of the blade's edge in front of the tool's axis, at the height of its tip (m)."""
SPATULA = 2
"""Bit of the geoms that blades touch. They leave the table, whose bit is 1, and each other alone:
thin blades bend there."""

_SLOPE = np.deg2rad(35)
# Length, width and thickness of the blade, and thickness of its walls (m).
_BLADE, _WALL = (0.080, 0.120, 0.002), 0.002
# Walls at the sides, from one place to another along the blade, and their heights (m): so low near
# the edge that two spatulas touch each other with their edges first.
_SIDES = ((0.004, 0.012, 0.005), (0.012, 0.080, 0.016))
_BACK = 0.020
# Where the rod ends above the tip, and the bracket from there to the blade (m).
_ROD_END, _BRACKET = 0.045, (0.033, 0.012, 0.012)


def add_spatula(spec: mujoco.MjSpec, tool: mujoco.MjsBody) -> None:
    """Add mount plate, adapter, rod and a blade that slopes up from its edge towards the rod.

    Args:
        spec: The arm alone.
        tool: Body on the flange, z ahead.
    """
    add_rod(spec, tool, LENGTH - _ROD_END)
    tool.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[edge / 2 for edge in _BRACKET],
        pos=[0.009, 0, LENGTH - _ROD_END - 0.005],
        material="steel",
        mass=0.01,
        contype=0,
        conaffinity=0,
    )
    length, width, thickness = _BLADE
    _add_plate(tool, length / 2, 0.0, -thickness / 2, _BLADE)
    for side in (-1, 1):
        beside = side * (width - _WALL) / 2
        for start, end, height in _SIDES:
            _add_plate(tool, (start + end) / 2, beside, height / 2, (end - start, _WALL, height))
    _add_plate(tool, length - _WALL / 2, 0.0, _BACK / 2, (_WALL, width, _BACK))


def _add_plate(
    tool: mujoco.MjsBody, along: float, beside: float, over: float, size: tuple[float, ...]
) -> None:
    """Add a box: its middle along the blade from the edge, beside it and over it, and its size."""
    # Axes of the blade in the tool's frame, whose z points down: back and up, and out of it.
    back = np.array([-np.cos(_SLOPE), 0.0, -np.sin(_SLOPE)])
    out = np.array([np.sin(_SLOPE), 0.0, -np.cos(_SLOPE)])
    turn = np.empty(4)
    mujoco.mju_mat2Quat(turn, np.stack([back, np.cross(out, back), out], axis=1).ravel())
    middle = np.array([AHEAD, beside, LENGTH]) + along * back + over * out
    tool.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[edge / 2 for edge in size],
        pos=middle,
        quat=turn,
        material="steel",
        mass=0.01,
        friction=[0.25, 0.005, 0.0001],
        contype=SPATULA,
        conaffinity=0,
    )
