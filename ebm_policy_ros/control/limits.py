"""Limits of commands: those of the interface, tightened by parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface

Vector = npt.NDArray[np.float64]


def reachable(now: Vector, change: Vector) -> tuple[Vector, Vector]:
    """Lowest and highest velocity that can follow the current one.

    Args:
        now: Current velocity, shape (D,).
        change: Largest change by acceleration, at least 0, shape (D,).

    Returns:
        Two arrays of shape (D,). Velocities between the current one and zero are deceleration,
            which is always allowed.
    """
    low = np.where(now > change, 0.0, now - change)
    high = np.where(now < -change, 0.0, now + change)
    return low, high


class LimitError(ValueError):
    """An invalid limit; the text gives the reason."""


@dataclass(frozen=True)
class Limits:
    """Limits of a command, one number for each field of the action or of the workspace."""

    low: Vector
    """Lowest value of each dimension, the gripper last, in the interface's units."""
    high: Vector
    """Highest value of each dimension, in the interface's units."""
    max_velocity: Vector
    """Largest velocity of a position, unit/s; infinite if there is no limit."""
    max_acceleration: Vector
    """Largest acceleration: unit/s^2 of a position, unit/s of a velocity; infinite if there is no
    limit."""
    workspace_low: Vector
    """Lower corner of the workspace box, metres; empty if there is no box."""
    workspace_high: Vector
    """Upper corner of the workspace box, metres; empty if there is no box."""

    @classmethod
    def of(cls, interface: Interface) -> Limits:
        """Limits that the interface defines."""
        action, box = interface.command, interface.workspace
        low, high = (np.array(values, dtype=np.float64) for values in action.bounds)
        # A continuous joint has no position bounds.
        low[interface.continuous], high[interface.continuous] = -np.inf, np.inf
        none = [np.inf] * len(action.fields)
        return cls(
            *(
                np.asarray(values, dtype=np.float64)
                for values in (
                    low,
                    high,
                    action.max_velocity if action.max_velocity is not None else none,
                    action.max_acceleration if action.max_acceleration is not None else none,
                    box.low if box else (),
                    box.high if box else (),
                )
            )
        )

    def tightened(self, interface: Interface, wanted: Mapping[str, Sequence[float]]) -> Limits:
        """Replace limits by the tighter ones in `wanted`.

        Args:
            interface: The interface that these limits belong to; it names the dimensions.
            wanted: New values by name of the limit.

        Raises:
            LimitError: If a limit has another number of values, is not a number, is looser than
                this one or leaves no value in between.
        """
        names = {limit: _fields(interface, limit) for limit in LIMITS}
        replaced = dataclasses.replace(
            self, **{n: self._tighter(interface, n, value) for n, value in wanted.items()}
        )
        for low, high in (("low", "high"), ("workspace_low", "workspace_high")):
            below, above = getattr(replaced, low), getattr(replaced, high)
            if (below > above).any():
                index = int(np.argmax(below > above))
                raise LimitError(
                    f"limits.{low}: {below[index]} for {names[low][index]} is above "
                    f"limits.{high}, {above[index]}"
                )
        box = interface.workspace.fields if interface.workspace else ()
        for axis, low, high in zip(
            box, replaced.workspace_low, replaced.workspace_high, strict=True
        ):
            fixed = interface.command.fixed.get(axis, low)
            if not low <= fixed <= high:
                raise LimitError(
                    f"workspace: action.fixed has {axis} at {fixed}, outside {low} to {high}"
                )
        return replaced

    def _tighter(self, interface: Interface, limit: str, values: Sequence[float]) -> Vector:
        fields = _fields(interface, limit)
        new = np.asarray(values, dtype=np.float64)
        if new.shape != (len(fields),) or not np.isfinite(new).all():
            expected = f"one number for each of {', '.join(fields)}" if fields else "none"
            raise LimitError(f"limits.{limit}: got {list(values)}, expected {expected}")
        if limit == "max_acceleration" and not interface.command.measured:
            raise LimitError(f"limits.{limit}: action.measured names no stream to measure it by")
        if limit == "max_velocity" and interface.command.is_velocity:
            raise LimitError(f"limits.{limit}: low and high bound a velocity; set those")
        outer = getattr(self, limit)
        if limit in ("low", "high"):
            new[interface.continuous] = outer[interface.continuous]
        looser = new < outer if limit.endswith("low") else new > outer
        if looser.any():
            index = int(np.argmax(looser))
            raise LimitError(
                f"limits.{limit}: {new[index]} for {fields[index]} is looser than the "
                f"interface's {outer[index]}; change the interface file instead"
            )
        if limit.startswith("max") and (new < 0).any():
            raise LimitError(f"limits.{limit}: got {list(values)}, expected numbers >= 0")
        return new


def _fields(interface: Interface, limit: str) -> tuple[str, ...]:
    """Fields of a command or of its workspace that a limit is about."""
    if limit.startswith("workspace"):
        return interface.workspace.fields if interface.workspace else ()
    return interface.command.names if limit in ("low", "high") else interface.command.fields


def part_limits(interface: Interface, wanted: Mapping[str, Sequence[float]]) -> tuple[Limits, ...]:
    """Limits of each part of an action, tightened by the values in `wanted`.

    Args:
        interface: Interface that the limits belong to.
        wanted: New values by name of the limit: one for each dimension of all parts that have such
            a limit, in the order of the parts.

    Raises:
        LimitError: If a limit is invalid.
    """
    if len(interface.parts) == 1:
        return (Limits.of(interface).tightened(interface, wanted),)
    split = {limit: _split(interface, limit, values) for limit, values in wanted.items()}
    found = []
    for part in interface.parts:
        own = {limit: values[part.name] for limit, values in split.items() if values[part.name]}
        try:
            found.append(Limits.of(part.interface).tightened(part.interface, own))
        except LimitError as error:
            raise LimitError(part.named(str(error))) from None
    return tuple(found)


def _split(
    interface: Interface, limit: str, values: Sequence[float]
) -> dict[str, Sequence[float]]:
    """Values of a limit for each part, none for a part that has no such limit."""
    fields = {part.name: _limited(part.interface, limit) for part in interface.parts}
    names = [part.field(field) for part in interface.parts for field in fields[part.name]]
    if not names or len(values) != len(names):
        expected = f"one number for each of {', '.join(names)}" if names else "none"
        raise LimitError(f"limits.{limit}: got {list(values)}, expected {expected}")
    left = iter(values)
    return {name: list(islice(left, len(own))) for name, own in fields.items()}


def _limited(interface: Interface, limit: str) -> tuple[str, ...]:
    """Fields that a limit has a number for; none if it may not be set at all."""
    action = interface.command
    if limit == "max_velocity" and action.is_velocity:
        return ()
    if limit == "max_acceleration" and not action.measured:
        return ()
    return _fields(interface, limit)


LIMITS = tuple(field.name for field in dataclasses.fields(Limits))
"""Names of the limits."""
