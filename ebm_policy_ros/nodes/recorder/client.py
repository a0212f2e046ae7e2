"""Recorder client: calls the recorder's services and shows its status."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.nodes.common.topics import status_in
from ebm_policy_ros.nodes.recorder.screen import duration

REQUESTS = {
    "start": ("start", Trigger, Trigger.Request()),
    "success": ("stop", SetBool, SetBool.Request(data=True)),
    "failure": ("stop", SetBool, SetBool.Request(data=False)),
    "discard": ("discard", Trigger, Trigger.Request()),
    "rerecord": ("rerecord", Trigger, Trigger.Request()),
}
"""Service, its type and the request, by what an operator asks for."""
# A recorder publishes its status at least once per second; keeping an episode takes about a
# second. DDS takes much longer to detect a process that hangs.
_SILENCE, _PATIENCE = 2.0, 2.0


class RecorderWatch:
    """Status published by a recorder."""

    def __init__(
        self, node: Node, recorder: str, guide: Callable[[str], None] = lambda text: None
    ) -> None:
        """Subscribe to the status.

        Args:
            node: Node that owns the subscription.
            recorder: Name of the recorder's node.
            guide: Called with what the operator does next, each time that it changes.
        """
        self._told, self._state, self._heard = "", "", 0.0
        self._guide, self._next = guide, ""
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, f"{recorder}/status", self._on_status, latched)

    @property
    def text(self) -> str:
        """Short status text; empty if no status was received."""
        silence = time.monotonic() - self._heard
        if self._told and silence > _SILENCE:
            return f"! recorder silent for {silence:.0f} s ({self._told})"
        return self._told

    @property
    def is_recording(self) -> bool:
        """True if an episode is being recorded, according to a recent status."""
        return self._state == "recording" and time.monotonic() - self._heard <= _SILENCE

    def _on_status(self, message: Any) -> None:
        told = status_in(message) or {}
        self._heard = time.monotonic()
        self._told, self._state = _summary(told), str(told.get("state", ""))
        if (text := str(told.get("next", ""))) != self._next:
            self._next = text
            self._guide(text)


class RecorderClient:
    """Calls `start`, `stop`, `discard` and `rerecord` of a recorder without waiting."""

    def __init__(self, node: Node, recorder: str, say: Callable[[str], None]) -> None:
        """Open the clients.

        Args:
            node: Node that owns the clients.
            recorder: Name of the recorder's node.
            say: Called with each response, as text for users.
        """
        self._recorder, self._say = recorder, say
        kinds = {name: kind for name, kind, _ in REQUESTS.values()}
        self._clients = {
            name: node.create_client(kind, f"{recorder}/{name}") for name, kind in kinds.items()
        }
        self._recorder_status = RecorderWatch(node, recorder, lambda text: say(f"-> {text}"))
        self._asked: list[tuple[str, Any, float]] = []
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(_PATIENCE / 10, self._watch, clock=steady)

    @property
    def status(self) -> str:
        """Short status text of the recorder; empty if no status was received."""
        return self._recorder_status.text

    def call(self, event: str) -> None:
        """Request `start`, `success`, `failure`, `discard` or `rerecord`."""
        name, _, request = REQUESTS[event]
        client = self._clients[name]
        if not client.service_is_ready():
            self._say(f"{event}: nobody offers {self._recorder}/{name}; start recorder_node")
            return
        future = client.call_async(request)
        future.add_done_callback(lambda future: self._say(f"{event}: {_answer(future.result())}"))
        self._asked.append((event, future, time.monotonic()))

    def _watch(self) -> None:
        """Report a request without a response; a late response is reported too."""
        waiting = []
        for event, future, asked in self._asked:
            if time.monotonic() - asked <= _PATIENCE:
                waiting.append((event, future, asked))
            elif not future.done():
                self._say(f"{event}: no answer from {self._recorder} for {_PATIENCE:.0f} s")
        self._asked = waiting


def _answer(response: Any) -> str:
    return response.message if response.success else f"refused: {response.message}"


def _summary(told: Mapping[str, Any]) -> str:
    """Short status text, the most important part first; every key may be missing."""
    parts = [" ".join(str(told[key]) for key in ("state", "episode") if told.get(key))]
    if told.get("state") == "recording":
        parts += _number("{:.0f} s", told.get("elapsed_s"))
    warnings = told.get("warnings")
    if isinstance(warnings, list) and warnings:
        more = f" (+{len(warnings) - 1})" if len(warnings) > 1 else ""
        parts.append(f"! {warnings[0]}{more}")
    kept = told.get("kept")
    if isinstance(kept, dict):
        target = told.get("target")
        aim = f" of {target} success" if isinstance(target, int) and target else ""
        done = "successes_in_folder" if aim else "success"
        parts += _number("{:.0f}" + (aim or " success"), kept.get(done))
        parts += _number("{:.0f} failure", kept.get("failure"))
    left = told.get("disk_left_s")
    if isinstance(left, (int, float)):
        parts.append(f"disk for {duration(left)}")
    parts += _number("{:.1f} GiB left", told.get("disk_free_bytes"), 2**30)
    return ", ".join(part for part in parts if part)


def _number(text: str, value: Any, unit: float = 1.0) -> list[str]:
    return [text.format(value / unit)] if isinstance(value, (int, float)) else []
