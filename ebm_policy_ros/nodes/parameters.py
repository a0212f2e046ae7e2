"""Parameters with a description, read-only where they count only at start."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node


def declare_optional(node: Node, name: str, description: str) -> Any:
    """Declare a fixed parameter without a default; its value is None unless somebody set it."""
    descriptor = ParameterDescriptor(description=description, read_only=True, dynamic_typing=True)
    return node.declare_parameter(name, None, descriptor).value


def declare(node: Node, name: str, default: Any, description: str) -> Any:
    """Declare a parameter that is fixed once the node runs, and return its value."""
    descriptor = ParameterDescriptor(description=description, read_only=True)
    return node.declare_parameter(name, default, descriptor).value
