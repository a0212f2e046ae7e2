"""Simulation tasks: what a task is, and how one is found by its name."""

from ebm_policy_ros.sim.tasks.registry import make_task, register_task, task_names
from ebm_policy_ros.sim.tasks.task import Demonstrator, Measures, Task, View, WindowView

__all__ = [
    "Demonstrator",
    "Measures",
    "Task",
    "View",
    "WindowView",
    "make_task",
    "register_task",
    "task_names",
]
