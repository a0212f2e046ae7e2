"""Laboratory around the robot: floor, walls, table and lights; and cameras."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.sim.tasks import View

_FLOOR = -0.76
_TABLE_LOW = np.array([-0.32, -0.62])
_TABLE_HIGH = np.array([0.95, 0.62])
_TABLE_THICKNESS = 0.035

_BOX = mujoco.mjtGeom.mjGEOM_BOX
_CYLINDER = mujoco.mjtGeom.mjGEOM_CYLINDER


def add_laboratory(spec: mujoco.MjSpec, bases: Sequence[float] = (0.0,)) -> None:
    """Add a laboratory whose table top is at z = 0.

    Args:
        spec: Gets the laboratory.
        bases: x of the base of each arm (m), under which the table has a plate.
    """
    _add_materials(spec)
    _add_table(spec, bases)
    _add_floor_and_walls(spec)
    _add_lights(spec)


def add_camera(body: mujoco.MjsBody, name: str, view: View) -> None:
    """Add a camera to a body, in whose frame it looks and is level."""
    backward = np.subtract(view.eye, view.target)
    right = np.cross([0, 0, 1], backward)
    up = np.cross(backward, right)
    axes = [axis / np.linalg.norm(axis) for axis in (right, up, backward)]
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, np.stack(axes, axis=1).ravel())
    body.add_camera(name=name, pos=view.eye, quat=quaternion, fovy=view.fovy)


def _add_materials(spec: mujoco.MjSpec) -> None:
    _add_texture(spec, "wood", _wood(np.random.default_rng(0)))
    spec.add_material(name="edge", rgba=[0.72, 0.6, 0.45, 1], specular=0.1, shininess=0.1)
    spec.add_material(name="frame", rgba=[0.2, 0.21, 0.23, 1], specular=0.4, shininess=0.4)
    spec.add_material(name="plate", rgba=[0.66, 0.68, 0.7, 1], specular=0.5, shininess=0.5)
    spec.add_material(name="floor", rgba=[0.55, 0.57, 0.6, 1], specular=0.1, shininess=0.1)
    spec.add_material(name="wall", rgba=[0.90, 0.92, 0.94, 1], specular=0.0, emission=0.22)
    spec.add_material(name="skirting", rgba=[0.35, 0.37, 0.4, 1], specular=0.0, emission=0.1)


def _add_texture(spec: mujoco.MjSpec, name: str, image: npt.NDArray[np.uint8]) -> None:
    """Add a picture (H, W, 3) and a material of the same name that shows it once."""
    texture = spec.add_texture(
        name=name,
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        height=image.shape[0],
        width=image.shape[1],
        nchannel=3,
    )
    texture.data = image.tobytes()
    material = spec.add_material(name=name, specular=0.15, shininess=0.3)
    textures = list(material.textures)
    textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    material.textures = textures


def _wood(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw light planks. Shape (512, 512, 3)."""
    size, planks = 512, 6
    grain = rng.normal(size=(size, size // 32)).repeat(32, axis=1)
    kernel = np.ones(25) / 25
    grain = np.apply_along_axis(np.convolve, 1, grain, kernel, "same")
    tone = rng.normal(scale=0.6, size=planks)
    rows = np.arange(size) * planks // size
    value = 0.6 * grain + tone[rows][:, None]
    value[np.flatnonzero(np.diff(rows, prepend=0))] -= 6
    colour = np.array([206.0, 186.0, 158.0]) + value[..., None] * np.array([7.0, 8.0, 9.0])
    image: npt.NDArray[np.uint8] = np.clip(colour, 0, 255).astype(np.uint8)
    return image


def _add_table(spec: mujoco.MjSpec, bases: Sequence[float]) -> None:
    # The table reaches as far beyond a second arm as beyond the first.
    high = np.maximum(_TABLE_HIGH, [max(bases) - _TABLE_LOW[0], 0])
    centre = (_TABLE_LOW + high) / 2
    half = (high - _TABLE_LOW) / 2
    world = spec.worldbody
    world.add_geom(
        name="table",
        type=_BOX,
        pos=[*centre, -_TABLE_THICKNESS / 2],
        size=[*half, _TABLE_THICKNESS / 2],
        material="wood",
        friction=[0.6, 0.005, 0.0001],
    )
    for x in (-1, 1):
        for y in (-1, 1):
            corner = centre + np.array([x, y]) * (half - 0.05)
            middle = (_FLOOR - _TABLE_THICKNESS) / 2
            size = [0.03, 0.03, (-_TABLE_THICKNESS - _FLOOR) / 2]
            _add_visual(spec, _BOX, [*corner, middle], size, "frame")
    for base in bases:
        _add_visual(spec, _BOX, [base, 0, 0.002], [0.11, 0.11, 0.002], "plate")


def _add_floor_and_walls(spec: mujoco.MjSpec) -> None:
    _add_visual(spec, _BOX, [0.5, 0, _FLOOR - 0.05], [3, 3, 0.05], "floor")
    _add_visual(spec, _BOX, [-1.6, 0, 0.6], [0.05, 3, 1.4], "wall")
    _add_visual(spec, _BOX, [0.5, -2.2, 0.6], [3, 0.05, 1.4], "wall")
    _add_visual(spec, _BOX, [-1.54, 0, _FLOOR + 0.06], [0.01, 3, 0.06], "skirting")
    _add_visual(spec, _BOX, [0.5, -2.14, _FLOOR + 0.06], [3, 0.01, 0.06], "skirting")


def _add_visual(
    spec: mujoco.MjSpec,
    kind: mujoco.mjtGeom,
    position: list[float],
    size: list[float],
    material: str,
) -> None:
    spec.worldbody.add_geom(
        type=kind, pos=position, size=size, material=material, contype=0, conaffinity=0
    )


def _add_lights(spec: mujoco.MjSpec) -> None:
    spec.visual.headlight.ambient = [0.35, 0.35, 0.36]
    spec.visual.headlight.diffuse = [0.2, 0.2, 0.2]
    spec.visual.headlight.specular = [0.05, 0.05, 0.05]
    spec.visual.quality.shadowsize = 1024
    spec.visual.global_.offwidth = 1280
    spec.visual.global_.offheight = 960
    spec.visual.map.znear = 0.05
    spec.stat.extent = 1.5
    spec.stat.center = [0.3, 0, 0.2]
    spec.worldbody.add_light(
        name="key",
        pos=[0.9, 0.9, 1.9],
        dir=[-0.35, -0.6, -1.3],
        diffuse=[0.55, 0.54, 0.52],
        specular=[0.2, 0.2, 0.2],
        castshadow=True,
    )
    spec.worldbody.add_light(
        name="fill",
        pos=[0.8, -1.2, 1.6],
        dir=[-0.3, 0.8, -1.0],
        diffuse=[0.22, 0.23, 0.25],
        specular=[0, 0, 0],
        castshadow=False,
    )
