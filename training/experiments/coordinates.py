"""Image to dot position from ten examples (Florence et al. 2021, section 3).

The action is the position of the dot in the image, in pixels. Test positions are spread over the
whole image, most of them outside the convex hull of the few training positions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path as Polygon
from torch import Tensor, nn

from ebm_policy_ros.energy.baselines import RegressionModel
from ebm_policy_ros.energy.convolutions import ImageEncoderConfig
from ebm_policy_ros.energy.heads import EnergyHead, HeadConfig, VectorHead
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import EnergyModel, Model
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.training.experiments.common import dataset, decide, learn, write_results
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.negatives import NegativesConfig
from ebm_policy_ros.util.cli import run_command

Positions = npt.NDArray[np.float64]

SIZE, RADIUS = 96, 2.5
TESTS = 500
SEARCH = DerivativeFree(2048, 3, refine=4)
IMAGE = ImageEncoderConfig(channels=(8, 8, 8), strides=(1, 1, 1))
HEAD = HeadConfig("residual", 128, 1)
LEARNING = LearningConfig(
    batch_size=10,
    negatives=NegativesConfig("uniform", 256),
    learning_rate=1e-3,
    warm_up=100,
    weight_decay=1e-2,
    average_decay=0.99,
    precision="fp32",
    held_out=0.0,
    checkpoint_every=200,
)
PLAIN = ModelConfig("energy", ("image",), IMAGE, trunk_depth=0, head=HEAD)
REGRESSION = replace(PLAIN, kind="explicit")
MODELS = {
    "energy": PLAIN,
    "regression (MSE)": REGRESSION,
    "energy, tied": PLAIN,
    "regression, tied": REGRESSION,
}


class TiedHead(nn.Module):
    """Head whose output, initially 0, is added to a linear map of the features."""

    def __init__(self, head: VectorHead, mean: Tensor) -> None:
        """Tie a head to the map `mean`, shape (2, F), which is trained too."""
        super().__init__()
        self.head, self.start = head, nn.Linear(mean.shape[1], mean.shape[0])
        self.start.weight.data = mean
        for zero in (self.start.bias, *head.layers[-1].parameters()):
            nn.init.zeros_(zero)

    def forward(self, features: Tensor) -> Tensor:
        """Compute positions, shape (B, 2), in the normalised box."""
        position: Tensor = self.head(features) + self.start(features)
        return position


def tie(model: Model) -> None:
    """Let the training begin at the mean of the positions that the soft-argmax tracks.

    An energy initially depends on the difference between the action and that mean; a regression
    initially gives it.
    """
    # The features are x and y of the first channel, then of the second, and so on.
    channels = model.encoder.size // 2
    mean = torch.eye(2).repeat(1, channels) / channels
    if isinstance(model, EnergyModel) and isinstance(model.head, EnergyHead):
        model.head.feature_half.weight.data = -model.head.action_half.weight.data @ mean
    elif isinstance(model, RegressionModel) and isinstance(model.head, VectorHead):
        model.head = TiedHead(model.head, mean)


@dataclass(frozen=True)
class CoordinatesArgs:
    """Learn the coordinates of a dot from few images; writes a table and a plot."""

    out: Path
    """Folder for the results; an interrupted run continues."""
    seeds: tuple[int, ...] = (10, 11, 12, 13, 14)
    """Seeds; each sets the training images, the test images and the training."""
    images: tuple[int, ...] = (10, 30)
    """Numbers of training images."""
    steps: int = 600
    """Batches of each training."""
    device: str = "auto"
    """Device: auto (CUDA if available), cpu, cuda or cuda:N."""


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


def errors(model: Model, images: npt.NDArray[np.uint8], positions: Positions) -> Positions:
    """Distance of each answer from the dot, pixels, one per image."""
    answers = [
        decide(model, {"image": torch.from_numpy(part)[:, None]}, SEARCH).numpy()
        for part in np.array_split(images, 20)
    ]
    return np.asarray(np.linalg.norm(np.concatenate(answers) - positions, axis=1))


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
    """Train one model on `count` images and test it."""
    images, shown = draw(count, seed)
    tests, positions = draw(TESTS, 10_000 + seed)
    model, minutes = learn(
        MODELS[name],
        dataset({"image": images}, shown.astype(np.float32)),
        LEARNING,
        SEARCH,
        steps=args.steps,
        seed=seed,
        folder=args.out / "runs" / f"{name.replace(' ', '_')}_{count}_{seed}",
        device=args.device,
        # Known from the task: ten positions do not span the image.
        box=((0.0, 0.0), (float(SIZE), float(SIZE))),
        begin=tie if name.endswith("tied") else lambda model: None,
    )
    return Trial(shown, positions, errors(model, tests, positions), minutes)


def run(args: CoordinatesArgs) -> None:
    """Train every model on every set of images and write the results."""
    torch.set_num_threads(1)
    rows, results = [], []
    figure = Figure(figsize=(4 * len(MODELS), 4.2 * len(args.images)), layout="constrained")
    axes = figure.subplots(len(args.images), len(MODELS), squeeze=False)
    for count, line in zip(args.images, axes, strict=True):
        for name, axis in zip(MODELS, line, strict=True):
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
