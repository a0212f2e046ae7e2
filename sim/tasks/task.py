"""Interface of a simulation task: everything that the simulation knows of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.sim.tasks.pusher import add_pusher

Array = npt.NDArray[np.float64]

Measures = Mapping[str, float]
"""Numbers by name that tell the progress of a task at one moment."""


class View(NamedTuple):
    """Level camera, fixed to the room or to a body."""

    eye: tuple[float, float, float]
    """Position of the camera (m)."""
    target: tuple[float, float, float]
    """Point in the middle of the picture (m)."""
    fovy: float
    """Vertical angle of view (degrees)."""


class WindowView(NamedTuple):
    """First view of the viewer's window; the mouse changes it."""

    azimuth: float
    """Direction of view around z (degrees)."""
    elevation: float
    """Direction of view above the horizon (degrees)."""
    distance: float
    """Distance from the camera to `target` (m)."""
    target: tuple[float, float, float]
    """Point in the middle of the window (m)."""


class Mount(NamedTuple):
    """Place of an arm on the table."""

    name: str
    """Name of the part of the action that moves it; empty for the only arm."""
    place: tuple[float, float]
    """x and y of its base_link (m)."""
    turn: float
    """Turn of its base_link about z (rad)."""

    @property
    def prefix(self) -> str:
        """Beginning of the names of its joints and frames."""
        return f"{self.name}_" if self.name else ""


class Demonstrator(Protocol):
    """Scripted teleoperator of one episode."""

    def act(self, tool: Array, poses: Array) -> Array:
        """Return the action of this moment, in the order of `action.names` of the interface.

        Args:
            tool: Pose of the tool in base_link: x, y, z (m), qx, qy, qz, qw; of several arms, one
                after the other, each in its own. Shape (7,), (14,) for two arms.
            poses: Poses that the task gives, see `Task.poses`. Shape (N, 7).
        """


class Task(ABC):
    """Task of the simulated arm.

    Poses and points are in base_link; the table's top is at z = 0. The same task object serves
    all episodes; everything random comes from the generators that it is given.
    """

    time_limit: float = 15.0
    """Seconds until an episode ends."""
    interface: str = "ur5e_push"
    """Interface file of the arm, or the bare name of one that the package ships."""
    physics_step: float = 0.002
    """Step of the physics (s), of which 0.02 s are a multiple."""
    command_noise: float = 0.005
    """Largest noise on the executed motion in demonstrations, metres per 0.1 s."""
    knocks: float = 0.5
    """Knocks that push the arm off its way in demonstrations, per second."""
    labels: Mapping[str, str] = {"success": "solved"}
    """Rows in the table of evaluate_policy: for `success`, and for a True or False of `result`."""
    arms: Sequence[Mount] = (Mount("", (0.0, 0.0), 0.0),)
    """Arms, in the order of the parts of the action."""
    gripper: Sequence[str] = ()
    """Position actuators that take the value of the gripper's topic; the first one is measured."""
    camera = View(eye=(1.1, 0.0, 0.56), target=(0.335, 0.0, 0.213), fovy=60)
    """View of the policy's camera."""
    wrist: View | None = None
    """View of a camera on the tool of the first arm, in the tool's frame, z ahead; or none."""
    video = View(eye=(1.45, 0.95, 0.75), target=(0.3, 0.0, 0.15), fovy=38)
    """View of the videos, and of an interface's last camera."""
    # Behind the arm's left shoulder: forward is away, left is left.
    window = WindowView(azimuth=25.0, elevation=-42.0, distance=1.1, target=(0.42, 0.0, 0.05))
    """View of the window."""

    def add_tool(self, spec: mujoco.MjSpec, tool: mujoco.MjsBody) -> None:
        """Add the tool's geoms, and a gripper's joints and actuators; by default a pusher.

        Args:
            spec: The arm alone, for materials and actuators.
            tool: Body on the flange, z ahead, without geoms. The site `tool0`, which the arm
                moves, is 0.19 m ahead of the flange.
        """
        add_pusher(spec, tool)

    @abstractmethod
    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add the task's objects to the arm and the laboratory."""

    @abstractmethod
    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> Array:
        """Place the objects, and the fingers of a gripper, for a new episode.

        Returns:
            Start of the tool in base_link, in m: x, y and, if it is not the pusher's height, z.
            Shape (2,) or (3,); of several arms, a row for each.
        """

    @abstractmethod
    def measures(self, model: mujoco.MjModel, data: mujoco.MjData) -> Measures:
        """Return the numbers that decide about success at this moment, by name."""

    @abstractmethod
    def success(self, measures: Measures) -> bool:
        """Return whether these measures solve the task."""

    def finished(self, measures: Measures) -> bool:
        """Return whether nothing is left to do, which ends the episode; by default at success."""
        return self.success(measures)

    def result(self, moments: Sequence[Measures]) -> Mapping[str, float | bool]:
        """Return an episode's result by name, besides success, steps and times.

        Args:
            moments: Measures after each tick, at least one; by default the last are the result.
        """
        return moments[-1]

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> Array:
        """Return the true poses for the demonstrator, published on `~/scene`; by default none.

        Returns:
            x, y, z (m), qx, qy, qz, qw of each. Shape (N, 7).
        """
        return np.empty((0, 7))

    def demonstrator(self, rng: np.random.Generator, interface: Interface) -> Demonstrator:
        """Make the scripted teleoperator of one episode.

        Args:
            rng: Source of its choices.
            interface: Says what an action is.

        Raises:
            ValueError: The task has no demonstrator, or none for this interface.
        """
        raise ValueError(f"{type(self).__name__} has no demonstrator")


def refuse_other_actions(
    name: str, task: Task, interface: Interface, wanted: tuple[str, ...]
) -> None:
    """Check that an action of an interface is what a demonstrator commands.

    Raises:
        ValueError: It is another one.
    """
    if interface.action.names != wanted:
        raise ValueError(
            f"{name}: the demonstrator commands {', '.join(wanted)}, as in the interface "
            f"{task.interface}; got {', '.join(interface.action.names)}"
        )
