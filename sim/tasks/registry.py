"""Tasks by name: registered ones by a bare name, any other by its package, module and class."""

from __future__ import annotations

from ebm_policy_ros.sim.tasks.task import Task
from ebm_policy_ros.util.plugins import Registry
from ebm_policy_ros.util.quoting import quote

TASKS: Registry[type[Task]] = Registry("task")
"""Tasks of the package, and those that other packages register."""

register_task = TASKS.register
"""Decorator that makes a class the task of a bare name."""


def make_task(name: str) -> Task:
    """Make a task.

    Args:
        name: Bare name, such as "push", or a class as "my_package.my_module.MyTask".

    Raises:
        ValueError: There is no such task, package, module or class.
    """
    try:
        task = TASKS.find(name)
    except ValueError as error:
        raise type(error)(f"task: {error}") from None
    if not (isinstance(task, type) and issubclass(task, Task)):
        raise ValueError(f"task: {quote(name)} is no subclass of ebm_policy_ros.sim.tasks.Task")
    if missing := sorted(task.__abstractmethods__):
        raise ValueError(f"task: the class {quote(name)} lacks {', '.join(missing)}")
    return task()
