"""The tasks by name: what lies on the table, where an episode starts, and what counts as done."""

from __future__ import annotations

from typing import Protocol

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.sim.tasks.push import Push, PushEither


class Task(Protocol):
    """What the world needs to know of a task."""

    name: str
    time_limit: float
    goals: int

    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add the task's objects to the scene."""

    def reset(
        self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator
    ) -> npt.NDArray[np.float64]:
        """Place the objects and return the tool's start in metres. Shape (2,)."""

    def block_position(self, data: mujoco.MjData) -> npt.NDArray[np.float64]:
        """Return the block's centre in base_link, in metres. Shape (2,)."""

    def goal_positions(
        self, model: mujoco.MjModel, data: mujoco.MjData
    ) -> npt.NDArray[np.float64]:
        """Return the goals' centres in base_link, in metres. Shape (goals, 2)."""

    def distance(self, block: npt.NDArray[np.float64], goals: npt.NDArray[np.float64]) -> float:
        """Return what is left to do, in metres."""

    def success(self, distance: float) -> bool:
        """Say whether this distance solves the task."""

    def finished(self, distance: float) -> bool:
        """Say whether this distance leaves nothing to do, and ends the episode."""


TASKS: dict[str, type[Task]] = {task.name: task for task in (Push, PushEither)}


def make_task(name: str) -> Task:
    """Return a new task by its name.

    Raises:
        ValueError: The task is not known; the message lists those that are.
    """
    if name not in TASKS:
        raise ValueError(f"no task is called {name!r}; the tasks are: {', '.join(TASKS)}")
    return TASKS[name]()
