"""Choice of the coordinates in which the actions of demonstrations are learned and searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from ebm_policy_ros.energy.action_space import (
    MARGIN,
    ActionSpace,
    ActionSpaceConfig,
    principal_components,
)
from ebm_policy_ros.inference.settings import not_negative, one_of
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.interface.streams import JointStream, PoseStream, Stream
from ebm_policy_ros.training.data.batches import Demonstrations
from ebm_policy_ros.training.data.dataset import DemonstrationError
from ebm_policy_ros.training.data.mirror import NO_MIRRORS, Mirrors

Basis = Literal["auto", "pca", "none"]


@dataclass(frozen=True)
class ActionConfig:
    """Coordinates in which actions are learned and searched."""

    relative_to: str = "auto"
    """Stream whose newest measurement is subtracted from the actions: auto, for positions the one
    that the interface names as `measured`; none; or the name of a stream of which each dimension
    of the action has its own column, in order."""
    basis: Basis = "auto"
    """Basis of a chunk of actions: pca, its principal components; none, the values of all actions;
    auto, pca for a horizon above 1."""
    variance: float = 0.99
    """Share of the variance of the demonstrated chunks that the principal components keep."""
    margin: float = MARGIN
    """Share of the demonstrated range by which the box of the actions is wider on each side; more
    where few demonstrations do not span the actions that are needed."""

    def __post_init__(self) -> None:
        one_of(self, "basis", get_args(Basis))
        not_negative(self, "margin")
        if not 0 < self.variance <= 1:
            raise ValueError(f"variance: got {self.variance}, expected a share above 0, at most 1")


def choose_coordinates(
    config: ActionConfig,
    data: Demonstrations,
    interface: Interface | None,
    mirrors: Mirrors = NO_MIRRORS,
) -> ActionSpaceConfig:
    """Choose the coordinates of the actions of demonstrations.

    Args:
        config: What is wanted.
        data: Demonstrations, with actions (M, H, D).
        interface: Robot, whose action tells what measures it; None if it is not known.
        mirrors: Mirrors whose images of the demonstrations are trained on too.

    Raises:
        DemonstrationError: If principal components are asked of chunks that don't vary.
    """
    horizon, size = data.actions.shape[1:]
    relative = _relative(config.relative_to, data, interface)
    wanted = config.basis == "pca" or (config.basis == "auto" and horizon > 1)
    if not wanted:
        return relative
    columns = relative.columns or (-1,) * size
    space = ActionSpace(horizon * size, ActionSpaceConfig(relative.relative_to, columns))
    actions = torch.tensor(data.actions)  # a copy: what comes from the cache is read-only
    measured = {name: torch.tensor(data.observations[name]) for name in space.streams}
    measured, actions = mirrors.everything(measured, actions)
    origin = space.origin(measured)
    values = actions.flatten(1).double()
    values = values if origin is None else values - origin
    centre, scale = space.units(values)
    variances = principal_components((values - centre) / scale)[0]
    total = variances.sum()
    if total <= 0:
        raise DemonstrationError(
            "action.basis: got pca, but all demonstrated chunks are equal; choose --action.basis "
            "none, or record motions"
        )
    kept = torch.cumsum(variances, dim=0) / total
    count = 1 + int(np.count_nonzero((kept < config.variance).numpy()))
    return ActionSpaceConfig(relative.relative_to, columns, min(count, horizon * size))


def _relative(name: str, data: Demonstrations, interface: Interface | None) -> ActionSpaceConfig:
    """Measured columns that the actions are relative to."""
    if name == "none" or (name == "auto" and interface is None):
        return ActionSpaceConfig()
    if name != "auto":
        size = data.actions.shape[2]
        shape = data.observations[name].shape[1:] if name in data.observations else ()
        if len(shape) != 2 or shape[1] < size:
            measured = [n for n, values in data.observations.items() if values.ndim == 3]
            raise DemonstrationError(
                f"action.relative_to: got {name!r}, expected auto, none or a stream with a "
                f"measurement of each of the {size} action values; measured are "
                f"{', '.join(measured) or 'no streams'}"
            )
        return ActionSpaceConfig(name, tuple(range(size)))
    assert interface is not None
    columns: list[int] = []
    streams: list[str] = []
    for action in (part.interface.command for part in interface.parts):
        own = [-1] * len(action.names)
        if not action.is_velocity and action.measured in data.observations:
            stream = interface.observation[action.measured]
            own[: len(action.fields)] = [_column(stream, field) for field in action.fields]
        columns += own
        streams += [action.measured if column >= 0 else "" for column in own]
    used = sorted(set(streams) - {""})
    if not used:
        return ActionSpaceConfig()
    return ActionSpaceConfig(used[0] if len(used) == 1 else tuple(streams), tuple(columns))


def _column(stream: Stream, field: str) -> int:
    """Column of a position in a stream; -1 for an orientation or a joint without end stops."""
    if isinstance(stream, JointStream) and field not in stream.continuous:
        return stream.fields.index("position") * len(stream.names) + stream.names.index(field)
    if isinstance(stream, PoseStream) and field in ("x", "y", "z"):
        return stream.fields.index(field)
    return -1
