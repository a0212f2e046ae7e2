"""UR5e at a table in MuJoCo: commanded like the arm, seen by cameras, without ROS."""

from __future__ import annotations

import os
from collections.abc import Callable

import glfw
import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.sim.disturbance import Disturbance
from ebm_policy_ros.sim.opengl import RenderingUnavailable
from ebm_policy_ros.sim.robots import (
    JOINT_NAMES,
    TOOL,
    TOOL_FRAME,
    ToolController,
    finite_vector,
    ur5e,
)
from ebm_policy_ros.sim.scene import add_camera, add_laboratory
from ebm_policy_ros.sim.tasks import Measures, Task

Array = npt.NDArray[np.float64]

Motion = Callable[[ToolController, float, float], Array]
"""Function of (controller, seconds since the start, length of the step in s): velocities, rad/s.
"""

MAX_SPEED = 0.25
"""Largest speed of the tool along x and along y (m/s)."""

CAMERAS = ("camera", "cinematic")
"""Cameras of the world: the policy's, and the videos', which is an interface's second one."""

_ARM = slice(len(JOINT_NAMES))
_PHYSICS_STEP = 0.002
_CONTROL_STEP = 0.02


class World:
    """Arm, room and task, for one episode after another.

    Args:
        task: Adds tool, objects and views.
        camera_size: Height and width of the picture of `camera`, in pixels.
        disturbance: Changes the executed motion; None for an arm that does what it is told.
    """

    def __init__(
        self,
        task: Task,
        camera_size: tuple[int, int] = (240, 320),
        disturbance: Disturbance | None = None,
    ) -> None:
        self.task = task
        self.joint_names = JOINT_NAMES
        self.camera_size = camera_size
        self._disturbance = disturbance or Disturbance()
        spec = ur5e()
        spec.option.timestep = _PHYSICS_STEP
        tool = spec.body(TOOL)
        task.add_tool(spec, tool)
        for body in tool.find_all("body"):
            body.gravcomp = 1  # the real controller knows the tool's weight too
        add_laboratory(spec)
        for name, view in zip(CAMERAS, (task.camera, task.video), strict=True):
            add_camera(spec, name, view)
        task.scene(spec)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self._controller = ToolController()
        # A servo that damps velocity lags behind a moving target by damping over stiffness (s).
        actuators = self.model.actuator_biasprm[_ARM]
        self._servo_lag = actuators[:, 2] / actuators[:, 1]
        self._fingers = [self.model.actuator(name).id for name in task.gripper]
        self._grip = 0.0
        self._show: Callable[[], None] | None = None
        self._frame_period = self._next_frame = 0.0
        self._renderers: dict[tuple[int, int, bool], mujoco.Renderer] = {}
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start the episode of this seed: everything in its place and at rest, time 0.

        Raises:
            ValueError: If the task starts the tool where the arm does not reach.
        """
        # Two streams, so that disturbing the commands leaves the scene as it is.
        scene, noise = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
        mujoco.mj_resetData(self.model, self.data)
        self._next_frame = 0.0
        self._controller.reset(self.task.reset(self.model, self.data, scene))
        self.data.qpos[_ARM] = self._controller.positions
        self.data.ctrl[_ARM] = self._controller.positions
        self._disturbance.reset(noise)
        mujoco.mj_forward(self.model, self.data)
        # The fingers stay where the task put them until they are commanded.
        self.data.ctrl[self._fingers] = self.data.actuator_length[self._fingers]

    def step(self, velocity: npt.ArrayLike, duration: float) -> None:
        """Move the tool over the table at a constant height.

        Args:
            velocity: Along x and y of base_link in m/s, limited to `MAX_SPEED`. Shape (2,).
            duration: In s, a multiple of 0.02.

        Raises:
            ValueError: If the velocity has another shape or is not finite.
        """
        command = np.clip(finite_vector("velocity", velocity, 2), -MAX_SPEED, MAX_SPEED)
        planar = self._disturbance.executed(command, duration)
        tool = self.data.site(TOOL_FRAME).xpos
        self.follow(lambda arm, seconds, step: arm.move(planar, step, tool[:2]), duration)

    def twist(self, linear: npt.ArrayLike, angular: npt.ArrayLike, duration: float) -> None:
        """Move the tool in all six dimensions.

        Args:
            linear: Velocity in base_link in m/s. Shape (3,).
            angular: In rad/s. Shape (3,).
            duration: In s, a multiple of 0.02.

        Raises:
            ValueError: If a velocity has another shape or is not finite.
        """
        turn = finite_vector("angular velocity", angular, 3)
        way = self._disturbance.executed(finite_vector("velocity", linear, 3), duration)
        self.follow(lambda arm, seconds, step: arm.move_tool(way, turn, step), duration)

    def follow(self, motion: Motion, duration: float) -> None:
        """Move the arm in any way.

        Args:
            motion: Advances the arm's controller at each of its steps.
            duration: In s, a multiple of 0.02.
        """
        for number in range(round(duration / _CONTROL_STEP)):
            start = self._controller.positions
            joint_velocity = motion(self._controller, number * _CONTROL_STEP, _CONTROL_STEP)
            for index in range(round(_CONTROL_STEP / _PHYSICS_STEP)):
                ahead = (index + 1) * _PHYSICS_STEP + self._servo_lag
                self.data.ctrl[_ARM] = start + joint_velocity * ahead
                mujoco.mj_step(self.model, self.data)
                if self._show is not None and self.data.time >= self._next_frame:
                    self._next_frame += self._frame_period
                    self._show()
        # `mj_step` leaves poses one physics step behind the joints.
        mujoco.mj_forward(self.model, self.data)

    def film(self, frames_per_second: float, show: Callable[[], None]) -> None:
        """Call a function at the time of each frame while the arm moves, until `cut`."""
        self._frame_period, self._next_frame = 1.0 / frames_per_second, self.time
        self._show = show

    def cut(self) -> None:
        """End the film."""
        self._show = None

    def grip(self, position: float) -> None:
        """Command the gripper; its fingers move in the steps that follow.

        Args:
            position: In the unit of the task's actuators.
        """
        self._grip = position
        self.data.ctrl[self._fingers] = position

    @property
    def gripper_position(self) -> float:
        """Position of the gripper; of a task without one, the last command."""
        if not self._fingers:
            return self._grip
        return float(self.data.actuator_length[self._fingers[0]])

    def depth(self, camera: str = CAMERAS[0]) -> npt.NDArray[np.float32]:
        """Return the distances from a camera along its axis in m. Shape (H, W)."""
        height, width = self.camera_size
        renderer = self._renderer(height, width, False)
        renderer.enable_depth_rendering()
        renderer.update_scene(self.data, camera)
        depth: npt.NDArray[np.float32] = renderer.render()
        renderer.disable_depth_rendering()
        return depth

    def render(
        self, camera: str = CAMERAS[0], size: tuple[int, int] | None = None, shadows: bool = False
    ) -> npt.NDArray[np.uint8]:
        """Return the picture of a camera.

        Args:
            camera: One of `CAMERAS`.
            size: Height and width in pixels; the camera's own when None.
            shadows: Also smooths edges. Several times slower in software.

        Returns:
            RGB. Shape (H, W, 3).

        Raises:
            RenderingUnavailable: OpenGL is missing.
        """
        height, width = size or self.camera_size
        renderer = self._renderer(height, width, shadows)
        renderer.update_scene(self.data, camera)
        image: npt.NDArray[np.uint8] = renderer.render()
        return image

    def _renderer(self, height: int, width: int, shadows: bool) -> mujoco.Renderer:
        key = (height, width, shadows)
        if key not in self._renderers:
            self._renderers[key] = _make_renderer(self.model, height, width, shadows)
        return self._renderers[key]

    @property
    def time(self) -> float:
        """Seconds since the reset."""
        return float(self.data.time)

    @property
    def joint_positions(self) -> Array:
        """Joint positions in rad, in the order of `joint_names`. Shape (6,)."""
        return np.array(self.data.qpos[_ARM])

    @property
    def joint_velocities(self) -> Array:
        """Joint velocities in rad/s, in the order of `joint_names`. Shape (6,)."""
        return np.array(self.data.qvel[_ARM])

    @property
    def joint_efforts(self) -> Array:
        """Torques of the actuators in Nm, in the order of `joint_names`. Shape (6,)."""
        return np.array(self.data.qfrc_actuator[_ARM])

    @property
    def tool_pose(self) -> tuple[Array, Array]:
        """Position (3,) in m and quaternion xyzw (4,) of tool0 in base_link."""
        site = self.data.site(TOOL_FRAME)
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, site.xmat)
        return np.array(site.xpos), np.roll(quaternion, -1)

    @property
    def camera_matrix(self) -> Array:
        """Intrinsics of `camera` in pixels, without distortion. Shape (3, 3)."""
        height, width = self.camera_size
        focal = height / 2 / np.tan(np.deg2rad(self.model.camera(CAMERAS[0]).fovy[0]) / 2)
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])

    @property
    def poses(self) -> Array:
        """True poses of the task's objects: x, y, z (m), qx, qy, qz, qw. Shape (N, 7)."""
        return self.task.poses(self.model, self.data)

    @property
    def measures(self) -> Measures:
        """Measures of the task at this moment, by name."""
        return self.task.measures(self.model, self.data)

    @property
    def success(self) -> bool:
        """True if the task is solved at this moment."""
        return self.task.success(self.measures)

    @property
    def finished(self) -> bool:
        """True if nothing is left to do at this moment."""
        return self.task.finished(self.measures)

    def close(self) -> None:
        """Free the renderers."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()


def _make_renderer(
    model: mujoco.MjModel, height: int, width: int, shadows: bool
) -> mujoco.Renderer:
    # A context copies the model's quality settings when it is made.
    model.vis.quality.offsamples = 4 if shadows else 0
    if not hasattr(mujoco, "GLContext"):
        raise RenderingUnavailable(f"MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}")
    if mujoco.GLContext.__module__ == "mujoco.glfw" and not glfw.init():
        # MuJoCo would go on without a context, and end the process at the second attempt.
        raise RenderingUnavailable("GLFW finds no display")
    try:
        renderer = mujoco.Renderer(model, height, width)
    except Exception as error:
        # What is thrown depends on which part of OpenGL is missing.
        raise RenderingUnavailable(f"{type(error).__name__}: {error}") from error
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
    return renderer
