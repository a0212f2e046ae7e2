"""Checks that the settings of every method share."""

from __future__ import annotations

from ebm_policy_ros.util.bounds import LARGEST_WHOLE, check_number, check_whole
from ebm_policy_ros.util.quoting import quote


def at_least(settings: object, lowest: int, *names: str, largest: int = LARGEST_WHOLE) -> None:
    """Refuse what is not an integer from `lowest` to `largest`.

    Raises:
        ValueError: Naming the setting, what it is and what is allowed.
    """
    for name in names:
        check_whole(name, getattr(settings, name), lowest, largest)


def positive(settings: object, *names: str) -> None:
    """Refuse numbers that are not above 0 and finite.

    Raises:
        ValueError: Naming the setting, what it is and what is allowed.
    """
    for name in names:
        check_number(name, getattr(settings, name), above_zero=True)


def at_most(settings: object, largest: float, *names: str) -> None:
    """Refuse numbers above `largest`.

    Raises:
        ValueError: Naming the setting, what it is and what is allowed.
    """
    for name in names:
        value = getattr(settings, name)
        if value > largest:
            raise ValueError(f"{name}: got {value}, expected a number, at most {largest:g}")


def not_negative(settings: object, *names: str) -> None:
    """Refuse numbers that are below 0 or not finite.

    Raises:
        ValueError: Naming the setting, what it is and what is allowed.
    """
    for name in names:
        check_number(name, getattr(settings, name), above_zero=False)


def one_of(settings: object, name: str, allowed: tuple[str, ...]) -> None:
    """Refuse words that are not among those `allowed`.

    Raises:
        ValueError: Naming the setting, what it is and what is allowed.
    """
    value = getattr(settings, name)
    if value not in allowed:
        raise ValueError(f"{name}: got {quote(value)}, expected {' or '.join(allowed)}")
