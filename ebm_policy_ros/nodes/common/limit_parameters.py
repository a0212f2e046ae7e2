"""Limit parameters of the nodes that command the arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rclpy.parameter import Parameter

from ebm_policy_ros.control.limits import LIMITS, Limits, part_limits
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.nodes.common.parameters import Setting, part_of

_TEXTS = {
    "low": "Lowest value of each dimension of the action",
    "high": "Highest value of each dimension of the action",
    "max_velocity": "Largest velocity of a position command, unit/s",
    "max_acceleration": "Largest acceleration, unit/s of a velocity and unit/s^2 of a position",
    "workspace_low": "Lower corner of the box that the tool must not leave, m",
    "workspace_high": "Upper corner of that box, m",
}

LIMIT_SETTINGS = tuple(
    Setting(
        f"limits.{name}",
        Parameter.Type.DOUBLE_ARRAY,
        f"{_TEXTS[name]}; unset: the interface's, which it may only make tighter.",
        fixed=False,
    )
    for name in LIMITS
)


def limits_of(interface: Interface, values: Mapping[str, Any]) -> tuple[Limits, ...]:
    """Limits of each part of the action, tightened by the parameters `limits.*`.

    Raises:
        LimitError: If a limit is invalid.
    """
    return part_limits(interface, part_of(values, "limits."))
