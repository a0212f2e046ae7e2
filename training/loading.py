"""Loading of demonstrations, bags or arrays, for every command."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ebm_policy_ros.control.limits import part_limits
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.training.data.checking import check_bounds
from ebm_policy_ros.training.data.dataset import (
    Dataset,
    DemonstrationError,
    NothingToLearn,
    joined,
)
from ebm_policy_ros.training.data.idle import trim_idle
from ebm_policy_ros.training.data.options import EpisodeOptions
from ebm_policy_ros.training.exchange.demonstrations import Recorded, with_windows
from ebm_policy_ros.training.exchange.sources import kind_of, read_source
from ebm_policy_ros.util.resources import interface_path

_MOST_NOTES = 20


@dataclass(frozen=True)
class TrainingData:
    """Demonstrations and the robot that recorded them."""

    dataset: Dataset
    interface: Interface | None
    """The robot's interface; None for arrays without one."""
    streams: tuple[str, ...]
    """Streams that the model uses."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each stream in an observation."""
        return {name: v.shape[1:] for name, v in self.dataset.observations.items()}


def load_training_data(
    source: Path | Sequence[Path],
    options: EpisodeOptions,
    streams: Sequence[str] | None = None,
    horizon: int = 0,
) -> TrainingData:
    """Load demonstrations for a model, and check them against their interface.

    Of several sources the first one with an interface names that of all, and each keeps its best
    episodes. One that gives nothing is told and left out, unless it is the same with all.

    Args:
        source: A folder of bags, an .npz file, or the folder of a LeRobotDataset or zarr; or
            several of them.
        options: Choice of episodes and steps.
        streams: Streams that the model uses; None for a model's default streams if present,
            otherwise all.
        horizon: Actions of a decision; 0 for as many as the interface or the arrays have.

    Raises:
        ValueError: (or a subclass) if a file cannot be used or does not match the interface.
    """
    paths = [source] if isinstance(source, Path) else list(source)
    if len(paths) > 1 and options.exclude:
        raise DemonstrationError(
            f"exclude: got {options.exclude} for {len(paths)} folders, expected one; put the "
            "folders into one, and give its name"
        )
    found = (find_interface(path, options) for path in paths)
    interface = next((one for one in found if one), None)
    if interface and horizon:
        action = dataclasses.replace(interface.action, horizon=horizon)
        interface = dataclasses.replace(interface, action=action)
    parts, empty = [], []
    for path in paths:
        try:
            data, streams = _load(path, options, interface, streams, horizon)
        except NothingToLearn as nothing:
            empty.append((str(path), str(nothing).removeprefix(f"{path}: ")))
            continue
        parts.append(choose(path, data, options, interface))
    if not parts:
        raise NothingToLearn("; ".join(f"{name}: {note}" for name, note in empty))
    tell_notes(empty)
    assert streams is not None
    return TrainingData(joined(parts), interface, tuple(streams))


def _load(
    path: Path,
    options: EpisodeOptions,
    interface: Interface | None,
    streams: Sequence[str] | None,
    horizon: int,
) -> tuple[Dataset, Sequence[str]]:
    """Load the demonstrations of one source; return them and the streams that a model uses."""
    if interface and kind_of(path) == "bags":  # before they are decoded
        streams = _usual_streams(interface.shapes) if streams is None else streams
        _refuse_missing(streams, interface.shapes)
    data = read_demonstrations(path, options, interface).dataset
    if horizon > data.actions.shape[1]:
        data = with_windows(data, {}, horizon, interface.velocities if interface else ())
    elif horizon:
        data = dataclasses.replace(data, actions=data.actions[:, :horizon])
    _refuse_long_horizon(path, data)
    streams = _usual_streams(data.observations) if streams is None else streams
    if interface:
        refuse_other_shapes(path, data, interface, streams)
    _refuse_missing(streams, data.observations)
    if interface:
        limits = part_limits(interface, {})
        low, high = (
            np.concatenate([getattr(one, end) for one in limits]) for end in ("low", "high")
        )
        check_bounds(data.actions, interface.action.names, low, high)
    return data, streams


def find_interface(path: Path, options: EpisodeOptions) -> Interface | None:
    """Load the interface of demonstrations: the named one, or that of the bags.

    Returns:
        The interface; None for arrays if none is named.
    """
    if options.interface:
        return load_interface(interface_path(options.interface))
    if kind_of(path) != "bags":
        return None
    # The readers of bags import packages that arrays do not need.
    from ebm_policy_ros.training.data.bag_folder import BagFolder

    return BagFolder.open(path, options.exclude).interface()


def read_demonstrations(
    path: Path,
    options: EpisodeOptions,
    interface: Interface | None,
    streams: Mapping[str, str] | None = None,
    history: int = 1,
    horizon: int = 1,
) -> Recorded:
    """Read all chosen episodes; notes go to stderr. The arguments are those of `read_source`."""
    recorded = read_source(
        path,
        interface,
        streams,
        history,
        horizon,
        exclude=options.exclude,
        unusable=options.unusable,
        cache=options.cache,
    )
    failures = [(name, "a failure, left out") for name in recorded.dataset.failures]
    tell_notes([*recorded.dataset.notes, *failures])
    return recorded


def choose(
    path: Path, data: Dataset, options: EpisodeOptions, interface: Interface | None
) -> Dataset:
    """Leave out idle steps, whose number goes to stderr, and keep the best episodes.

    Args:
        path: Source of the demonstrations.
        data: Demonstrations, with the shapes of the interface.
        options: Choice of episodes and steps.
        interface: Defines which steps are idle; None to leave out none.
    """
    if options.trim_idle and interface:
        total = len(data.actions)
        data, count = trim_idle(data, interface)
        if count:
            told = f"{count} of {total} steps stand still at the ends of demonstrations"
            cure = "left out (--trim_idle false keeps them)"
            tell_notes([(str(path), f"{told}; {cure}")])
    return data.best(options.keep, options.keep_by) if options.keep < 1 else data


def tell_notes(notes: Sequence[tuple[str, str]]) -> None:
    """Print the notes about bags; equal notes are printed once."""
    bags: dict[str, list[str]] = {}
    for bag, note in notes:
        bags.setdefault(note, []).append(bag)
    for note, names in list(bags.items())[:_MOST_NOTES]:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print(f"{names[0]}{more}: {note}", file=sys.stderr)
    if len(bags) > _MOST_NOTES:
        print(
            f"and {len(bags) - _MOST_NOTES} more such lines; inspect_demos shows all",
            file=sys.stderr,
        )


def _refuse_long_horizon(path: Path, data: Dataset) -> None:
    longest, horizon = int(np.bincount(data.episodes).max()), data.actions.shape[1]
    if horizon > longest:
        raise DemonstrationError(
            f"{path}: a horizon of {horizon} actions, but the longest demonstration has {longest} "
            "steps; choose a shorter one"
        )


def _usual_streams(present: Collection[str]) -> tuple[str, ...]:
    """Default streams of a model."""
    usual = ModelConfig().streams
    return usual if set(usual) <= set(present) else tuple(present)


def _refuse_missing(streams: Sequence[str], present: Collection[str]) -> None:
    missing = [name for name in streams if name not in present]
    if missing:
        raise DemonstrationError(
            f"model.streams: got {missing[0]!r}, expected some of {', '.join(present)}"
        )


def refuse_other_shapes(
    path: Path, data: Dataset, interface: Interface, streams: Sequence[str]
) -> None:
    """Refuse demonstrations whose streams or actions do not have the interface's shapes.

    Raises:
        DemonstrationError: Naming the stream and both shapes.
    """
    expected = {name: interface.shapes[name] for name in streams if name in interface.shapes}
    action = (interface.action.horizon, len(interface.action.names))
    found = {name: v.shape[1:] for name, v in data.observations.items()}
    pairs = [(f"observation/{n}", found.get(n), shape) for n, shape in expected.items()]
    for name, got, shape in [*pairs, ("actions", data.actions.shape[1:], action)]:
        if got is not None and got != shape:
            raise DemonstrationError(
                f"{path}: {name} has shape {got} a step, {interface.name} says {shape}; give the "
                "interface that these arrays are of"
            )
