"""The recorder's services and status, for whoever has the keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

_SERVICES = {
    "start": ("start", Trigger, Trigger.Request()),
    "success": ("stop", SetBool, SetBool.Request(data=True)),
    "failure": ("stop", SetBool, SetBool.Request(data=False)),
    "discard": ("discard", Trigger, Trigger.Request()),
    "rerecord": ("rerecord", Trigger, Trigger.Request()),
}


class RecorderClient:
    """Calls `start`, `stop`, `discard` and `rerecord` of a recorder, and never waits for it."""

    def __init__(self, node: Node, recorder: str, say: Callable[[str], None]) -> None:
        """Opens the clients.

        Args:
            node: Whose clients they are.
            recorder: Name of the recorder's node.
            say: Called with each answer, for people.
        """
        self._recorder, self._say = recorder, say
        kinds = {name: kind for name, kind, _ in _SERVICES.values()}
        self._clients = {
            name: node.create_client(kind, f"{recorder}/{name}") for name, kind in kinds.items()
        }
        self.status = ""
        """What the recorder says of itself, in a few words; empty while it says nothing."""
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, f"{recorder}/status", self._on_status, latched)

    def call(self, event: str) -> None:
        """Ask for `start`, `success`, `failure`, `discard` or `rerecord`."""
        name, _, request = _SERVICES[event]
        client = self._clients[name]
        if not client.service_is_ready():
            self._say(f"{event}: nobody offers {self._recorder}/{name}; start recorder_node")
            return
        client.call_async(request).add_done_callback(
            lambda future: self._say(f"{event}: {_answer(future.result())}")
        )

    def _on_status(self, message: Any) -> None:
        try:
            told = json.loads(message.data)
        except ValueError:
            told = None
        self.status = _summary(told) if isinstance(told, dict) else ""


def _answer(response: Any) -> str:
    return response.message if response.success else f"refused: {response.message}"


def _summary(told: Mapping[str, Any]) -> str:
    """A status in a few words; every key may be missing."""
    parts = [" ".join(str(told[key]) for key in ("state", "episode") if told.get(key))]
    kept = told.get("kept")
    counts = [kept.get(name) for name in ("success", "failure")] if isinstance(kept, dict) else []
    numbers = {
        "{:.0f} s": told.get("elapsed_s") if told.get("state") == "recording" else None,
        "{:.0f} kept": sum(count for count in counts if isinstance(count, int))
        if counts
        else None,
        "disk for {:.0f} min": _scaled(told.get("disk_left_s"), 60),
        "{:.1f} GiB left": _scaled(told.get("disk_free_bytes"), 2**30),
    }
    parts += [text.format(n) for text, n in numbers.items() if isinstance(n, (int, float))]
    warnings = told.get("warnings")
    if isinstance(warnings, list):
        parts += [f"! {text}" for text in warnings]
    return ", ".join(part for part in parts if part)


def _scaled(value: Any, unit: float) -> float | None:
    return value / unit if isinstance(value, (int, float)) else None
