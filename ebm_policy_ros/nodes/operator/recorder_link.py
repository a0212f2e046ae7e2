"""Link to a recorder node: its status, and the calls of its services."""

from __future__ import annotations

import time
from typing import Any

from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from ebm_policy_ros.nodes.common.topics import status_in
from ebm_policy_ros.nodes.operator.calls import absence, ask_node, get_parameter, set_parameter
from ebm_policy_ros.nodes.recorder.client import REQUESTS
from ebm_policy_ros.operator.commands import Command
from ebm_policy_ros.operator.robot import Answer

# The recorder publishes its status at least once a second.
_SILENCE = 2.5
# Longest time for an answer, s: an episode is written to its end; and to everything else.
_WAIT, _USUAL = 30.0, 5.0


class RecorderLink:
    """Status and services of one recorder node."""

    def __init__(self, node: Node, name: str) -> None:
        """Open topics and clients.

        Args:
            node: Node that owns them.
            name: Name of the recorder's node, relative to the namespace of `node`.
        """
        self._full_name = node.resolve_service_name(f"{name}/stop").removesuffix("/stop")
        self._status: dict[str, Any] = {}
        self._heard = 0.0
        kinds = {service: kind for service, kind, _ in REQUESTS.values()}
        self._clients = {
            service: node.create_client(kind, f"{name}/{service}")
            for service, kind in kinds.items()
        }
        self._parameters = node.create_client(SetParameters, f"{name}/set_parameters")
        self._current = node.create_client(GetParameters, f"{name}/get_parameters")
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, f"{name}/status", self._on_status, latched)

    @property
    def topics(self) -> list[str]:
        """Topics that the recorder records."""
        topics = self._status.get("topics")
        return list(topics) if isinstance(topics, dict) else []

    def state(self) -> dict[str, Any]:
        """Status, ready for JSON."""
        silence = time.monotonic() - self._heard if self._heard else None
        is_heard = silence is not None and silence <= _SILENCE
        return {**self._status, "node": self._full_name, "is_heard": is_heard}

    def _on_status(self, message: Any) -> None:
        told = status_in(message)
        if told is not None:
            self._status, self._heard = told, time.monotonic()

    async def perform(self, command: Command) -> Answer:
        """Perform one of `RECORDER_EVENTS`."""
        service, _, request = REQUESTS[str(command.value)]
        if absent := absence(self._clients[service]):
            return Answer(False, f"{absent}; start recorder_node")
        return await ask_node(self._clients[service], request, _WAIT)

    async def note(self, text: str) -> Answer:
        """Set the note for each episode that ends from now on."""
        if absent := absence(self._parameters):
            return Answer(False, absent)
        return await set_parameter(self._parameters, "note", text, _USUAL)

    async def noted(self) -> str:
        """Note that the recorder has now; empty if it does not answer."""
        if absence(self._current):
            return ""
        try:
            return str(await get_parameter(self._current, "note", _USUAL) or "")
        except TimeoutError:
            return ""
