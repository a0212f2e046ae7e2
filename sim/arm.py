"""One arm of the world: its joints, its servos, and the controller that moves it."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.sim.disturbance import Disturbance
from ebm_policy_ros.sim.robots import JOINT_NAMES, TOOL_FRAME, ToolController, finite_vector
from ebm_policy_ros.sim.tasks import Mount

Array = npt.NDArray[np.float64]

Motion = Callable[[ToolController, float, float], Array]
"""Function of (controller, seconds since the start, length of the step in s): velocities, rad/s.
"""

MAX_SPEED = 0.25
"""Largest speed of the tool along x and along y (m/s)."""


class SimulatedArm:
    """A UR5e: what it measures, and motions for `World.follow`."""

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        mount: Mount,
        number: int,
        disturbance: Disturbance,
    ) -> None:
        """Find the arm in a model.

        Args:
            model: Compiled model.
            data: Its state.
            mount: Name and place of the arm.
            number: Number of arms before it, whose joints come first.
            disturbance: Changes the executed motion.
        """
        self._data = data
        self.prefix = mount.prefix
        """Beginning of the names of its joints and frames."""
        self.joint_names = tuple(mount.prefix + name for name in JOINT_NAMES)
        self.joints = slice(number * len(JOINT_NAMES), (number + 1) * len(JOINT_NAMES))
        """Places of its joints in the state of the model."""
        self.controller = ToolController()
        self.disturbance = disturbance
        # A servo that damps velocity lags behind a moving target by damping over stiffness (s).
        actuators = model.actuator_biasprm[self.joints]
        self.servo_lag: Array = actuators[:, 2] / actuators[:, 1]
        self._base = data.body(mount.prefix + "base")
        self._site = data.site(mount.prefix + TOOL_FRAME)

    def reset(self, start: Array) -> None:
        """Jump to the posture that holds the tool, pointing down, at a point of its base_link.

        Raises:
            ValueError: If it is no such point, or out of reach.
        """
        self.controller.reset(start)
        self._data.qpos[self.joints] = self.controller.positions
        self._data.ctrl[self.joints] = self.controller.positions

    def planar(self, velocity: npt.ArrayLike, duration: float) -> Motion:
        """Motion of the tool over the table at a constant height.

        Args:
            velocity: Along x and y of base_link in m/s, limited to `MAX_SPEED`. Shape (2,).
            duration: In s.

        Raises:
            ValueError: If the velocity has another shape or is not finite.
        """
        command = np.clip(finite_vector("velocity", velocity, 2), -MAX_SPEED, MAX_SPEED)
        way = self.disturbance.executed(command, duration)
        return lambda arm, seconds, step: arm.move(way, step, self.tool_pose[0][:2])

    def twist(self, linear: npt.ArrayLike, angular: npt.ArrayLike, duration: float) -> Motion:
        """Motion of the tool in all six dimensions.

        Args:
            linear: Velocity in base_link in m/s. Shape (3,).
            angular: In rad/s. Shape (3,).
            duration: In s.

        Raises:
            ValueError: If a velocity has another shape or is not finite.
        """
        turn = finite_vector("angular velocity", angular, 3)
        way = self.disturbance.executed(finite_vector("velocity", linear, 3), duration)
        return lambda arm, seconds, step: arm.move_tool(way, turn, step)

    @property
    def joint_positions(self) -> Array:
        """Joint positions in rad, in the order of `joint_names`. Shape (6,)."""
        return np.array(self._data.qpos[self.joints])

    @property
    def joint_velocities(self) -> Array:
        """Joint velocities in rad/s, in the order of `joint_names`. Shape (6,)."""
        return np.array(self._data.qvel[self.joints])

    @property
    def joint_efforts(self) -> Array:
        """Torques of the actuators in Nm, in the order of `joint_names`. Shape (6,)."""
        return np.array(self._data.qfrc_actuator[self.joints])

    @property
    def base(self) -> tuple[Array, Array]:
        """Rotation matrix (3, 3) and position (3,) in m of base_link in the world."""
        return self._base.xmat.reshape(3, 3), self._base.xpos

    @property
    def tool_pose(self) -> tuple[Array, Array]:
        """Position (3,) in m and quaternion xyzw (4,) of tool0 in base_link."""
        turn, base = self.base
        place = turn.T @ (self._site.xpos - base)
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, (turn.T @ self._site.xmat.reshape(3, 3)).ravel())
        return place, np.roll(quaternion, -1)
