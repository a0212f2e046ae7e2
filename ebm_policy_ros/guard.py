"""CommandGuard: what no policy can get past, in plain numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class GuardedCommand:
    """A command that may go out."""

    action: Vector
    """Shape (D,), in the interface's units."""
    interventions: tuple[str, ...]
    """What the guard changed; empty if nothing."""


class CommandGuard:
    """Keeps commands finite, within the action's bounds and inside the workspace.

    The action is a velocity: zero is standing still.
    """

    def __init__(self, interface: Interface) -> None:
        """Takes every limit from the interface."""
        self._low = np.asarray(interface.action.low, dtype=np.float32)
        self._high = np.asarray(interface.action.high, dtype=np.float32)
        self._period = np.float32(1.0 / interface.rate)
        # (dimension of the action, field of the tool pose, low, high)
        self._walls: list[tuple[int, str, float, float]] = []
        if interface.workspace is not None:
            box = interface.workspace
            for field, low, high in zip(box.fields, box.low, box.high, strict=True):
                if f"linear.{field}" in interface.action.fields:
                    dimension = interface.action.fields.index(f"linear.{field}")
                    self._walls.append((dimension, field, low, high))

    def stop(self) -> Vector:
        """The command to stand still, shape (D,)."""
        return np.zeros_like(self._low)

    def guard(self, action: npt.NDArray[np.floating], tool: Mapping[str, float]) -> GuardedCommand:
        """The nearest command that may go out.

        Args:
            action: Shape (D,), in the interface's units.
            tool: Measured position by field (x, y, z), metres; those that the workspace bounds.
        """
        if not np.isfinite(action).all():
            return GuardedCommand(self.stop(), ("not a finite number",))
        interventions = []
        safe = np.clip(action, self._low, self._high).astype(np.float32)
        if (safe != action.astype(np.float32)).any():
            interventions.append("action bounds")
        for dimension, field, low, high in self._walls:
            # The velocities that keep the tool inside until the next decision; from outside,
            # those that don't lead further out.
            slowest = min(0.0, (low - tool[field]) / self._period)
            fastest = max(0.0, (high - tool[field]) / self._period)
            limited = np.clip(safe[dimension], slowest, fastest)
            if limited != safe[dimension]:
                safe[dimension] = limited
                interventions.append(f"workspace {field}")
        return GuardedCommand(safe, tuple(interventions))
