"""Messages from a page, checked before anything acts on them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ebm_policy_ros.util.bounds import is_number
from ebm_policy_ros.util.quoting import any_of, quote

LARGEST_MESSAGE = 4096
"""Maximum bytes of a message from a page; the longest that a page sends has 200."""
RECORDER_EVENTS = ("start", "success", "failure", "discard", "rerecord")
"""Requests to the recorder."""
_NAMES = ("stop", "start", "reset", "shadow", "speed", "load_policy", "record")
_LONGEST_TEXT = 256


class BadMessage(ValueError):
    """Message that a page of this package does not send; the text says why."""


@dataclass(frozen=True)
class Command:
    """Command of an operator."""

    name: str
    """One of stop, start, reset, shadow, speed, load_policy and record."""
    value: bool | float | str | None = None
    """Shadow: true or false. Speed: factor from 0 to 1. Policy: its name. Record: one of
    RECORDER_EVENTS."""

    @property
    def is_for_recorder(self) -> bool:
        """True for a command to the recorder, false for one to the policy node."""
        return self.name == "record"

    def __str__(self) -> str:
        """Command as text for users."""
        return self.name if self.value is None else f"{self.name} {self.value}"


def read_message(text: str) -> dict[str, Any]:
    """Message of a page.

    Raises:
        BadMessage: If the text is no JSON object.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise BadMessage(f"got {quote(text)}, expected a JSON object")
    return message


def read_command(message: dict[str, Any]) -> Command:
    """Command in a message.

    Raises:
        BadMessage: If there is no such command, or its value is not allowed.
    """
    name, value = message.get("name"), message.get("value")
    if not isinstance(name, str) or name not in _NAMES:
        raise BadMessage(f"command: got {quote(name)}, expected {any_of(_NAMES)}")
    if name == "shadow":
        _require(isinstance(value, bool), name, value, "true or false")
    elif name == "speed":
        # NaN, which JSON does not have but Python reads, fails the comparison.
        _require(is_number(value) and 0 <= value <= 1, name, value, "a number from 0 to 1")
    elif name == "record":
        _require(value in RECORDER_EVENTS, name, value, any_of(RECORDER_EVENTS))
    elif name == "load_policy":
        fits = isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT
        _require(fits, name, value, "the name of a policy")
    else:
        _require(value is None, name, value, "no value")
    return Command(name, value)


def read_names(value: object) -> frozenset[str]:
    """Names in a message.

    Raises:
        BadMessage: If this is no list of names.
    """
    names = value if isinstance(value, list) else [None]
    _require(all(isinstance(name, str) for name in names), "pictures", value, "a list of names")
    return frozenset(names)


def read_number(value: object) -> int:
    """Number of a state in a message.

    Raises:
        BadMessage: If this is no whole number.
    """
    _require(isinstance(value, int) and not isinstance(value, bool), "n", value, "a whole number")
    return value  # type: ignore[return-value]


def _require(fits: bool, name: str, value: object, expected: str) -> None:
    if not fits:
        raise BadMessage(f"{name}: got {quote(value)}, expected {expected}")
