"""Tasks by name: registered ones by a bare name, any other by its package, module and class."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import TypeVar

from ebm_policy_ros.sim.tasks.task import Task
from ebm_policy_ros.util.quoting import nearest

_TASKS: dict[str, type[Task]] = {}

TaskClass = TypeVar("TaskClass", bound=type[Task])


def register_task(name: str) -> Callable[[TaskClass], TaskClass]:
    """Return a decorator that makes a class the task of this bare name.

    Raises:
        ValueError: Another class has the name.
    """

    def register(task: TaskClass) -> TaskClass:
        if name in _TASKS:
            raise ValueError(f"two tasks are called {name!r}: {_TASKS[name]} and {task}")
        _TASKS[name] = task
        return task

    return register


def task_names() -> list[str]:
    """Return the bare names of all tasks in sim/tasks/ and of those registered elsewhere."""
    package = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__, f"{__package__}."):
        importlib.import_module(module.name)
    return list(_TASKS)


def make_task(name: str) -> Task:
    """Make a task.

    Args:
        name: Bare name, such as "push", or a class as "my_package.my_module.MyTask".

    Raises:
        ValueError: There is no such task, package, module or class.
    """
    known = task_names()
    if name in known:
        task = _TASKS[name]
    elif "." in name and all(part.isidentifier() for part in name.split(".")):
        task = _find_class(name)
    else:
        cure = _did_you_mean(name, known)
        raise ValueError(f"no task is called {name!r}; {cure}the tasks are: {', '.join(known)}")
    if missing := sorted(task.__abstractmethods__):
        raise ValueError(f"task {name}: the class lacks {', '.join(missing)}")
    return task()


def _find_class(name: str) -> type[Task]:
    """Import the class of a dotted name."""
    module_name, _, class_name = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A package of the name itself, or one that the task's module imports.
        kind = "package" if error.name == name.partition(".")[0] else "module"
        raise ValueError(
            f"task {name}: there is no {kind} {error.name!r}; is it installed, or its folder in "
            "PYTHONPATH?"
        ) from error
    classes = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Task) and value is not Task
    }
    if class_name not in classes:
        cure = _did_you_mean(class_name, classes)
        its = ", ".join(classes) or "none"
        raise ValueError(
            f"task {name}: {module_name} has no task {class_name!r}; {cure}its tasks are: {its}"
        )
    return classes[class_name]


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f"did you mean {near}? " if near else ""
