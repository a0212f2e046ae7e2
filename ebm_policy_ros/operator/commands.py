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
STOP, QUIT = "stop", "quit"
ALWAYS = (STOP, QUIT)
"""Answers to judge_policy that count whatever it asks."""
ANSWERS = ("begin", "success", "failure", "void", "reset", "picture", "done", QUIT)
"""Answers of an operator who judges, to a question of judge_policy."""
_FOR_PROGRAM = ("demonstrate", "train", "judge", "cancel")
_NAMES = (
    "stop",
    "start",
    "reset",
    "shadow",
    "speed",
    "load_policy",
    "record",
    "answer",
    *_FOR_PROGRAM,
)
_LONGEST_TEXT = 256
_MOST_EPISODES, _MOST_TRIALS = 1000, 200
Value = bool | float | str | tuple[str, str, int] | tuple[int, str] | None


class BadMessage(ValueError):
    """Message that a page of this package does not send; the text says why."""


@dataclass(frozen=True)
class Command:
    """Command of an operator."""

    name: str
    """One of stop, start, reset, shadow, speed, load_policy, record, answer, demonstrate, train,
    judge and cancel."""
    value: Value = None
    """Shadow: true or false. Speed: factor from 0 to 1. Policy: its name. Record: one of
    RECORDER_EVENTS. Answer: number of the question, and one of ANSWERS. Demonstrate: number of
    episodes. Train: time, as 10m. Judge: names of two policies, and number of trials of each."""

    @property
    def target(self) -> str:
        """Receiver of the command: policy, recorder, judge or program."""
        if self.name in _FOR_PROGRAM:
            return "program"
        return {"record": "recorder", "answer": "judge"}.get(self.name, "policy")

    def __str__(self) -> str:
        """Command as text for users."""
        if isinstance(self.value, tuple):
            return f"{self.name} {' '.join(map(str, self.value))}"
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
        _require(_is_name(value), name, value, "the name of a policy")
    elif name == "train":
        _require(_is_name(value), name, value, "a time")
    elif name == "demonstrate":
        _require_count(name, value, _MOST_EPISODES)
    elif name == "judge":
        value = _read_comparison(value)
    elif name == "answer":
        value = _read_answer(value)
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


def _read_comparison(value: object) -> tuple[str, str, int]:
    parts: list[Any] = value if isinstance(value, list) and len(value) == 3 else [None] * 3
    fits = all(map(_is_name, parts[:2]))
    _require(fits, "judge", value, "two policies and a number of trials")
    first, second, trials = parts
    _require_count("trials", trials, _MOST_TRIALS)
    return first, second, trials


def _read_answer(value: object) -> tuple[int, str]:
    parts: list[Any] = value if isinstance(value, list) and len(value) == 2 else [None, None]
    number, answer = parts
    fits = isinstance(number, int) and not isinstance(number, bool) and answer in ANSWERS
    _require(fits, "answer", value, "the number of a question and an answer")
    return number, answer


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT


def _require_count(name: str, value: object, most: int) -> None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    fits = is_whole and 1 <= value <= most  # type: ignore[operator]
    _require(fits, name, value, f"a whole number from 1 to {most}")


def _require(fits: bool, name: str, value: object, expected: str) -> None:
    if not fits:
        raise BadMessage(f"{name}: got {quote(value)}, expected {expected}")
