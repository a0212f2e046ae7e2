"""UR5e at a table in MuJoCo: commanded like the arm, seen by cameras, without ROS."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence

import glfw
import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.sim.arm import MAX_SPEED, Motion, SimulatedArm
from ebm_policy_ros.sim.disturbance import Disturbance
from ebm_policy_ros.sim.opengl import RenderingUnavailable
from ebm_policy_ros.sim.robots import TOOL, ur5e
from ebm_policy_ros.sim.scene import add_camera, add_laboratory
from ebm_policy_ros.sim.tasks import Measures, Task

__all__ = ["CAMERAS", "MAX_SPEED", "Motion", "World"]

Array = npt.NDArray[np.float64]

CAMERAS = ("camera", "cinematic")
"""Cameras of every world: the policy's, and the videos'."""
WRIST = "wrist"
"""Camera on the tool, of tasks that have one."""

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
        self.camera_size = camera_size
        spec = _with_arms(task)
        spec.option.timestep = task.physics_step
        add_laboratory(spec, [mount.place[0] for mount in task.arms])
        for name, view in zip(CAMERAS, (task.camera, task.video), strict=True):
            add_camera(spec.worldbody, name, view)
        self.cameras: tuple[str, ...] = CAMERAS
        """Cameras for the streams of an interface, in their order."""
        if task.wrist is not None:
            add_camera(spec.body(task.arms[0].prefix + TOOL), WRIST, task.wrist)
            self.cameras = (CAMERAS[0], WRIST, *CAMERAS[1:])
        task.scene(spec)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        first = disturbance or Disturbance()
        # Each arm is disturbed by itself.
        disturbances = [first, *(copy.deepcopy(first) for _ in task.arms[1:])]
        self.arms = [
            SimulatedArm(self.model, self.data, mount, number, disturbances[number])
            for number, mount in enumerate(task.arms)
        ]
        """Arms, in the order of the parts of the action."""
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
        # Separate streams, so that disturbing the commands leaves the scene as it is.
        sources = np.random.SeedSequence(seed).spawn(1 + len(self.arms))
        scene, *noises = (np.random.default_rng(source) for source in sources)
        mujoco.mj_resetData(self.model, self.data)
        self._next_frame = 0.0
        starts = self.task.reset(self.model, self.data, scene)
        for arm, start, noise in zip(self.arms, np.atleast_2d(starts), noises, strict=True):
            arm.reset(start)
            arm.disturbance.reset(noise)
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
        self.follow([self.arms[0].planar(velocity, duration)], duration)

    def twist(self, linear: npt.ArrayLike, angular: npt.ArrayLike, duration: float) -> None:
        """Move the tool in all six dimensions.

        Args:
            linear: Velocity in base_link in m/s. Shape (3,).
            angular: In rad/s. Shape (3,).
            duration: In s, a multiple of 0.02.

        Raises:
            ValueError: If a velocity has another shape or is not finite.
        """
        self.follow([self.arms[0].twist(linear, angular, duration)], duration)

    def follow(self, motions: Sequence[Motion], duration: float) -> None:
        """Move the arms in any way.

        Args:
            motions: Advances the controller of each arm at each of its steps.
            duration: In s, a multiple of 0.02.
        """
        physics_step = self.task.physics_step
        for number in range(round(duration / _CONTROL_STEP)):
            at = number * _CONTROL_STEP
            starts = [arm.controller.positions for arm in self.arms]
            velocities = [
                motion(arm.controller, at, _CONTROL_STEP)
                for arm, motion in zip(self.arms, motions, strict=True)
            ]
            for index in range(round(_CONTROL_STEP / physics_step)):
                for arm, start, velocity in zip(self.arms, starts, velocities, strict=True):
                    ahead = (index + 1) * physics_step + arm.servo_lag
                    self.data.ctrl[arm.joints] = start + velocity * ahead
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
            camera: One of `cameras`.
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
    def frame(self) -> str:
        """Frame of the world's axes: base_link of a single arm."""
        return "world" if self.arms[0].prefix else "base_link"

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the joints of all arms, J."""
        return tuple(name for arm in self.arms for name in arm.joint_names)

    @property
    def joint_positions(self) -> Array:
        """Joint positions in rad, in the order of `joint_names`. Shape (J,)."""
        return np.concatenate([arm.joint_positions for arm in self.arms])

    @property
    def joint_velocities(self) -> Array:
        """Joint velocities in rad/s, in the order of `joint_names`. Shape (J,)."""
        return np.concatenate([arm.joint_velocities for arm in self.arms])

    @property
    def joint_efforts(self) -> Array:
        """Torques of the actuators in Nm, in the order of `joint_names`. Shape (J,)."""
        return np.concatenate([arm.joint_efforts for arm in self.arms])

    @property
    def tool_pose(self) -> tuple[Array, Array]:
        """Position (3,) in m and quaternion xyzw (4,) of the first arm's tool0 in base_link."""
        return self.arms[0].tool_pose

    @property
    def tools(self) -> Array:
        """Pose of each arm's tool0 in its base_link, one after the other. Shape (7 A,)."""
        return np.concatenate([part for arm in self.arms for part in arm.tool_pose])

    @property
    def camera_matrix(self) -> Array:
        """Intrinsics of `camera` in pixels, without distortion. Shape (3, 3)."""
        height, width = self.camera_size
        focal = height / 2 / np.tan(np.deg2rad(self.model.camera(CAMERAS[0]).fovy[0]) / 2)
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])

    def projection(self, number: int = 0) -> Array:
        """Projection of `camera` for an arm, as an interface file has it.

        Args:
            number: Number of the arm.

        Returns:
            Matrix from x, y, z (m), 1 in the arm's base_link to pixels. Shape (3, 4).
        """
        camera = self.data.camera(CAMERAS[0])
        # MuJoCo looks along -z with y up; the optical frame looks along z with y down.
        turn = np.diag([1.0, -1.0, -1.0]) @ camera.xmat.reshape(3, 3).T
        base, place = self.arms[number].base
        pose = np.column_stack([turn @ base, turn @ (place - camera.xpos)])
        matrix: Array = self.camera_matrix @ pose
        return matrix

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


def _with_arms(task: Task) -> mujoco.MjSpec:
    """Return the task's arms with their tools; a single one is not copied into another model."""
    specs = []
    for _ in task.arms:
        spec = ur5e()
        tool = spec.body(TOOL)
        task.add_tool(spec, tool)
        for body in tool.find_all("body"):
            body.gravcomp = 1  # the real controller knows the tool's weight too
        specs.append(spec)
    if not task.arms[0].name:
        return specs[0]
    whole = mujoco.MjSpec()
    whole.option, whole.compiler = specs[0].option, specs[0].compiler
    for mount, spec in zip(task.arms, specs, strict=True):
        half = mount.turn / 2
        frame = whole.worldbody.add_frame(
            pos=[*mount.place, 0], quat=[np.cos(half), 0, 0, np.sin(half)]
        )
        frame.attach_body(spec.body("base"), mount.prefix, "")
    return whole


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
