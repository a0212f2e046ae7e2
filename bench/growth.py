"""Growth of time and memory with the size of a decision, of a training and of a set of bags.

Prints tables; overwrites growth.json and growth.png (out/bench). A slope of 1 on these log scales
means that twice the size takes twice as long.

    python bench/growth.py --threads 1 --seconds 3
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import machine
import numpy as np
import reading
import torch

from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import build_model
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.methods import settings_of
from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.policy.file import PolicyFile, save_policy
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.data.bag_dataset import load_dataset
from ebm_policy_ros.training.experiments.common import dataset
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.trainer import Trainer
from ebm_policy_ros.util.resources import interface_path

HEAD = HeadConfig("preactivation", 128, 4)
DECISION = {"candidates": 2048, "values": 2, "horizon": 1, "cameras": 0}
"""Candidates of a round, values of an action, actions of a decision, pictures."""
# Steps of a synthetic demonstration, and their pictures.
STEPS, PICTURE = 40, (48, 64, 3)
# A bag of four seconds.
BAG = reading.Case("growth", 0, (60, 80), 10, 10, seconds=4)


@dataclass(frozen=True)
class Series:
    """One cost over one size."""

    name: str
    what: str
    """Size that grows."""
    sizes: tuple[int, ...]
    measure: Callable[[int], dict[str, float]]
    """Function of the size, run in a process of its own: seconds, and bytes of its memory."""
    seconds: str
    """Meaning of the seconds."""


def decision(seconds: float, name: str, fixed: Mapping[str, int], size: int) -> dict[str, float]:
    """Median time of a decision on random observations, by random weights.

    Args:
        seconds: Measuring time.
        name: Part of `DECISION` that has the size.
        fixed: Other parts that differ from it.
        size: Size of the part.
    """
    candidates, values, horizon, cameras = {**DECISION, **fixed, name: size}.values()
    shapes: dict[str, tuple[int, ...]] = {"state": (1, 10)}
    shapes |= {f"camera{number}": (1, 96, 128, 3) for number in range(cameras)}
    config = ModelConfig(streams=tuple(shapes), trunk_depth=0, head=HEAD)
    torch.manual_seed(0)
    model = build_model(config, shapes, values * horizon)
    search = settings_of(DerivativeFree(candidates))
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.safetensors"
        shape = (horizon, values)
        save_policy(
            path,
            PolicyFile(model.state_dict(), config.to_dict(), shapes, shape, None, search, {}),
        )
        policy = Policy.load(path, "cpu")
    seen = {
        name: random.integers(0, 256, shape, np.uint8)
        if len(shape) == 4
        else random.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    policy.warm_up()
    return _timed(partial(policy.decide, seen), seconds)


def training(seconds: float, file: Path, demonstrations: int) -> dict[str, float]:
    """Median time of a training step, with pictures that are mapped from a file."""
    count = demonstrations * STEPS
    pictures = np.load(file, mmap_mode="r")[:count]
    random = np.random.default_rng(0)
    actions = random.normal(size=(count, 2)).astype(np.float32)
    data = dataset({"camera": pictures}, actions, np.arange(count) // STEPS)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            build_model(ModelConfig(streams=("camera",)), {"camera": (1, *PICTURE)}, 2),
            data, LearningConfig(batch_size=64), DerivativeFree(256),
            steps=10**6, seed=0, folder=Path(folder),
        )  # fmt: skip
        return _timed(trainer.update, seconds)


def bags(folder: Path, episodes: int) -> dict[str, float]:
    """Time to decode so many episodes of a folder; the recorder's own writer makes them."""
    interface = load_interface(interface_path("ur5e_push"))
    some = folder / str(episodes)
    reading.record(some, interface, BAG._replace(episodes=episodes))
    started = time.perf_counter()
    load_dataset(some, interface)
    return {"seconds": time.perf_counter() - started, "bytes": machine.held_memory()}


def _timed(work: Callable[[], Any], seconds: float) -> dict[str, float]:
    for _ in range(3):
        work()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < until:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return {"seconds": float(np.median(times)), "bytes": machine.held_memory()}


def all_series(seconds: float, folder: Path, small: bool) -> list[Series]:
    """Everything that is measured; `small` is for a trial of the program."""
    pictures = folder / "pictures.npy"

    def sizes(*found: int) -> tuple[int, ...]:
        return found[:3] if small else found

    def deciding(
        name: str, what: str, sizes: tuple[int, ...], fixed: Mapping[str, int] | None = None
    ) -> Series:
        work = partial(decision, seconds, name, fixed or {})
        return Series(name, what, sizes, work, "of a decision")

    return [
        deciding("candidates", "candidates of a round", sizes(256, 1024, 4096, 16384, 65536)),
        deciding("values", "values of an action", sizes(1, 2, 4, 8, 16, 32, 64)),
        deciding("horizon", "actions of a decision, of 7 values", sizes(1, 2, 4, 8, 16, 32),
                 {"values": 7}),
        deciding("cameras", "pictures of 96x128", sizes(1, 2, 4, 8)),
        Series("demonstrations", f"demonstrations of {STEPS} pictures of 48x64",
               sizes(10, 100, 1000, 10000), partial(training, seconds, pictures),
               "of a training step"),
        Series("bags", "bags of four seconds", sizes(1, 10, 100, 1000),
               partial(bags, folder), "to decode them all"),
    ]  # fmt: skip


def write_pictures(file: Path, demonstrations: int) -> None:
    """Write pictures of noise, (M, H, W, 3), in parts."""
    count = demonstrations * STEPS
    found: Any = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        file, "w+", np.uint8, (count, *PICTURE)
    )
    noise = np.random.default_rng(0).integers(0, 256, (STEPS, *PICTURE), np.uint8)
    for first in range(0, count, STEPS):
        found[first : first + STEPS] = noise
    found.flush()


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope on log scales over the upper half of the sizes, where constant costs matter least."""
    half = len(sizes) // 2
    x, y = np.log(sizes[half:]), np.log(values[half:])
    return float(np.polyfit(x, y, 1)[0])


def measure(series: Series, threads: int) -> list[dict[str, Any]]:
    """Measure one series, each size in a fresh process, whose memory starts small."""
    rows = []
    for size in series.sizes:
        with ProcessPoolExecutor(
            1, get_context("spawn"), torch.set_num_threads, (threads,)
        ) as pool:
            found = pool.submit(series.measure, size).result()
        rows.append({"series": series.name, "size": size, **found})
        milliseconds, megabytes = 1e3 * found["seconds"], 1e-6 * found["bytes"]
        print(f"| {size:,} | {milliseconds:,.4g} | {megabytes:,.0f} |", flush=True)
    return rows


def draw(found: Mapping[str, list[dict[str, Any]]], every: Sequence[Series], path: Path) -> None:
    """Draw one panel for each series, with its slopes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    for panel, series in zip(figure.subplots(2, 3).flat, every, strict=True):
        rows = found[series.name]
        sizes = [row["size"] for row in rows]
        for key, factor, unit, colour in (
            ("seconds", 1e3, f"ms {series.seconds}", "#1f6f8b"),
            ("bytes", 1e-6, "MB of memory", "#c9a86a"),
        ):
            values = [factor * row[key] for row in rows]
            label = f"{unit}, slope {slope(sizes, values):.2f}"
            panel.plot(sizes, values, "o-", color=colour, label=label)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel(series.what)
        panel.legend(fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print and write the results."""
    options = machine.options(__doc__, seconds=3.0)
    about = machine.describe("cpu")
    print(about)
    rows: list[dict[str, Any]] = []
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        every = all_series(options.seconds, Path(folder), options.small)
        write_pictures(Path(folder) / "pictures.npy", max(every[4].sizes))
        for series in every:
            print(f"\n| {series.what} | ms {series.seconds} | MB |\n|---|---|---|", flush=True)
            found[series.name] = measure(series, torch.get_num_threads())
            sizes = [row["size"] for row in found[series.name]]
            slopes = {
                key: slope(sizes, [row[key] for row in found[series.name]])
                for key in ("seconds", "bytes")
            }
            print(f"slopes: {slopes['seconds']:.2f} of time, {slopes['bytes']:.2f} of memory")
            rows += found[series.name]
            machine.write_rows(options.out / "growth.json", about, rows)
        draw(found, every, options.out / "growth.png")


if __name__ == "__main__":
    main()
