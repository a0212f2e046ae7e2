"""What the parts of policy_node see of it."""

from __future__ import annotations

from typing import Any, Protocol

from ebm_policy_ros.control.safety_state import SafetyStateMachine
from ebm_policy_ros.nodes.common.inputs import Inputs
from ebm_policy_ros.nodes.common.ticks import ClockWatch
from ebm_policy_ros.nodes.policy.control_loop import ControlLoop
from ebm_policy_ros.nodes.policy.statistics import RuntimeStatistics


class PolicyNodeState(Protocol):
    """State of a policy node, beside what rclpy gives to every node."""

    values: dict[str, Any]
    """The parameters by name; None for one that nobody set."""
    safety: SafetyStateMachine
    statistics: RuntimeStatistics
    clock_watch: ClockWatch
    inputs: Inputs | None
    """None until it is configured."""
    control_loop: ControlLoop | None
    """None until it is configured."""
    failure: str
    """Reason why the last transition failed."""

    @property
    def is_active(self) -> bool:
        """Whether it decides."""

    def destination(self, publish: bool) -> str:
        """Destination of the commands, in words."""
