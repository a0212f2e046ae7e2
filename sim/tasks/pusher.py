"""Pusher: a rod with a rubber tip, the tool of tasks that need no gripper."""

from __future__ import annotations

import mujoco

LENGTH = 0.19
"""Distance from the flange to the tip (m)."""
TIP_RADIUS = 0.01
"""Radius of the tip (m)."""


def add_materials(spec: mujoco.MjSpec) -> None:
    """Add `steel` and `rubber`, of which tools are made."""
    spec.add_material(name="steel", rgba=[0.62, 0.64, 0.67, 1], specular=0.7, shininess=0.6)
    spec.add_material(name="rubber", rgba=[0.08, 0.08, 0.09, 1], specular=0.1, shininess=0.1)


def add_rod(spec: mujoco.MjSpec, tool: mujoco.MjsBody, tip: float) -> None:
    """Add mount plate, adapter and a rod that ends at `tip` (m) along the tool's z axis."""
    add_materials(spec)
    for material, radius, start, end in (
        ("rubber", 0.034, 0.0, 0.010),
        ("steel", 0.022, 0.010, 0.028),
        ("steel", 0.0075, 0.028, tip),
    ):
        tool.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[radius, (end - start) / 2, 0],
            pos=[0, 0, (start + end) / 2],
            material=material,
            mass=0.03,
            contype=0,
            conaffinity=0,
        )


def add_pusher(spec: mujoco.MjSpec, tool: mujoco.MjsBody) -> None:
    """Add mount plate, adapter, rod and rubber tip along the tool's z axis."""
    add_rod(spec, tool, LENGTH - 0.055)
    tool.add_geom(
        name="tip",
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=[TIP_RADIUS, 0.03, 0],
        pos=[0, 0, LENGTH - 0.03],
        material="rubber",
        mass=0.03,
        friction=[0.6, 0.005, 0.0001],
    )


def add_plate_pusher(
    spec: mujoco.MjSpec,
    tool: mujoco.MjsBody,
    size: tuple[float, float, float],
    ahead: float,
    friction: float,
) -> None:
    """Add a pusher with a plate on its tip.

    Args:
        spec: The arm alone.
        tool: Body on the flange.
        size: Thickness, width and height of the plate (m).
        ahead: Place of the plate along its thickness, from the tip's axis (m).
        friction: Sliding friction of the plate.
    """
    add_pusher(spec, tool)
    tool.add_geom(
        name="plate",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[edge / 2 for edge in size],
        pos=[ahead, 0, LENGTH - size[2] / 2],
        material="rubber",
        mass=0.02,
        friction=[friction, 0.005, 0.0001],
    )
