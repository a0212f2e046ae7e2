"""Loading of demonstrations for train_policy: bags or arrays, and their interface."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebm_policy_ros.control.limits import Limits
from ebm_policy_ros.energy.models import ModelConfig
from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.training.data.batches import DemonstrationError
from ebm_policy_ros.training.data.checking import check_bounds
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.data.idle import trim_idle
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
    path: Path,
    interface: str,
    streams: Sequence[str] | None,
    *,
    trim: bool = False,
    **choice: Any,
) -> TrainingData:
    """Read demonstrations and check them against their interface; notes go to stderr.

    Args:
        path: A folder of bags, an .npz file, or the folder of a LeRobotDataset or zarr.
        interface: Interface file or the bare name of a shipped one; empty: as in the bags.
        streams: Streams that the model uses; None for a model's default streams if present,
            otherwise all.
        trim: True to remove idle steps at the ends of episodes and report their number; only with
            an interface, which defines idle.
        choice: Selection and cache of bags, arguments of `load_dataset`.

    Raises:
        ValueError: (or a subclass) if a file cannot be used or does not match the interface.
    """
    named = load_interface(interface_path(interface)) if interface else None
    if kind_of(path) != "bags":
        if choice.get("exclude"):
            raise DemonstrationError(f"{path}: --exclude is for bags; leave it out")
        data = read_source(path, named).dataset
        streams = streams or _usual_streams(data.observations)
        if named:
            refuse_other_shapes(path, data, named, streams)
    else:
        # The readers of bags import packages that arrays do not need.
        from ebm_policy_ros.training.data.bag_dataset import load_dataset
        from ebm_policy_ros.training.data.recorded import recorded_interface

        named = named or recorded_interface(path, choice.get("exclude"))
        streams = streams or _usual_streams(named.shapes)
        _refuse_missing(streams, named.shapes)
        data = load_dataset(path, named, **choice)
        tell_notes(data.notes)
    _refuse_missing(streams, data.observations)
    if named:
        limits = Limits.of(named)
        check_bounds(data.actions, named.action.names, limits.low, limits.high)
        if trim:
            total = len(data.actions)
            data, count = trim_idle(data, named)
            if count:
                told = f"{count} of {total} steps stand still at the ends of demonstrations"
                cure = "left out (--trim_idle false keeps them)"
                tell_notes([(str(path), f"{told}; {cure}")])
    return TrainingData(data, named, tuple(streams))


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
