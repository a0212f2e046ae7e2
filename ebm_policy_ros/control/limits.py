"""The limits of commands: the interface's, made tighter where a parameter says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface

Vector = npt.NDArray[np.float64]


def reachable(now: Vector, change: Vector) -> tuple[Vector, Vector]:
    """Lowest and highest velocity that may follow on one of now.

    Args:
        now: Shape (D,).
        change: Largest change by acceleration, at least 0, shape (D,).

    Returns:
        Two of shape (D,). Between now and zero lies slowing down, which is no acceleration.
    """
    low = np.where(now > change, 0.0, now - change)
    high = np.where(now < -change, 0.0, now + change)
    return low, high


class LimitError(ValueError):
    """A limit that cannot be; the text says why."""


@dataclass(frozen=True)
class Limits:
    """What bounds a command, one number for each field of the action or of the workspace."""

    low: Vector
    """Lowest value of each dimension, the gripper's last, interface's units."""
    high: Vector
    """Highest value."""
    max_velocity: Vector
    """Of a position, unit/s; infinite where there is none."""
    max_acceleration: Vector
    """Of the velocity; infinite where there is none."""
    workspace_low: Vector
    """Lower corner of the box, metres; empty without one."""
    workspace_high: Vector
    """Upper corner."""

    @classmethod
    def of(cls, interface: Interface) -> Limits:
        """The limits that an interface asks for."""
        action, box = interface.action, interface.workspace
        low, high = (np.array(values, dtype=np.float64) for values in action.bounds)
        # What turns without end comes back to where it was.
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
        """These limits with those `wanted` in place of them.

        Args:
            interface: Whose limits they are; it names the dimensions.
            wanted: Values by the limit's name.

        Raises:
            LimitError: If a limit has another number of values, is not a number, is looser than
                this one or leaves nothing in between.
        """
        names = {limit: self._fields(interface, limit) for limit in LIMITS}
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
            fixed = interface.action.fixed.get(axis, low)
            if not low <= fixed <= high:
                raise LimitError(
                    f"workspace: action.fixed has {axis} at {fixed}, outside {low} to {high}"
                )
        return replaced

    def _fields(self, interface: Interface, limit: str) -> tuple[str, ...]:
        if limit.startswith("workspace"):
            return interface.workspace.fields if interface.workspace else ()
        return interface.action.names if limit in ("low", "high") else interface.action.fields

    def _tighter(self, interface: Interface, limit: str, values: Sequence[float]) -> Vector:
        fields = self._fields(interface, limit)
        new = np.asarray(values, dtype=np.float64)
        if new.shape != (len(fields),) or not np.isfinite(new).all():
            expected = f"one number for each of {', '.join(fields)}" if fields else "none"
            raise LimitError(f"limits.{limit}: got {list(values)}, expected {expected}")
        if limit == "max_acceleration" and not interface.action.measured:
            raise LimitError(f"limits.{limit}: action.measured names no stream to measure it by")
        if limit == "max_velocity" and interface.action.is_velocity:
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


LIMITS = tuple(field.name for field in dataclasses.fields(Limits))
"""The names of the limits."""
