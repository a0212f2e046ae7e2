"""Checks that the settings of every method share."""

from __future__ import annotations

import math


def is_number(value: object) -> bool:
    """Whether a setting is a plain number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def at_least(settings: object, lowest: int, *names: str) -> None:
    """Refuse integers below `lowest`.

    Raises:
        ValueError: Naming the setting, what it is and what is allowed.
    """
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise ValueError(f"{name}: got {value}, expected an integer >= {lowest}")


def positive(settings: object, *names: str) -> None:
    """Refuse numbers that are not above 0 and finite.

    Raises:
        ValueError: Naming the setting, what it is and what is allowed.
    """
    for name in names:
        value = getattr(settings, name)
        if not is_number(value) or not 0 < value < math.inf:
            raise ValueError(f"{name}: got {value}, expected a number > 0")


def not_negative(settings: object, *names: str) -> None:
    """Refuse numbers that are below 0 or not finite.

    Raises:
        ValueError: Naming the setting, what it is and what is allowed.
    """
    for name in names:
        value = getattr(settings, name)
        if not is_number(value) or not 0 <= value < math.inf:
            raise ValueError(f"{name}: got {value}, expected a number >= 0")


def one_of(settings: object, name: str, allowed: tuple[str, ...]) -> None:
    """Refuse words that are not among those `allowed`.

    Raises:
        ValueError: Naming the setting, what it is and what is allowed.
    """
    value = getattr(settings, name)
    if value not in allowed:
        raise ValueError(f"{name}: got {value!r}, expected {' or '.join(allowed)}")
