"""State of policy_node, as used by its parts."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Protocol

from ebm_policy_ros.control.safety_state import SafetyStateMachine
from ebm_policy_ros.nodes.common.inputs import Inputs
from ebm_policy_ros.nodes.common.ticks import ClockWatch
from ebm_policy_ros.nodes.policy.control_loop import ControlLoop
from ebm_policy_ros.nodes.policy.inference_thread import InferenceThread
from ebm_policy_ros.nodes.policy.loading import LoadedPolicy
from ebm_policy_ros.nodes.policy.statistics import RuntimeStatistics


class PolicyNodeState(Protocol):
    """State of a policy node, in addition to that of every rclpy node."""

    values: dict[str, Any]
    """Parameters by name; None for a parameter that is not set."""
    safety: SafetyStateMachine
    statistics: RuntimeStatistics
    clock_watch: ClockWatch
    inputs: Inputs | None
    """Inputs; None until the node is configured."""
    control_loop: ControlLoop | None
    """Control loop; None until the node is configured."""
    preparation: Future[tuple[LoadedPolicy, InferenceThread]] | None
    """Policy that the next configuration takes; None if it has to load one."""
    failure: str
    """Reason why the last transition failed."""

    @property
    def is_active(self) -> bool:
        """True if the node is active, so that it decides."""

    def destination(self, publish: bool) -> str:
        """Destination of the commands, as text for users."""
