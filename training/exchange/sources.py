"""Reading of demonstrations from any supported format."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ebm_policy_ros.interface import ImageStream, Interface, JointStream
from ebm_policy_ros.training.data.arrays import load_arrays
from ebm_policy_ros.training.data.dataset import Dataset, DemonstrationError
from ebm_policy_ros.training.exchange import lerobot
from ebm_policy_ros.training.exchange.demonstrations import Recorded, Size, Sizes, with_windows
from ebm_policy_ros.training.exchange.replay_buffer import read_replay_buffer

Kind = Literal["arrays", "lerobot", "zarr", "bags"]


def kind_of(path: Path) -> Kind:
    """Detect the format of a path by its content; bags by default."""
    if path.suffix == ".npz":
        return "arrays"
    if (path / lerobot.INFO).exists():
        return "lerobot"
    if (path / ".zgroup").exists() or (path / "zarr.json").exists() or path.suffix == ".zarr":
        return "zarr"
    return "bags"


def read_source(
    path: Path,
    interface: Interface | None = None,
    streams: Mapping[str, str] | None = None,
    history: int = 1,
    horizon: int = 1,
    **choice: Any,
) -> Recorded:
    """Read demonstrations of any format.

    Args:
        path: A folder of bags, an .npz file, or the folder of a LeRobotDataset or zarr.
        interface: Sets the size of images, the history of streams and the horizon of actions; bags
            need one.
        streams: Array, feature or stream to read for each stream name; None for all.
        history: Samples of each measured stream, without an interface.
        horizon: Actions of a decision, without an interface.
        choice: Choice and cache of bags, arguments of `load_dataset`.

    Raises:
        ValueError: (or a subclass) if something cannot be used; the text names it.
    """
    kind = kind_of(path)
    if kind != "bags" and choice.get("exclude"):
        raise DemonstrationError(f"{path}: --exclude is for bags; leave it out")
    # The readers of bags and LeRobotDatasets import packages that the other formats do not need.
    if kind == "bags":
        if interface is None:
            raise DemonstrationError(f"{path}: bags need an interface; name one with --interface")
        from ebm_policy_ros.training.data.bag_dataset import load_dataset

        whole = Recorded(load_dataset(path, interface, **choice))
    elif kind == "arrays":
        whole = Recorded(load_arrays(path))
    else:
        sizes = _sizes(interface)
        if kind == "lerobot":
            from ebm_policy_ros.training.exchange.lerobot_reader import read_lerobot

            whole = read_lerobot(path, streams, sizes)
        else:
            whole = read_replay_buffer(path, streams, sizes)
        whole = dataclasses.replace(
            whole, dataset=_windows(whole.dataset, interface, history, horizon)
        )
    if kind in ("bags", "arrays") and streams is not None:
        whole = dataclasses.replace(whole, dataset=_renamed(path, whole.dataset, streams))
    return whole if interface is None else _of(path, whole, interface)


def _sizes(interface: Interface | None) -> Sizes:
    if interface is None:
        return {}
    streams = interface.observation.items()
    return {n: Size(s.size, s.resize) for n, s in streams if isinstance(s, ImageStream)}


def _windows(data: Dataset, interface: Interface | None, history: int, horizon: int) -> Dataset:
    if interface is None:
        measured = [name for name, values in data.observations.items() if values.ndim == 3]
        return with_windows(data, dict.fromkeys(measured, history), horizon)
    counts = {
        name: interface.observation[name].history
        for name in data.observations
        if name in interface.observation
    }
    return with_windows(data, counts, interface.action.horizon, interface.velocities)


def _renamed(path: Path, data: Dataset, streams: Mapping[str, str]) -> Dataset:
    for source in streams.values():
        if source not in data.observations:
            raise DemonstrationError(
                f"{path}: no stream {source!r}, only {', '.join(data.observations)}"
            )
    chosen = {name: data.observations[source] for name, source in streams.items()}
    return dataclasses.replace(data, observations=chosen)


def _of(path: Path, recorded: Recorded, interface: Interface) -> Recorded:
    """Add the interface's rate, robot and dimension names."""
    if recorded.rate is not None and abs(recorded.rate - interface.rate) > 1e-6 * interface.rate:
        raise DemonstrationError(
            f"{path}: {recorded.rate:g} steps per second, {interface.name} has a rate of "
            f"{interface.rate:g} Hz; give an interface of the same rate"
        )
    names = {
        name: stream.names
        for name, stream in interface.observation.items()
        if isinstance(stream, JointStream) and len(stream.fields) == 1
    }
    names |= {
        name: stream.fields
        for name, stream in interface.observation.items()
        if not isinstance(stream, (ImageStream, JointStream))
    }
    return dataclasses.replace(
        recorded,
        rate=float(interface.rate),
        robot=recorded.robot or interface.name,
        dimensions={**names, "action": interface.action.names},
    )
