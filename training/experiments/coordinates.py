"""Image to dot position from ten examples (Florence et al. 2021, section 3).

The action is the position of the dot in the image, in pixels. Test positions are spread over the
whole image, most of them outside the convex hull of the few training positions. The training is
train_policy with a recipe.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path as Polygon

from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.data.arrays import save_arrays
from ebm_policy_ros.training.experiments.common import (
    check_methods,
    dataset,
    kept_result,
    train_policy,
    write_results,
)
from ebm_policy_ros.util.cli import run_command

Positions = npt.NDArray[np.float64]

SIZE, RADIUS = 96, 2.5
TESTS = 500
# Options of train_policy besides those of the recipe that it chooses.
DOT: Mapping[str, Any] = {
    # A cell of the last map is a pixel: the dot is hardly larger than one of the usual ones.
    "model.image.channels": [16, 16],
    "model.image.strides": [1, 1],
    # Positions reach the head as they are.
    "model.trunk_depth": 0,
    # A shifted picture has another answer.
    "learning.image_shift": 0,
    # Ten positions do not span the image.
    "action.margin": 1.0,
    # A bfloat16 between 0.5 and 1 is exact to half a pixel.
    "learning.precision": "fp32",
    # Uniform negatives are rarely within a few pixels.
    "learning.negatives.around": 16,
    "learning.batch_size": 10,
    # Candidates are a pixel apart when the search of the recipe ends.
    "inference.polish": 8,
    "learning.held_out": 0.0,
}
METHODS: Mapping[str, Mapping[str, Any]] = {
    "energy": {**DOT, "learning.linear_start": True, "model.head.feature_gain": 0.01},
    "energy, random start": DOT,
    "regression (MSE)": {**DOT, "model.kind": "explicit"},
}


@dataclass(frozen=True)
class CoordinatesArgs:
    """Learn the coordinates of a dot from few images; writes a table and a plot."""

    out: Path
    """Folder for the results; an interrupted run continues."""
    seeds: tuple[int, ...] = (10, 11, 12, 13, 14)
    """Seeds; each sets the training images, the test images and the training."""
    images: tuple[int, ...] = (10, 30)
    """Numbers of training images."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Methods to run."""
    steps: int = 300
    """Batches of each training."""
    device: str = "auto"
    """Device: auto (CUDA if available), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        check_methods(self.methods, METHODS)


def draw(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], Positions]:
    """Images of a green dot on grey, (count, 96, 96, 3), and its positions (x, y) in pixels.

    The dot lies entirely in every image, at any position, and its edge is smooth.
    """
    random = np.random.default_rng(seed)
    positions = RADIUS + (SIZE - 2 * RADIUS) * random.random((count, 2))
    centres = np.arange(SIZE) + 0.5
    across = centres[None, None, :] - positions[:, 0, None, None]
    down = centres[None, :, None] - positions[:, 1, None, None]
    cover = np.clip(RADIUS + 0.5 - np.hypot(across, down), 0, 1)[..., None]
    colours = 127.5 * (1 - cover) + np.array([0.0, 255.0, 0.0]) * cover
    return colours.round().astype(np.uint8), positions


def errors(policy: Policy, images: npt.NDArray[np.uint8], positions: Positions) -> Positions:
    """Distance of each answer from the dot, pixels, one per image."""
    answers = [policy.decide({"image": image[None]}).action[0] for image in images]
    return np.asarray(np.linalg.norm(np.stack(answers) - positions, axis=1))


def hull(positions: Positions) -> Polygon:
    """Convex hull of positions, shape (M, 2)."""
    return Polygon(cv2.convexHull(positions.astype(np.float32))[:, 0], closed=False)


@dataclass(frozen=True)
class Trial:
    """One training and its errors."""

    shown: Positions
    """Positions in the training images, shape (images, 2), pixels."""
    tests: Positions
    """Positions in the test images, shape (TESTS, 2), pixels."""
    error: Positions
    """Distance of the answers from the test positions, shape (TESTS,), pixels."""
    minutes: float

    def metrics(self) -> dict[str, float]:
        """Evaluation metrics for result.json."""
        inside = hull(self.shown).contains_points(self.tests)
        return {
            "within_1px": float((self.error <= 1).mean()),
            "within_1px_in_hull": float((self.error[inside] <= 1).mean()),
            "share_in_hull": float(inside.mean()),
            "median": float(np.median(self.error)),
            "largest": float(self.error.max()),
            "minutes": self.minutes,
        }


def evaluate(args: CoordinatesArgs, name: str, count: int, seed: int) -> Trial:
    """Train one policy on `count` images and test it."""
    tests, positions = draw(TESTS, 10_000 + seed)
    key = f"{name.split(' (')[0].replace(', ', '_').replace(' ', '_')}_{count}_{seed}"
    path = args.out / "results" / f"{key}.json"
    depends_on = {"steps": args.steps, "tests": TESTS, "options": METHODS[name]}

    def answer() -> dict[str, Any]:
        started = time.monotonic()
        file = _train(args, name, count, seed, args.out / "runs" / key)
        minutes = (time.monotonic() - started) / 60
        error = errors(Policy.load(file, args.device), tests, positions).tolist()
        return {**depends_on, "minutes": minutes, "error": error}

    result = kept_result(path, depends_on, answer)
    assert result is not None
    _, shown = draw(count, seed)
    return Trial(shown, positions, np.array(result["error"]), result["minutes"])


def _train(args: CoordinatesArgs, name: str, count: int, seed: int, folder: Path) -> Path:
    """Train on images of a dot, and return the policy file."""
    images, shown = draw(count, seed)
    data = args.out / f"images_{count}_{seed}.npz"
    if not data.exists():
        save_arrays(data, dataset({"image": images}, shown.astype(np.float32)))
    options = {"data": data, "seed": seed, "steps": args.steps, "device": args.device}
    return train_policy(folder, {**options, **METHODS[name]})


def run(args: CoordinatesArgs) -> None:
    """Train every method on every set of images and write the results."""
    torch.set_num_threads(1)
    rows, results = [], []
    figure = Figure(figsize=(4 * len(args.methods), 4.2 * len(args.images)), layout="constrained")
    axes = figure.subplots(len(args.images), len(args.methods), squeeze=False)
    for count, line in zip(args.images, axes, strict=True):
        for name, axis in zip(args.methods, line, strict=True):
            trials = [evaluate(args, name, count, seed) for seed in args.seeds]
            _draw(axis, f"{name}, {count} images", trials[0])
            metrics = [trial.metrics() for trial in trials]
            within = [f["within_1px"] for f in metrics]
            inside = np.mean([f["within_1px_in_hull"] for f in metrics])
            minutes = max(f["minutes"] for f in metrics)
            share = f"{np.mean(within):.1%} ({min(within):.1%} to {max(within):.1%})"
            rows.append([name, str(count), share, f"{inside:.1%}", f"{minutes:.1f}"])
            results += [
                {"model": name, "images": count, "seed": seed, **f}
                for seed, f in zip(args.seeds, metrics, strict=True)
            ]
    args.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out / "coordinates.png", dpi=100)
    columns = ["model", "images", "within 1 px", "of those in the hull", "minutes"]
    described = {"seeds": args.seeds, "steps": args.steps, "tests": TESTS, "results": results}
    write_results(args.out, columns, rows, described)


def _draw(axis: Axes, title: str, trial: Trial) -> None:
    good = trial.error <= 1
    corners = np.asarray(hull(trial.shown).vertices)
    axis.fill(corners[:, 0], corners[:, 1], color="0.9", label="convex hull of the shown")
    for places, size, marker, colour, label in (
        (trial.tests[good], 6, "o", "tab:blue", "within 1 px"),
        (trial.tests[~good], 6, "o", "tab:red", "further off"),
        (trial.shown, 40, "x", "black", "shown"),
    ):
        axis.scatter(places[:, 0], places[:, 1], s=size, marker=marker, c=colour, label=label)
    axis.set(xlim=(0, SIZE), ylim=(SIZE, 0), aspect="equal", xticks=[], yticks=[])
    axis.set_title(f"{title}: {good.mean():.1%}", fontsize=10)
    axis.legend(loc="upper left", fontsize=7, framealpha=0.9)


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("coordinates", CoordinatesArgs, run, argv)


if __name__ == "__main__":
    main()
