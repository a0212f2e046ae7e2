"""Training steps per second, on demonstrations made in memory."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import machine
import numpy as np
import torch

from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.models import ModelConfig, build_model
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.training.dataset import Dataset
from ebm_policy_ros.training.experiments.common import dataset
from ebm_policy_ros.training.learning import LearningConfig
from ebm_policy_ros.training.negatives import NegativesConfig
from ebm_policy_ros.training.trainer import Trainer

FRAMES = 4000
# The first ones choose kernels and fill caches.
WARM_UPS = 3


@dataclass(frozen=True)
class Case:
    """A model and how it learns."""

    name: str
    shapes: dict[str, tuple[int, ...]]
    model: ModelConfig
    learning: LearningConfig


CASES = (
    Case(
        "the demo's pixel model (config/training/push.yaml)",
        {"camera": (1, 96, 128, 3), "tool": (1, 2)},
        ModelConfig(head=HeadConfig(width=128)),
        LearningConfig(image_shift=4),
    ),
    Case(
        "state of 10, batch 512, 256 uniform, head 128 x 8",
        {"state": (1, 10)},
        ModelConfig(streams=("state",), head=HeadConfig("preactivation", 128, 4)),
        LearningConfig(batch_size=512, negatives=NegativesConfig(count=256)),
    ),
    Case(
        "state of 10, batch 512, 8 from chains of 100, head 256 x 2",
        {"state": (1, 10)},
        ModelConfig(streams=("state",), head=HeadConfig("mlp", 256, 2)),
        LearningConfig(
            batch_size=512,
            negatives=NegativesConfig("chain", 8, chain=Langevin(iterations=100, polish=0)),
        ),
    ),
)


def demonstrations(shapes: dict[str, tuple[int, ...]]) -> Dataset:
    """Noise, of one frame each: what is learned from it doesn't matter to the time."""
    rng = np.random.default_rng(0)
    observations = {
        name: rng.integers(0, 256, (FRAMES, *shape), np.uint8)
        if len(shape) == 3
        else rng.normal(size=(FRAMES, *shape)).astype(np.float32)
        for name, (_, *shape) in shapes.items()
    }
    actions = rng.normal(size=(FRAMES, 2)).astype(np.float32)
    return dataset(observations, actions, np.arange(FRAMES) // 100)


def seconds_of(case: Case, limit: float, device: str) -> list[float]:
    """Of each step, sorted."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            build_model(case.model, case.shapes, 2),
            demonstrations(case.shapes),
            case.learning,
            DerivativeFree(256),
            steps=5000,
            seed=0,
            folder=Path(folder),
            device=device,
        )
        for _ in range(WARM_UPS):
            trainer.update()
        times, end = [], time.perf_counter() + limit
        while not times or time.perf_counter() < end:
            started = time.perf_counter()
            trainer.update()  # it reads the loss, and so waits for the device
            times.append(time.perf_counter() - started)
    return sorted(times)


def rows(seconds: float, device: str) -> list[dict[str, str | float]]:
    """What JSON can hold of each case: its name, and the time of a step.

    Args:
        seconds: How long each case is measured.
        device: As torch names it.
    """
    table: list[dict[str, str | float]] = []
    for case in CASES:
        times = seconds_of(case, seconds, device)
        median = times[len(times) // 2]
        facts = {"median_ms": median * 1e3, "fastest_ms": times[0] * 1e3}
        table.append({"case": case.name, **facts, "steps_per_second": 1 / median})
    return table


def main() -> None:
    """Print the table."""
    options = machine.options(__doc__, seconds=10.0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{device}, torch {torch.__version__}, {options.threads} threads")
    print(f"{'training':<60}{'median ms':>10}{'fastest ms':>12}{'steps/s':>9}")
    for row in rows(options.seconds, device):
        numbers = f"{row['median_ms']:>10.1f}{row['fastest_ms']:>12.1f}"
        print(f"{row['case']:<60}{numbers}{row['steps_per_second']:>9.1f}")


if __name__ == "__main__":
    main()
