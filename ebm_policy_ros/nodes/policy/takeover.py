"""Takeover: a person commands in place of the policy for as long as they hold something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.messages.takeover import (
    TYPE,
    PersonCommand,
    read_takeover,
    takeover_topic,
)
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.common.topics import TAKEOVER_QUALITY
from ebm_policy_ros.util.quoting import quote

_LONGEST_NAME = 200
# Senders whose refusals are kept.
_MOST_SENDERS = 8


class Takeover:
    """Receives the commands of one person at a time on `~/takeover`.

    It begins with the first valid command. It ends when the sender lets go, or when no valid
    command has come for `takeover_timeout` (at least two periods).
    """

    def __init__(
        self,
        node: Node,
        interface: Interface,
        values: dict[str, Any],
        refusal: Callable[[], str],
        on_command: Callable[[], None],
        on_end: Callable[[str], None],
    ) -> None:
        """Open the topic.

        Args:
            node: Node that owns the subscription.
            interface: Defines the dimensions of an action.
            values: Parameters of the node.
            refusal: Returns the reason why nobody may command now; empty if somebody may.
            on_command: Called with each valid command, which `command` then is.
            on_end: Called after the end, with the reason if the sender did not let go.
        """
        self._node, self._interface = node, interface
        self._refusal, self._on_command, self._on_end = refusal, on_command, on_end
        self.sender = ""
        """Name of the sender that commands; empty if none does."""
        self.command: PersonCommand | None = None
        """The last command."""
        self.heard = 0
        """Time of its receipt, nanoseconds."""
        self.is_new = False
        """True if the last command began the takeover."""
        self._refusals: dict[str, str] = {}
        self._limit = max(values["takeover_timeout"], 2 / interface.rate)
        self._is_suspected = False
        # A simulation's clock gives the times of the commands too.
        clock = None
        if not node.get_parameter("use_sim_time").value:
            clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._alarm = node.create_timer(self._limit, self._on_alarm, clock=clock)
        self._alarm.cancel()
        self._check = node.create_guard_condition(self._on_check)
        self._subscription = node.create_subscription(
            message_class(TYPE), takeover_topic("~"), self._receive, TAKEOVER_QUALITY
        )

    @property
    def is_active(self) -> bool:
        """True while a person commands."""
        return bool(self.sender)

    @property
    def ignored(self) -> tuple[str, str]:
        """Sender whose messages are ignored, and the reason for the last one; empty if none."""
        return next(reversed(self._refusals.items()), ("", ""))

    def end(self) -> None:
        """Forget the person; the next command begins a new takeover."""
        self.sender, self.command, self._is_suspected = "", None, False
        self._alarm.cancel()

    def close(self) -> None:
        """Close the topic."""
        self.end()
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_guard_condition(self._check)
        self._node.destroy_timer(self._alarm)

    def set_back(self) -> None:
        """Wait for the next command after the clock was set back."""
        if self.is_active:
            self.heard = self._now()
            self._alarm.reset()

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _receive(self, message: Any) -> None:
        sender = message.header.frame_id
        if not message.points:
            self._refusals.pop(sender, None)
            if self.is_active and sender == self.sender:
                self.end()
                self._on_end("")
            return
        now = self._now()
        try:
            self._check_sender(sender)
            self._check_stamp(stamp_ns(message), now)
            command = read_takeover(message, self._interface)
        except MessageError as problem:
            self._refuse(sender, str(problem))
            return
        self._refusals.pop(sender, None)
        self.is_new = not self.is_active
        self.sender, self.command, self.heard = sender, command, now
        self._is_suspected = False
        self._alarm.reset()
        self._on_command()

    def _refuse(self, sender: str, reason: str) -> None:
        """Tell why a message is ignored; the last reason of each sender is kept."""
        name = sender[: _LONGEST_NAME + 1]  # a longer one is nobody's
        self._refusals.pop(name, None)  # the newest one is the last
        self._refusals[name] = reason
        if len(self._refusals) > _MOST_SENDERS:
            del self._refusals[next(iter(self._refusals))]
        text = f"a command of {quote(name)} is ignored: {reason}"
        self._node.get_logger().warning(text, throttle_duration_sec=5.0)

    def _check_sender(self, sender: str) -> None:
        if refusal := self._refusal():
            raise MessageError(refusal)
        if not 0 < len(sender) <= _LONGEST_NAME:
            raise MessageError(
                f"header.frame_id is {quote(sender)}, expected a name that only the sender has"
            )
        if self.is_active and sender != self.sender:
            raise MessageError(
                f"{quote(sender)} wants to command while {quote(self.sender)} does, which must "
                "let go first"
            )

    def _check_stamp(self, stamp: int, now: int) -> None:
        age = (now - stamp) / NANOSECONDS
        if not stamp:
            raise MessageError("header.stamp is zero, expected the time of the command")
        if abs(age) > self._limit:
            where = "ago" if age > 0 else "in the future"
            raise MessageError(
                f"stamped {abs(age):.2f} s {where}, expected at most {self._limit:.2f} s; are the "
                "clocks of both computers synchronised?"
            )

    def _on_alarm(self) -> None:
        # The callback of a command that has arrived in time may still wait for its turn.
        self._alarm.cancel()
        self._is_suspected = True
        self._check.trigger()

    def _on_check(self) -> None:
        if not self._is_suspected:
            return
        reason = f"{self.sender} sent no valid command for {self._limit:.2f} s and did not let go"
        if own := self._refusals.get(self.sender):
            reason += f" ({own})"
        self.end()
        self._on_end(reason)
