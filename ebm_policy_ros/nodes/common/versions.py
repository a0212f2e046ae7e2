"""Differences between the versions of rclpy that the nodes run with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

__all__ = ["SubscriptionEventCallbacks", "with_information"]


def with_information(receive: Callable[[Any, Mapping[str, int]], None]) -> Callable[..., None]:
    """Callback of a subscription that is told about the transfer of each message.

    Args:
        receive: Takes the message, and its times and sequence number by their names in rmw; Humble
            doesn't tell them, and the mapping is empty.
    """
    if hasattr(Subscription, "CallbackType"):
        return receive
    return lambda message: receive(message, {})
