"""Parameters with a description and a range; read-only if they are used only at start."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, ParameterUninitializedException
from rclpy.node import Node
from rclpy.parameter import Parameter


@dataclass(frozen=True)
class Setting:
    """A parameter of a node."""

    name: str
    default: Any
    """Default value; a Parameter.Type if it is unset by default; None if its type isn't known
    before."""
    text: str
    fixed: bool = True
    """True if the parameter is used only at start."""
    low: float | None = None
    """Lowest and highest value, inclusive."""
    high: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> str:
        """Reason why a value is invalid; empty if valid. ROS itself checks type and range."""
        if self.choices and value not in self.choices:
            return f"{self.name}: got {value!r}, expected {' or '.join(self.choices)}"
        return ""

    def descriptor(self) -> ParameterDescriptor:
        """Descriptor for ROS tools."""
        result = ParameterDescriptor(
            description=self.text,
            read_only=self.fixed,
            dynamic_typing=self.default is None,
            additional_constraints=f"one of {', '.join(self.choices)}" if self.choices else "",
        )
        if self.low is not None and self.high is not None:
            # Not isinstance: newer versions of rclpy count a Parameter.Type as an int.
            if type(self.default) is int:
                limits = IntegerRange(from_value=int(self.low), to_value=int(self.high))
                result.integer_range = [limits]
            else:
                limits = FloatingPointRange(from_value=self.low, to_value=self.high)
                result.floating_point_range = [limits]
        return result


def help_text(name: str, about: str, settings: Sequence[Setting]) -> str:
    """Help of an executable: description of the node, and its parameters with defaults."""
    lines = [f"usage: {name} --ros-args -p NAME:=VALUE ... [--params-file FILE]"]
    lines += ["", inspect.cleandoc(about), "", "parameters (those with a * at any time):"]
    for setting in settings:
        among = f" One of {', '.join(setting.choices)}." if setting.choices else ""
        lines.append(
            f"  {setting.name} [{_shown(setting.default)}]{'' if setting.fixed else ' *'}"
        )
        indent = " " * 6
        lines += textwrap.wrap(
            setting.text + among, 92, initial_indent=indent, subsequent_indent=indent
        )
    return "\n".join(lines)


def _shown(default: Any) -> str:
    """Default as written on a command line or in a parameter file."""
    if default is None or isinstance(default, Parameter.Type):
        return "unset"
    return json.dumps(default)


class UnsetNode(Node):
    """Node that answers `not set` for a parameter that has a type, but no value.

    rclpy raises then, and its service answers a request for several parameters with none at all:
    `ros2 param dump` and viewers would show no parameter of the node.
    """

    def get_parameter(self, name: str) -> Parameter:
        """Parameter of this name, of the type NOT_SET if it has no value."""
        try:
            return super().get_parameter(name)
        except ParameterUninitializedException:
            return Parameter(name)


def declare_all(node: Node, settings: tuple[Setting, ...]) -> dict[str, Any]:
    """Declare parameters and return their values; None for a parameter that is not set.

    Raises:
        ValueError: If a value is not among the choices, or an integer where ROS expects a decimal
            number.
    """
    values = {}
    for setting in settings:
        try:
            parameter = node.declare_parameter(setting.name, setting.default, setting.descriptor())
        except InvalidParameterTypeException as error:
            given = node._parameter_overrides[setting.name].value
            if isinstance(setting.default, float) and type(given) is int:
                raise ValueError(
                    f"{setting.name}: got {given}, expected a decimal number; write {given}.0"
                ) from error
            raise
        value = parameter.value
        if value is not None and (problem := setting.check(value)):
            raise ValueError(problem)
        values[setting.name] = list(value) if _is_array(parameter) else value
    return values


def part_of(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Values of the set parameters with a prefix, by the rest of their name."""
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix) and value is not None
    }


def _is_array(parameter: Parameter) -> bool:
    return parameter.type_ == Parameter.Type.DOUBLE_ARRAY and parameter.value is not None


def refuse_unknown(node: Any) -> None:
    """Check that every given parameter is one of the node's.

    Otherwise a misspelt name would be ignored, and its default used.

    Raises:
        ValueError: If a parameter is unknown.
    """
    # rclpy has no public function for the values given at start.
    unknown = [name for name in node._parameter_overrides if not node.has_parameter(name)]
    if unknown:
        known = ", ".join(sorted(node._parameters))
        raise ValueError(f"{node.get_name()} has no parameter {unknown[0]!r}; it has: {known}")
