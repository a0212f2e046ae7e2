"""Pace: factor on the motions of a policy, which is slower when the policy is unsure."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from ebm_policy_ros.interface import NANOSECONDS
from ebm_policy_ros.nodes.policy.sending import Withheld
from ebm_policy_ros.policy.decision import Decision


class Pace:
    """Slows an unsure policy down, and after a while withholds its actions."""

    def __init__(self, node: Node, values: dict[str, Any]) -> None:
        """Begin with a policy that is sure.

        Args:
            node: Node whose log is used.
            values: Parameters of the node.
        """
        self._node, self._values = node, values
        self._unsure_since: int | None = None

    def forget(self) -> None:
        """Forget since when the policy has been unsure."""
        self._unsure_since = None

    def factor(self, decision: Decision, now: int, is_hidden: bool) -> float:
        """Factor on the motion of a decision.

        Args:
            decision: The decision.
            now: Time of the tick, nanoseconds.
            is_hidden: True if nobody shall learn which policy it is: its thresholds would tell.

        Raises:
            Withheld: If the policy is unsure, and shall hold then.
        """
        speed: float = self._values["speed"]
        unsure, wanted = decision.confidence.unsure, self._values["when_unsure"]
        if not unsure or wanted == "go":
            self._unsure_since = None
            return speed
        told = [words.partition(" (")[0] if is_hidden else words for words in unsure]
        text = f"unsure: {', '.join(told)}"
        if self._unsure_since is None:
            self._unsure_since = now
        slow_for = round(self._values["unsure_for"] * NANOSECONDS)
        if wanted == "hold" or now - self._unsure_since >= slow_for:
            raise Withheld(text)
        self._node.get_logger().warning(f"slow, {text}", throttle_duration_sec=5.0)
        slow: float = self._values["unsure_speed"]
        return speed * slow
