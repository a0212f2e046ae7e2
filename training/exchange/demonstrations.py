"""Demonstrations during conversion between formats."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.device.malloc import available_memory
from ebm_policy_ros.messages.images import resize_image
from ebm_policy_ros.training.data.dataset import Dataset, DemonstrationError


class Size(NamedTuple):
    """Target size of images."""

    shape: tuple[int, int]
    """Height and width, pixels."""
    resize: str = "stretch"
    """Method for another aspect ratio; see `resize_image`."""

    def fitted(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Resize an image (H, W, 3) to this size."""
        return np.asarray(resize_image(image, self.shape, resize=self.resize), np.uint8)


Sizes = Mapping[str, Size]
"""Size by stream."""


@dataclass(frozen=True)
class Recorded:
    """A dataset with the metadata that formats store."""

    dataset: Dataset
    rate: float | None = None
    """Steps per second, Hz; None if the format does not give it."""
    tasks: tuple[str, ...] = ()
    """Task description of each of the E episodes; empty if unknown."""
    robot: str = ""
    """Robot type, a free text."""
    dimensions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of the dimensions of streams and of `action`, where known."""


def with_windows(
    data: Dataset,
    history: Mapping[str, int],
    horizon: int,
    velocities: Sequence[int] = (),
) -> Dataset:
    """Build observations of several samples and action chunks from single steps.

    Formats of one row per step express both through the rows before and after. Before its first
    step an episode is assumed to be at rest. After its last action a position is held and a
    velocity is zero, as for bags.

    Args:
        data: Demonstrations with one action per step, and one sample of each stream that is to
            have several.
        history: Samples of each stream, oldest first; one for streams that are not named.
        horizon: Actions of a decision.
        velocities: Indices of the action's dimensions that are velocities.

    Raises:
        DemonstrationError: If there is already more than one sample or action per step.
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
        # Columns are assigned one after the other: two arrays as indices would be pairs.
        for column in velocities:
            actions[over, column] = 0.0
    return dataclasses.replace(data, observations=observations, actions=actions)


def split_at_gaps(data: Dataset, period_ns: int) -> Dataset:
    """Make each run of steps without a gap an episode, for formats of one row per step.

    Args:
        data: Demonstrations.
        period_ns: Time from step to step, nanoseconds.

    Returns:
        The episodes; the notes are those about the split alone.
    """
    if data.times_ns is None:
        return dataclasses.replace(data, notes=())
    begins = np.diff(data.episodes, prepend=-1) != 0
    begins[1:] |= np.diff(data.times_ns) != period_ns
    whole = data.episodes[begins]
    counts = np.bincount(whole)
    numbers = np.arange(len(whole)) - (np.cumsum(counts) - counts)[whole]
    return dataclasses.replace(
        data,
        episodes=np.cumsum(begins) - 1,
        names=tuple(
            f"{data.names[i]}[{number}]" if counts[i] > 1 else data.names[i]
            for i, number in zip(whole, numbers, strict=True)
        ),
        outcomes=data.outcomes[whole],
        notes=tuple(
            (name, f"has gaps; became {count} episodes")
            for name, count in zip(data.names, counts, strict=True)
            if count > 1
        ),
    )


def _refuse_several(name: str, count: int) -> None:
    if count != 1:
        raise DemonstrationError(
            f"{name}: has {count} a step already, expected one; leave history and horizon at 1"
        )


def check_memory(path: Path, size: int) -> None:
    """Refuse data that is larger than the free memory.

    Args:
        path: The file or folder.
        size: Bytes needed to read it.

    Raises:
        DemonstrationError: If fewer bytes are free.
    """
    if size > (most := available_memory()):
        raise DemonstrationError(
            f"{path}: reading it takes {size:,} bytes of memory, {most:,} are free; give smaller "
            "images or fewer streams"
        )


def needed_module(name: str, what: str) -> ModuleType:
    """Import a module of the extra `exchange`, which most users do not need.

    Raises:
        DemonstrationError: If it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).partition(".")[0]
        raise DemonstrationError(
            f"{what} needs the package {missing}; install it with: pip install {missing}"
        ) from None
