"""Link to a policy node: its state, and the calls of its services."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.nodes.common.topics import status_in
from ebm_policy_ros.nodes.operator.calls import absence, ask_node, set_parameter
from ebm_policy_ros.operator.commands import Command
from ebm_policy_ros.operator.robot import Answer
from ebm_policy_ros.util.quoting import quote

# The node publishes its status ten times a second.
_SILENCE = 1.0
# Longest time for an answer, s: of a stop, before the next attempt; of a load with its warm-up;
# and of everything else.
_STOP, _LOAD, _USUAL = 0.5, 120.0, 5.0


class PolicyLink:
    """State and services of one policy node."""

    def __init__(self, node: Node, name: str, policies: dict[str, Path]) -> None:
        """Open topics and clients.

        Args:
            node: Node that owns them.
            name: Name of the policy node, relative to the namespace of `node`.
            policies: Policy files that may be loaded, by name.
        """
        self._policies = policies
        self._full_name = node.resolve_service_name(f"{name}/stop").removesuffix("/stop")
        self._status: dict[str, Any] = {}
        self._heard = 0.0
        self._streams: list[dict[str, Any]] = []
        self._diagnosed: dict[str, str] = {}
        self._clients = {
            key: node.create_client(kind, f"{name}/{key}")
            for key, kind in (
                ("stop", Trigger),
                ("start", Trigger),
                ("reset", Trigger),
                ("shadow", SetBool),
                ("load_policy", Trigger),
                ("set_parameters", SetParameters),
            )
        }
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(String, f"{name}/status", self._on_status, newest)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    @property
    def topics(self) -> list[str]:
        """Topics of the policy's streams, as its interface names them."""
        return [stream["topic"] for stream in self._streams]

    def state(self) -> dict[str, Any]:
        """State, ready for JSON."""
        silence = time.monotonic() - self._heard if self._heard else None
        return {
            **self._status,
            "node": self._full_name,
            "is_heard": silence is not None and silence <= _SILENCE,
            "silence_s": None if silence is None else round(silence, 2),
            "streams": self._streams,
            "diagnostics": self._diagnosed,
            "policies": sorted(self._policies),
        }

    def _on_status(self, message: Any) -> None:
        told = status_in(message)
        if told is not None:
            self._status, self._heard = told, time.monotonic()

    def _on_diagnostics(self, message: Any) -> None:
        begin = f"{self._full_name}: "
        own = [status for status in message.status if status.name.startswith(begin)]
        if not own:
            return
        self._diagnosed = {pair.key: pair.value for pair in own[0].values}
        self._diagnosed["message"] = own[0].message
        self._streams = [_stream(status, begin) for status in own[1:]]

    # Commands

    async def stop(self) -> Answer:
        """Call ~/stop once."""
        return await ask_node(self._clients["stop"], Trigger.Request(), _STOP)

    async def perform(self, command: Command) -> Answer:
        """Perform a command that is for the policy node."""
        if absent := absence(self._clients["start"]):
            return Answer(False, f"{absent}; start policy_node")
        if command.name == "shadow":
            request = SetBool.Request(data=command.value)
            return await ask_node(self._clients["shadow"], request, _USUAL)
        if command.name == "speed":
            assert isinstance(command.value, (int, float))
            speed = float(command.value)
            return await set_parameter(self._clients["set_parameters"], "speed", speed, _USUAL)
        if command.name == "load_policy":
            return await self._load(str(command.value))
        seconds = _LOAD if command.name == "start" else _USUAL
        return await ask_node(self._clients[command.name], Trigger.Request(), seconds)

    async def _load(self, name: str) -> Answer:
        if name not in self._policies:
            return Answer(False, f"got {quote(name)}, expected a policy of the list")
        if self._status.get("lifecycle") == "unconfigured":
            return Answer(False, "Load swaps a policy that was started: press Start, then Load")
        client, path = self._clients["set_parameters"], str(self._policies[name])
        answer = await set_parameter(client, "next_policy", path, _USUAL)
        if not answer.done:
            return answer
        return await ask_node(self._clients["load_policy"], Trigger.Request(), _LOAD)


def _stream(status: Any, begin: str) -> dict[str, Any]:
    values = {pair.key: pair.value for pair in status.values}
    return {
        "name": status.name.removeprefix(begin),
        "topic": values.get("topic", ""),
        "age": values.get("age (s)", ""),
        "rate": values.get("rate (Hz)", ""),
        "message": status.message,
        "is_good": int.from_bytes(status.level, "little") == 0,
    }
