"""Checks of settings, common to all inference methods."""

from __future__ import annotations

from ebm_policy_ros.util.bounds import LARGEST_WHOLE, check_number, check_whole
from ebm_policy_ros.util.quoting import any_of, quote, suggestion


def at_least(settings: object, lowest: int, *names: str, largest: int = LARGEST_WHOLE) -> None:
    """Refuse settings that are not integers from `lowest` to `largest`.

    Raises:
        ValueError: If a check fails. The message names the setting, its value and the allowed
            range.
    """
    for name in names:
        check_whole(name, getattr(settings, name), lowest, largest)


def positive(settings: object, *names: str) -> None:
    """Refuse settings that are not finite numbers above 0.

    Raises:
        ValueError: If a check fails. The message names the setting, its value and the allowed
            range.
    """
    for name in names:
        check_number(name, getattr(settings, name), above_zero=True)


def at_most(settings: object, largest: float, *names: str) -> None:
    """Refuse settings above `largest`.

    Raises:
        ValueError: If a check fails. The message names the setting, its value and the allowed
            range.
    """
    for name in names:
        value = getattr(settings, name)
        if value > largest:
            raise ValueError(f"{name}: got {value}, expected a number, at most {largest:g}")


def not_negative(settings: object, *names: str) -> None:
    """Refuse settings that are below 0 or not finite.

    Raises:
        ValueError: If a check fails. The message names the setting, its value and the allowed
            range.
    """
    for name in names:
        check_number(name, getattr(settings, name), above_zero=False)


def one_of(settings: object, name: str, allowed: tuple[str, ...]) -> None:
    """Refuse a setting whose value is not one of `allowed`.

    Raises:
        ValueError: If the check fails. The message names the setting, its value and the allowed
            values.
    """
    value = getattr(settings, name)
    if value not in allowed:
        raise ValueError(
            f"{name}: got {quote(value)}, expected {any_of(allowed)}{suggestion(value, allowed)}"
        )
