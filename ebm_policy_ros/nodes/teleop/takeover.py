"""Takeover by teleop_node: sends the commands of a person to a policy node."""

from __future__ import annotations

import secrets
import time
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.messages.takeover import (
    TYPE,
    PersonCommand,
    letting_go,
    takeover_message,
    takeover_topic,
)
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.common.topics import TAKEOVER_QUALITY, status_in
from ebm_policy_ros.util.quoting import cut

# The node publishes its status ten times a second.
_SILENCE = 1.0
# Time that the node waits for the delivery of its last message, s.
_LAST_MESSAGE = 0.5
_LONGEST = 120


class TakeoverLink:
    """Sends the commands of a person to a policy node, and tells what that makes of them."""

    def __init__(self, node: Node, interface: Interface, policy_node: str) -> None:
        """Open the topics.

        Args:
            node: Node that owns them.
            interface: Defines the dimensions of an action.
            policy_node: Name of the policy node, relative to the namespace of `node`.
        """
        self._node, self._interface, self._name = node, interface, policy_node
        # Two nodes may have the same name; only one of them may command.
        self._sender = f"{node.get_fully_qualified_name()} {secrets.token_hex(3)}"
        self._topic = node.resolve_topic_name(takeover_topic(policy_node))
        kind = message_class(TYPE)
        self._publisher = node.create_publisher(kind, self._topic, TAKEOVER_QUALITY)
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(String, f"{policy_node}/status", self._on_status, newest)
        self._status: dict[str, Any] = {}
        self._heard = 0.0
        self._is_sending = False
        self.is_moving = False
        """True if the last command may move the arm."""

    def _on_status(self, message: Any) -> None:
        told = status_in(message)
        if told is not None:
            self._status, self._heard = told, time.monotonic()

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def problem(self) -> str:
        """Problem that nobody receives what is sent; empty if somebody does."""
        if self._publisher.get_subscription_count() > 0:
            return ""
        return f"nobody listens on {self._topic}; start {self._name}"

    def send(self, command: PersonCommand) -> None:
        """Send a command."""
        self._is_sending = self.is_moving = True
        self._publisher.publish(
            takeover_message(self._sender, self._now(), self._interface, command)
        )

    def let_go(self) -> None:
        """Tell the policy node that the person has let go, unless nothing was sent."""
        if self._is_sending:
            self._publisher.publish(letting_go(self._sender, self._now()))
        self._is_sending = self.is_moving = False

    def send_last(self, command: PersonCommand) -> None:
        """Send a command to stand still, after which nothing comes for now."""
        self.send(command)
        self.is_moving = False

    def close(self) -> None:
        """Close the topic after the last messages have been delivered."""
        self._publisher.wait_for_all_acked(Duration(seconds=_LAST_MESSAGE))
        self._node.destroy_publisher(self._publisher)

    @property
    def answer(self) -> str:
        """State of the policy node, as text for users."""
        status = self._status
        if time.monotonic() - self._heard > _SILENCE:
            return f"{self._name} is silent"
        if status.get("state") == "stopped" or status.get("lifecycle") != "active":
            state = "stopped" if status.get("state") == "stopped" else "not active"
            text = f"{self._name} is {state}: {status.get('reason', '')}"
        elif self._is_sending and status.get("taken_by") == self._sender:
            told = status.get("state") == "fresh"
            text = "you command" if told else f"{self._name} holds: {status.get('reason', '')}"
        elif self._is_sending and status.get("taken_by"):
            text = f"{status['taken_by']} commands, not you"
        elif self._is_sending and status.get("ignored_sender") == self._sender:
            text = f"{self._name} ignores you: {status.get('ignored', '')}"
        else:
            text = f"commander: {status.get('commander', 'unknown')}"
        return cut(text, _LONGEST)
