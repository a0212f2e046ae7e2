"""Checks of values, common to all parts of an interface file."""

from __future__ import annotations

import math

from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import quote


class InterfaceError(ValueError):
    """Invalid interface in an interface file, a policy or a bag."""


def require(condition: bool, key: str, got: object, expected: str) -> None:
    """Refuse a value if `condition` is false.

    Raises:
        InterfaceError: If it is refused. The message names the key, the value and the expectation.
    """
    if not condition:
        raise InterfaceError(f"{key}: got {quote(got)}, expected {expected}")


def require_text(key: str, value: object) -> None:
    """Refuse a value that is not a non-empty string."""
    require(isinstance(value, str) and value != "", key, value, "a name")


def require_names(key: str, names: tuple[str, ...], allowed: tuple[str, ...] = ()) -> None:
    """Refuse an empty list, repeated names, and names that are not among those `allowed`."""
    texts = all(isinstance(n, str) and len(n) <= bounds.LONGEST_NAME for n in names)
    require(len(names) > 0 and texts, key, names, "names")
    require(len(set(names)) == len(names), key, names, "each name once")
    if allowed:
        unknown = [name for name in names if name not in allowed]
        require(not unknown, key, ", ".join(unknown), "some of " + ", ".join(allowed))


def is_number(value: object) -> bool:
    """Return True if a value is a finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def require_positive(key: str, value: object, unit: str) -> None:
    """Refuse a value that is not a number above 0."""
    require(is_number(value) and value > 0, key, value, f"{unit} > 0")  # type: ignore[operator]


def require_at_most(key: str, value: float | None, largest: float) -> None:
    """Refuse a number above `largest`."""
    require(value is None or value <= largest, key, value, f"at most {largest:g}")


def require_numbers(key: str, values: tuple[float, ...], fields: tuple[str, ...]) -> None:
    """Refuse values that are not exactly one number for each field."""
    valid = len(values) == len(fields) and all(is_number(value) for value in values)
    require(valid, key, list(values), f"one number for each of {', '.join(fields)}")


def require_bounds(
    low: tuple[float, ...], high: tuple[float, ...], fields: tuple[str, ...]
) -> None:
    """Refuse bounds that are not one number for each field, or that have low above high."""
    require_numbers("low", low, fields)
    require_numbers("high", high, fields)
    ordered = all(a <= b for a, b in zip(low, high, strict=True))
    require(ordered, "low", list(low), f"at most high, {list(high)}, in every dimension")


def require_rates(key: str, values: tuple[float, ...], fields: tuple[str, ...]) -> None:
    """Refuse rate limits that are not one number >= 0 for each field."""
    require_numbers(key, values, fields)
    require(all(value >= 0 for value in values), key, list(values), "numbers >= 0")
