"""Demonstrations on their way from one format to another."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.device.malloc import available_memory
from ebm_policy_ros.messages.images import resize_image
from ebm_policy_ros.training.data.batches import DemonstrationError
from ebm_policy_ros.training.data.dataset import Dataset


class Size(NamedTuple):
    """A size that pictures are brought to."""

    shape: tuple[int, int]
    """Height and width, pixels."""
    resize: str = "stretch"
    """What becomes of another aspect ratio; see `resize_image`."""

    def fitted(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Bring an image (H, W, 3) to this size."""
        return np.asarray(resize_image(image, self.shape, resize=self.resize), np.uint8)


Sizes = Mapping[str, Size]
"""By stream."""


@dataclass(frozen=True)
class Recorded:
    """A dataset, and what formats say beyond its numbers."""

    dataset: Dataset
    rate: float | None = None
    """Steps per second, Hz; None where the format doesn't tell."""
    tasks: tuple[str, ...] = ()
    """What each of the E episodes shows, in words; empty where nothing is said."""
    robot: str = ""
    """Kind of robot, for people."""
    dimensions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of the dimensions of streams, and of `action`, where they have some."""


def with_windows(
    data: Dataset,
    history: Mapping[str, int],
    horizon: int,
    velocities: int = 0,
) -> Dataset:
    """Observations of several samples, and chunks of actions, from those of single steps.

    Formats of one row a step say both through the rows before and after. Before its first step an
    episode is taken to have stood still; after its last action a position is held, and a velocity
    is zero, as for bags.

    Args:
        data: With one action a step, and one sample of each stream that is to have several.
        history: Samples of each stream, oldest first; one for those that aren't named.
        horizon: Actions a decision.
        velocities: How many of the action's dimensions, from the first on, are velocities.

    Raises:
        DemonstrationError: If there is more than one sample or action a step already.
    """
    lengths = np.bincount(data.episodes)
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    last = np.repeat(np.cumsum(lengths) - 1, lengths)
    steps = np.arange(len(data.episodes))
    observations = dict(data.observations)
    for name, count in history.items():
        if count == 1:
            continue
        _refuse_several(f"observation/{name}", data.observations[name].shape[1])
        rows = np.maximum(steps[:, None] + np.arange(1 - count, 1), first[:, None])
        observations[name] = data.observations[name][:, 0][rows]
    actions = data.actions
    if horizon > 1:
        _refuse_several("actions", actions.shape[1])
        ahead = steps[:, None] + np.arange(horizon)
        actions = actions[:, 0][np.minimum(ahead, last[:, None])]
        over: npt.NDArray[np.bool_] = ahead > last[:, None]
        actions[over, :velocities] = 0.0
    return dataclasses.replace(data, observations=observations, actions=actions)


def _refuse_several(name: str, count: int) -> None:
    if count != 1:
        raise DemonstrationError(
            f"{name}: has {count} a step already, expected one; leave history and horizon at 1"
        )


def check_memory(path: Path, size: int) -> None:
    """Refuse what is larger than the memory that is free.

    Args:
        path: The file or folder.
        size: Bytes that reading it takes.

    Raises:
        DemonstrationError: If there are fewer.
    """
    if size > (most := available_memory()):
        raise DemonstrationError(
            f"{path}: reading it takes {size:,} bytes of memory, {most:,} are free; give smaller "
            "images or fewer streams"
        )


def needed_module(name: str, what: str) -> ModuleType:
    """A module of the extra `exchange`, which most users don't need.

    Raises:
        DemonstrationError: If it isn't installed, with the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).partition(".")[0]
        raise DemonstrationError(
            f"{what} needs the package {missing}; install it with: pip install {missing}"
        ) from None
