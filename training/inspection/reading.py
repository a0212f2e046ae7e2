"""Reading of bags for the inspection, one at a time, so that few are in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import ImageStream, Interface
from ebm_policy_ros.training.data.bag_folder import BagFolder, read_demonstration
from ebm_policy_ros.training.data.episodes import Episode
from ebm_policy_ros.training.data.frame_sizes import Shapes, other_sizes
from ebm_policy_ros.training.data.parallel import read_each
from ebm_policy_ros.training.data.timeline import StreamMetrics
from ebm_policy_ros.training.inspection.executions import (
    BEFORE,
    ExecutionView,
    view_execution,
)
from ebm_policy_ros.training.inspection.metrics import EpisodeMetrics, episode_metrics, seconds
from ebm_policy_ros.training.inspection.pictures import FilmStrip, film_strip


@dataclass(frozen=True)
class Recording:
    """An episode without its images; M steps."""

    name: str
    """Path of the bag, relative to the folder."""
    outcome: str
    metrics: EpisodeMetrics
    times: npt.NDArray[np.float64]
    """Times of the steps, s from the first step, shape (M,)."""
    pieces: tuple[slice, ...]
    """Runs of steps without a gap."""
    actions: npt.NDArray[np.float32]
    """First action of each step in the interface's units, shape (M, D)."""
    states: Mapping[str, npt.NDArray[np.float32]]
    """Stream of numbers -> newest sample of each step, (M, K)."""
    strips: Mapping[str, FilmStrip]
    """Camera -> its film strip."""
    notes: tuple[str, ...]
    jumps: tuple[str, ...]
    """Notes about jumps of the arm."""
    streams: Mapping[str, StreamMetrics]
    shapes: Shapes
    """Sizes of each camera's frames before resizing."""
    differences: tuple[str, ...]
    """Differences of the interface that it was recorded with."""
    execution: ExecutionView | None = None
    """Execution of a policy, shown as a whole; None for a demonstration."""

    @property
    def teaches(self) -> bool:
        """True if training learns from it, if it is neither excluded nor a failure."""
        return self.execution is None or self.execution.teaches


@dataclass(frozen=True)
class Unusable:
    """A bag that cannot be read."""

    name: str
    """Path of the bag, relative to the folder."""
    reason: str


def read_recordings(
    folder: BagFolder, interface: Interface, before: float = BEFORE
) -> list[Recording | Unusable]:
    """Read every bag, several in parallel; unusable ones are returned with the reason.

    Those that training uses are the episodes of `load_dataset`; executions of a policy have the
    policy's steps too. Failures and excluded bags are read too.

    Args:
        folder: Bags, and those that are excluded.
        interface: Topics, rate, ages and sizes.
        before: Time before a stop that is shown, s.
    """
    read = partial(_read, folder=folder.path, interface=interface, before=before)
    found = dict(read_each(read, folder.bags))
    used = {
        bag: one
        for bag, one in found.items()
        if isinstance(one, Recording) and folder.counts(bag, one.outcome)
    }
    told = other_sizes([one.shapes for one in used.values()])
    for (bag, one), notes in zip(used.items(), told, strict=True):
        found[bag] = replace(one, notes=(*one.notes, *notes))
    return list(found.values())


def make_recording(
    name: str, episode: Episode, interface: Interface, before: float = BEFORE
) -> Recording:
    """Extract the parts of an episode that the inspection keeps.

    Args:
        name: Path of the bag, relative to the folder.
        episode: Episode read with the interface.
        interface: Names the cameras, and the bounds.
        before: Time before a stop that is shown, s.
    """
    times = seconds(episode.times_ns, interface)
    cameras = [n for n, s in interface.observation.items() if isinstance(s, ImageStream)]
    newest = {stream: values[:, -1] for stream, values in episode.observations.items()}
    return Recording(
        name=name,
        outcome=episode.outcome,
        metrics=episode_metrics(episode, interface),
        times=times,
        pieces=tuple(episode.pieces(interface.period_ns)),
        actions=episode.actions[:, 0],
        # Copies: a view would keep the whole array in memory.
        states={n: v.copy() for n, v in newest.items() if n not in cameras},
        strips={camera: film_strip(newest[camera], times) for camera in cameras},
        notes=episode.notes,
        jumps=episode.jumps,
        streams=dict(episode.streams),
        shapes=episode.shapes,
        differences=episode.differences,
        execution=view_execution(
            episode, times, {camera: newest[camera] for camera in cameras}, before
        ),
    )


def _read(bag: Path, folder: Path, interface: Interface, before: float) -> Recording | Unusable:
    name = bag.relative_to(folder).as_posix()
    try:
        episode = read_demonstration(bag, interface, whole=True)
        return make_recording(name, episode, interface, before)
    except (BagError, OSError) as error:
        return Unusable(name, str(error).removeprefix(f"{bag}: "))
