"""Message types by name."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any


def message_class(ros_type: str) -> Any:
    """Return the class of a type, such as sensor_msgs/msg/Image.

    Raises:
        ValueError: If its package, or one that it needs, is not installed, or has no such type.
            The message says what to install.
    """
    package, kind, name = ros_type.split("/")
    try:
        return getattr(import_module(f"{package}.{kind}"), name)
    except (ModuleNotFoundError, AttributeError) as error:
        problem, missing = f"the installed package {package} has no such type", package
        if isinstance(error, ModuleNotFoundError) and error.name != f"{package}.{kind}":
            missing = str(error.name).split(".")[0]
            problem = f"the package {missing} is not installed"
        distribution = os.environ.get("ROS_DISTRO", "DISTRIBUTION")
        raise ValueError(
            f"{ros_type}: {problem}; sudo apt-get install "
            f"ros-{distribution}-{missing.replace('_', '-')}"
        ) from None
