"""Command convert_demos: conversion of demonstrations between formats."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ebm_policy_ros.inference.settings import at_least
from ebm_policy_ros.training.data.arrays import save_arrays
from ebm_policy_ros.training.data.dataset import DemonstrationError
from ebm_policy_ros.training.data.options import EpisodeOptions
from ebm_policy_ros.training.exchange.demonstrations import Recorded, split_at_gaps
from ebm_policy_ros.training.exchange.lerobot_writer import write_lerobot
from ebm_policy_ros.training.loading import (
    choose,
    find_interface,
    read_demonstrations,
    refuse_other_shapes,
    tell_notes,
)
from ebm_policy_ros.util.cli import run_command


@dataclass(frozen=True)
class ConvertConfig(EpisodeOptions):
    """Convert demonstrations: reads bags, .npz, LeRobot v3 or zarr; writes .npz or LeRobot v3."""

    source: Path
    """Folder of bags, .npz file, folder of a LeRobotDataset v3, or .zarr folder of Diffusion
    Policy. The format is detected from the content."""
    out: Path
    """Output: an .npz file, otherwise the folder of a LeRobotDataset v3. It must not exist."""
    streams: dict[str, str] | None = None
    """Streams to read, by output name: `{state: data/state}` of a zarr, `{hand: camera}` of bags
    or an .npz, `{tool: observation.state}` of a LeRobotDataset. Default: all, with their own
    names."""
    history: int = 1
    """Samples of each measured stream in an observation of a zarr or LeRobotDataset, taken from
    the previous steps. An interface sets it itself."""
    horizon: int = 1
    """Actions of a decision, taken from the following steps. An interface sets it itself."""
    fps: float | None = None
    """Steps per second of the output, Hz, if neither source nor interface gives them."""
    task: str | None = None
    """Task description for a LeRobotDataset. Default: as in the source."""
    robot: str | None = None
    """Robot type for a LeRobotDataset. Default: as in the source, or the interface's name."""
    video: bool = False
    """Write images as videos (small, lossy) instead of PNG files in the rows (exact)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "history", "horizon")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ValueError(f"fps: got {self.fps}, expected a number above 0")
        if self.streams == {}:
            raise ValueError("streams: got none, expected at least one as {NAME: SOURCE}")


def main(argv: list[str] | None = None) -> None:
    """Run the command convert_demos; `argv` replaces the command line's arguments."""
    switches = {"video": "Write images as videos (small, lossy), not as PNG (exact)."}
    run_command("convert_demos", ConvertConfig, convert, argv, switches=switches)


def convert(config: ConvertConfig) -> None:
    """Convert as `config` describes, and print a summary of the output.

    Raises:
        ValueError: (or a subclass) with a message of one line, if something cannot be used.
            Nothing is written then.
    """
    if config.out.exists():
        raise DemonstrationError(f"{config.out}: is there already; choose another")
    if config.out.suffix == ".zarr":
        raise DemonstrationError(f"{config.out}: zarr is only read; give an .npz file or a folder")
    arrays = config.out.suffix == ".npz"
    interface = find_interface(config.source, config)
    recorded = read_demonstrations(
        config.source, config, interface, config.streams, config.history, config.horizon
    )
    data = recorded.dataset
    if interface is not None:
        refuse_other_shapes(config.source, data, interface, list(interface.observation))
    data = choose(config.source, data, config, interface)
    if interface is not None and not arrays:
        data = split_at_gaps(data, interface.period_ns)
        tell_notes(data.notes)
    recorded = dataclasses.replace(recorded, dataset=data)
    rate = _rate(config, recorded)
    if not arrays and rate is None:
        raise DemonstrationError(
            f"{config.source}: doesn't say how many steps a second it has; give --fps"
        )
    if config.task is not None:
        recorded = dataclasses.replace(
            recorded, tasks=(config.task,) * len(recorded.dataset.names)
        )
    if config.robot is not None:
        recorded = dataclasses.replace(recorded, robot=config.robot)
    with _made_whole(config.out) as part:
        if arrays:
            save_arrays(part, recorded.dataset)
        else:
            assert rate is not None
            write_lerobot(part, recorded, rate, config.video)
    _tell(config.out, recorded, arrays)


@contextmanager
def _made_whole(out: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `out` at the end, so `out` is never incomplete."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        part = Path(folder) / out.name
        yield part
        part.rename(out)


def _rate(config: ConvertConfig, recorded: Recorded) -> float | None:
    if config.fps is not None and recorded.rate not in (None, config.fps):
        raise DemonstrationError(
            f"fps: got {config.fps:g}, but {config.source} has {recorded.rate:g} steps per second"
        )
    return config.fps if recorded.rate is None else recorded.rate


def _tell(out: Path, recorded: Recorded, arrays: bool) -> None:
    data = recorded.dataset
    print(f"{out}: {len(data.names)} episodes, {len(data.episodes)} steps")
    if arrays:
        return
    several = {n: v.shape[1] for n, v in data.observations.items() if v.shape[1] > 1}
    for name, count in several.items():
        print(f"{name}: the newest of {count} samples a step; --history {count} restores them")
    if data.actions.shape[1] > 1:
        count = data.actions.shape[1]
        print(f"actions: the first of {count} a step; --horizon {count} restores them")


if __name__ == "__main__":
    main()
