"""Simulation tasks: what a task is, and how one is found by its name."""

import importlib
import pkgutil

from ebm_policy_ros.sim.tasks.registry import TASKS, make_task, register_task
from ebm_policy_ros.sim.tasks.task import Demonstrator, Measures, Mount, Task, View, WindowView

for module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(module.name)  # which registers its tasks

__all__ = [
    "TASKS",
    "Demonstrator",
    "Measures",
    "Mount",
    "Task",
    "View",
    "WindowView",
    "make_task",
    "register_task",
]
