"""Message types by name."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def message_class(ros_type: str) -> Any:
    """Return the class of a message type, such as sensor_msgs/msg/Image."""
    package, _, name = ros_type.split("/")
    return getattr(import_module(f"{package}.msg"), name)
