"""Status: what policy_node does at this moment, as JSON for an operator's screen."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String

from ebm_policy_ros.messages.execution import Commander
from ebm_policy_ros.nodes.policy.loading import is_hidden
from ebm_policy_ros.nodes.policy.node_state import PolicyNodeState
from ebm_policy_ros.util.digest import sha256_of
from ebm_policy_ros.util.resources import policy_path

_PERIOD = 0.1
# Largest file whose hash is told before a start, bytes: a stop must not wait for more.
_LARGEST = 1 << 26


class Status:
    """Publishes `~/status` ten times a second; computes nothing without subscribers."""

    def __init__(self, node: LifecycleNode, state: PolicyNodeState) -> None:
        """Open the topic; it continues while a simulation's clock has stopped.

        Args:
            node: Node whose publisher is used.
            state: State of the same node.
        """
        self._state = state
        self._publisher = node.create_publisher(String, "~/status", 1)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_PERIOD, self._publish, clock=steady)

    def _publish(self) -> None:
        if self._publisher.get_subscription_count():
            self._publisher.publish(String(data=json.dumps(self._now())))

    def _now(self) -> dict[str, Any]:
        state, safety, statistics = self._state, self._state.safety, self._state.statistics
        now: dict[str, Any] = {
            "lifecycle": self._lifecycle(),
            "state": safety.state.value,
            "reason": safety.reason,
            "stops": safety.stops,
            "commander": Commander.NOBODY.value,
            "taken_by": "",
            "ignored": "",
            "ignored_sender": "",
            "shadow": not state.values["publish_commands"],
            "speed": state.values["speed"],
            "counts": dict(statistics.counts),
            **self._of_last_tick(),
        }
        if state.control_loop is None:
            name = state.values["policy"]  # the one that a start loads
            now |= {"policy": name, "sha256": _sha256(name), "hidden": is_hidden(name)}
        else:
            loaded = state.control_loop.loaded
            sender, ignored = state.control_loop.person_ignored
            now |= {
                "commander": state.control_loop.commander.value,
                "taken_by": state.control_loop.person,
                "ignored": ignored,
                "ignored_sender": sender,
                "policy": loaded.name,
                "sha256": loaded.sha256,
                "hidden": loaded.is_hidden,
                "rate": loaded.interface.rate,
                "thresholds": loaded.policy.thresholds,
                "chosen": state.control_loop.drawn,
            }
        return now

    def _of_last_tick(self) -> dict[str, Any]:
        """Times and confidence of the last tick alone: what is older would look as if it were new.

        A tick that sends a later action of a decision has the decision's.
        """
        state, loop = self._state, self._state.control_loop
        if loop is None or not state.is_active or state.clock_watch.stands():
            return {"latest_ms": {}}
        times, confidence = state.statistics.latest(), loop.confidence
        if loop.commander is Commander.PERSON:
            names = ["person to command"]
        elif confidence is None:
            names = []
        elif loop.commander is Commander.POLICY:
            names = ["decision", "stamp to command", "all but the decision"]
        else:
            names = ["decision"]  # it is withheld
        now: dict[str, Any] = {"latest_ms": {name: times[name] for name in names if name in times}}
        if confidence is not None:
            now |= {"energy": _finite(confidence.energy), "unsure": list(confidence.unsure)}
            now["distances"] = {
                name: _finite(getattr(confidence, name)) for name in ("features", "colours")
            }
        return now

    def _lifecycle(self) -> str:
        if self._state.control_loop is None:
            return "unconfigured"
        return "active" if self._state.is_active else "inactive"


def _sha256(name: str) -> str:
    """Hash of a policy's file; empty if it cannot be read, or takes long to read."""
    try:
        path = policy_path(name)
        found = path.stat()
        if not path.is_file() or found.st_size > _LARGEST:
            return ""
        return _sha256_of(path, found.st_mtime_ns, found.st_size)
    except OSError:
        return ""


@lru_cache(maxsize=1)
def _sha256_of(path: Path, changed_ns: int, size: int) -> str:
    """Hash of a file, read once as long as it is not changed."""
    return sha256_of(path)


def _finite(value: float) -> float | None:
    """Number, or None where JSON has no name for it."""
    return round(value, 6) if math.isfinite(value) else None
