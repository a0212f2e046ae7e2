"""Message types by name."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any


def message_class(ros_type: str) -> Any:
    """Return the class of a type, such as sensor_msgs/msg/Image.

    Raises:
        ValueError: If its package is not installed. The message says what to install.
    """
    package, kind, name = ros_type.split("/")
    try:
        return getattr(import_module(f"{package}.{kind}"), name)
    except ModuleNotFoundError:
        distribution = os.environ.get("ROS_DISTRO", "DISTRIBUTION")
        raise ValueError(
            f"{ros_type}: the package {package} is not installed; sudo apt-get install "
            f"ros-{distribution}-{package.replace('_', '-')}"
        ) from None
