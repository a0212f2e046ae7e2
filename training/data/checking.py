"""Checks of demonstrations; errors name the array, the place and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.energy.action_space import ROUNDING
from ebm_policy_ros.energy.normalisation import SMALLEST
from ebm_policy_ros.training.data.batches import Demonstrations
from ebm_policy_ros.training.data.dataset import DemonstrationError


def check_demonstrations(
    data: Demonstrations, streams: Sequence[str], allow_constant: bool
) -> None:
    """Refuse demonstrations that no model can be trained on.

    Args:
        data: The demonstrations.
        streams: Streams that the model uses.
        allow_constant: True if a dimension may have the same value in every frame.

    Raises:
        DemonstrationError: If arrays differ in length, a value is not a finite number or a
            dimension never changes.
    """
    arrays = {"actions": data.actions, **{name: data.observations[name] for name in streams}}
    for name, values in arrays.items():
        if len(values) != len(data.episodes):
            raise DemonstrationError(
                f"{name}: {len(values)} frames, expected {len(data.episodes)}, as many as there "
                "are in all episodes; cut the arrays to one length"
            )
        if values.dtype == np.uint8:
            continue
        flat = values.reshape(len(values), -1)
        finite = np.isfinite(flat)
        if not finite.all():
            frame, dimension = (int(i) for i in np.argwhere(~finite)[0])
            raise DemonstrationError(
                f"{name}[{frame}], dimension {dimension}: {flat[frame, dimension]} in episode "
                f"{data.episodes[frame]}, expected a finite number, also in "
                f"{(~finite.all(axis=1)).sum() - 1} further frames; leave those frames or "
                "episodes out"
            )
        if not allow_constant:
            _refuse_constant(name, flat)


def _refuse_constant(name: str, flat: npt.NDArray[Any]) -> None:
    low, high = flat.min(axis=0), flat.max(axis=0)
    constant = high - low <= ROUNDING * np.maximum(np.abs(low), np.abs(high))
    cure = "leave that field out, or accept it with --learning.allow_constant true"
    if constant.any():
        dimension = int(constant.argmax())
        raise DemonstrationError(
            f"{name}, dimension {dimension}: {low[dimension]} in every frame; {cure}"
        )
    if name != "actions":  # the action box accepts any width that was demonstrated
        spread = flat.std(axis=0, dtype=np.float64)
        if (spread < SMALLEST).any():
            dimension = int((spread < SMALLEST).argmax())
            raise DemonstrationError(
                f"{name}, dimension {dimension}: changes by only {spread[dimension]:.2g}, which "
                f"counts as noise below {SMALLEST:g}; give it in a smaller unit, {cure}"
            )


def check_bounds(
    actions: npt.NDArray[np.float32],
    fields: Sequence[str],
    low: npt.ArrayLike,
    high: npt.ArrayLike,
) -> None:
    """Refuse actions, shape (M, H, D), that the robot's guard would limit.

    Raises:
        DemonstrationError: Naming the first such frame and field.
    """
    low, high = np.asarray(low), np.asarray(high)
    # Bounds are written as decimals, messages may hold single precision.
    slack = 1e-6 * np.maximum(np.abs(low), np.abs(high))
    outside = (actions < low - slack) | (actions > high + slack)
    if outside.any():
        frame, step, dimension = (int(i) for i in np.argwhere(outside)[0])
        raise DemonstrationError(
            f"actions[{frame}], {fields[dimension]}: {actions[frame, step, dimension]:g} is "
            f"outside the interface's bounds, {low[dimension]:g} to {high[dimension]:g}, also in "
            f"{outside.any(axis=(1, 2)).sum() - 1} further frames; widen action.low and "
            "action.high, or leave those episodes out"
        )
