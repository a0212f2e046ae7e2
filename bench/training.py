"""Training steps per second compared with plain eager PyTorch, on demonstrations in memory.

Prints a table; overwrites training.json (out/bench).

    python bench/training.py --threads 2
    python bench/training.py --device cuda
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from plain_training import PlainTraining
from torch.utils.flop_counter import FlopCounterMode

from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import EnergyModel, build_model
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.experiments.common import dataset
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.negatives import NegativesConfig
from ebm_policy_ros.training.learning.trainer import Trainer

FRAMES = 4000
# The first steps select kernels and fill caches.
WARM_UPS = 3
SMALL_BATCH = 8


@dataclass(frozen=True)
class Case:
    """A model and its training settings."""

    name: str
    shapes: dict[str, tuple[int, ...]]
    model: ModelConfig
    learning: LearningConfig
    target: str = ""
    """Target on a GPU."""


CASES = (
    Case(
        "the demo's pixel model (config/training/push.yaml)",
        {"camera": (1, 96, 128, 3), "tool": (1, 2)},
        ModelConfig(head=HeadConfig(width=128)),
        LearningConfig(image_shift=4),
        "steps/s >= 300",
    ),
    Case(
        "state of 10, batch 512, 256 uniform, head 128 x 8",
        {"state": (1, 10)},
        ModelConfig(streams=("state",), head=HeadConfig("preactivation", 128, 4)),
        LearningConfig(batch_size=512, negatives=NegativesConfig(count=256)),
        "steps/s >= 500",
    ),
    Case(
        "state of 10, batch 512, 8 from chains of 100, head 256 x 2",
        {"state": (1, 10)},
        ModelConfig(streams=("state",), head=HeadConfig("mlp", 256, 2)),
        LearningConfig(
            batch_size=512,
            negatives=NegativesConfig("chain", 8, chain=Langevin(iterations=100, polish=0)),
        ),
        "steps/s >= 100",
    ),
)


def demonstrations(shapes: dict[str, tuple[int, ...]]) -> Dataset:
    """Noise, of one frame each: the content does not affect the time."""
    rng = np.random.default_rng(0)
    observations = {
        name: rng.integers(0, 256, (FRAMES, *shape), np.uint8)
        if len(shape) == 3
        else rng.normal(size=(FRAMES, *shape)).astype(np.float32)
        for name, (_, *shape) in shapes.items()
    }
    actions = rng.normal(size=(FRAMES, 2)).astype(np.float32)
    return dataset(observations, actions, np.arange(FRAMES) // 100)


def make_trainer(case: Case, folder: Path, device: str) -> Trainer:
    """A new run of the package's own training."""
    torch.manual_seed(0)
    return Trainer(
        build_model(case.model, case.shapes, 2),
        demonstrations(case.shapes),
        case.learning,
        DerivativeFree(256),
        steps=5000,
        seed=0,
        folder=folder,
        device=device,
    )


def make_plain(case: Case, device: str) -> PlainTraining:
    """The same training in plain eager PyTorch."""
    torch.manual_seed(0)
    model = build_model(case.model, case.shapes, 2)
    assert isinstance(model, EnergyModel)
    kind = case.model.head.kind
    return PlainTraining(model, kind, demonstrations(case.shapes), case.learning, device)


def seconds_of(updates: list[Callable[[], Any]], limit: float, device: str) -> list[list[float]]:
    """Seconds of each step of several trainings, sorted.

    They alternate, so that other load on the machine affects all.
    """
    for update in updates:
        for _ in range(WARM_UPS):
            update()
    times: list[list[float]] = [[] for _ in updates]
    end = time.perf_counter() + limit
    while not times[0] or time.perf_counter() < end:
        for update, own in zip(updates, times, strict=True):
            started = time.perf_counter()
            update()
            machine.wait(device)  # for the optimizer's step, which comes after the loss
            own.append(time.perf_counter() - started)
    return [sorted(own) for own in times]


def gflop(case: Case, folder: Path) -> float:
    """GFLOP of a training step, scaled from a small batch to the batch size."""

    def counted(iterations: int) -> int:
        trainer = make_trainer(small(case, iterations), folder, "cpu")
        with FlopCounterMode(display=False) as counter:
            trainer.update()
        return counter.get_total_flops()

    total = counted(2)
    if case.learning.negatives.source == "chain":
        total += (counted(3) - total) * (case.learning.negatives.chain.iterations - 2)
    return total * case.learning.batch_size / SMALL_BATCH / 1e9


def small(case: Case, iterations: int = 2) -> Case:
    """The same case with short chains, and a batch that any machine can train on."""
    chain = replace(case.learning.negatives.chain, iterations=iterations)
    negatives = replace(case.learning.negatives, chain=chain)
    learning = replace(case.learning, negatives=negatives, batch_size=SMALL_BATCH)
    return replace(case, learning=learning)


def measure(case: Case, seconds: float, device: str, about: dict[str, Any]) -> dict[str, Any]:
    """Measure a row of the table, as JSON values.

    Args:
        case: Case to measure.
        seconds: Measuring time.
        device: Device, as torch names it.
        about: Limits of the machine, from `machine.describe`.
    """
    with tempfile.TemporaryDirectory() as folder:
        flop = gflop(case, Path(folder))
        updates = [make_trainer(case, Path(folder), device).update]
        updates.append(make_plain(case, device).update)
        ours, other = seconds_of(updates, seconds, device)
    median, plainly = ours[len(ours) // 2], other[len(other) // 2]
    limit = "fp32" if device == "cpu" else "bf16"
    return {
        "case": case.name,
        "device": device,
        "n": len(ours),
        "median_ms": 1e3 * median,
        "fastest_ms": 1e3 * ours[0],
        "steps_per_second": 1 / median,
        "GFLOP": flop,
        "limit": limit,
        "share": flop / median / about[f"GFLOP/s {limit}"],
        "plain_ms": 1e3 * plainly,
        "ratio": plainly / median,
        "target": case.target if device != "cpu" else "",
    }


def main() -> None:
    """Measure, print and write the results."""
    options = machine.options(__doc__, seconds=20.0)
    about = machine.describe(options.device)
    print(about)
    print(
        "| training | n | median ms | steps/s | GFLOP | of rate | plain ms | ratio | target |\n"
        + "|---" * 9 + "|"
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    failed = 0
    for case in CASES:
        chosen = small(case) if options.small else case
        try:
            row = measure(chosen, options.seconds, options.device, about)
            line = (
                "| {case} | {n} | {median_ms:.2f} | {steps_per_second:.1f} | {GFLOP:.2f} "
                "| {share:.1%} | {plain_ms:.2f} | {ratio:.1f} | {target} |"
            )
            print(line.format_map(row), flush=True)
        except Exception as error:  # keep the other rows
            row = {"case": case.name, "target": case.target, "failed": repr(error)}
            print(f"{case.name}: {error!r}", flush=True)
            failed += 1
        rows.append(row)
        machine.write_rows(options.out / "training.json", about, rows)
    if failed:
        raise SystemExit(f"{failed} of {len(CASES)} cases failed")


if __name__ == "__main__":
    main()
