"""Functions of one variable with jumps and branches: energy, regression and mixture compared.

After figure 3 of Florence et al. 2021: where the demonstrated function jumps or has several
values, the action of lowest energy jumps too, and regression interpolates between the values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.model_config import Kind, ModelConfig
from ebm_policy_ros.energy.models import ImplicitModel, Model
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.policy.action_search import energy_of
from ebm_policy_ros.training.experiments.common import dataset, decide, learn, write_results
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.negatives import NegativesConfig
from ebm_policy_ros.util.cli import run_command

Values = npt.NDArray[np.floating[Any]]

GRID = 2000
SEARCH = DerivativeFree(4096, 3, refine=4)
KINDS: dict[str, Kind] = {
    "energy": "energy",
    "regression (MSE)": "explicit",
    "mixture (MDN)": "mixture",
}


@dataclass(frozen=True)
class FunctionsArgs:
    """Learn functions of one variable with jumps and several values; writes a table and a plot."""

    out: Path
    """Folder for the results; an interrupted run continues."""
    seeds: tuple[int, ...] = (10, 11, 12)
    """Training seeds."""
    steps: int = 5000
    """Batches of each training."""
    device: str = "auto"
    """Device: auto (CUDA if available), cpu, cuda or cuda:N."""


@dataclass(frozen=True)
class Function:
    """A function that may have several values at a position."""

    branches: tuple[Callable[[Values], Values], ...]
    """Branches: each returns its values, or NaN where it is undefined."""
    jumps: tuple[float, ...] = ()
    """Positions of the jumps."""
    points: int = 32
    """Number of demonstrated positions, evenly spread from 0 to 1; each shows one value at
    random."""

    def demonstrate(self, seed: int) -> tuple[Values, Values]:
        """Demonstrated positions and values, shape (points,) each."""
        x = np.linspace(0.0, 1.0, self.points)
        values = np.stack([branch(x) for branch in self.branches])
        random = np.random.default_rng(seed)
        choice = [random.choice(np.flatnonzero(np.isfinite(column))) for column in values.T]
        return x, values[choice, np.arange(len(x))]

    def gaps(self) -> list[tuple[float, float]]:
        """The two demonstrated positions around each jump."""
        width = 1.0 / (self.points - 1)
        return [(k * width, (k + 1) * width) for k in (jump // width for jump in self.jumps)]

    def in_gap(self, x: Values) -> npt.NDArray[np.bool_]:
        """True for positions between the two demonstrated ones around a jump, shape as `x`."""
        inside = np.zeros(x.shape, dtype=bool)
        for left, right in self.gaps():
            inside |= (x > left) & (x < right)
        return inside

    def error(self, x: Values, y: Values) -> Values:
        """Distance from the nearest true value, shape as `x`.

        In a gap around a jump the demonstrations do not show its position, so the values of both
        sides are correct.
        """
        places = [x]
        for left, right in self.gaps():
            inside = (x > left) & (x < right)
            places += [np.where(inside, side, x) for side in (left, right)]
        values = np.stack([branch(place) for branch in self.branches for place in places])
        return np.asarray(np.nanmin(np.abs(values - y), axis=0))


FUNCTIONS = {
    "step": Function((lambda x: np.where(x < 0.52, 0.0, 1.0),), (0.52,)),
    "stairs": Function(
        (lambda x: np.floor(x * 4.999) / 4,), tuple(k / 4.999 for k in range(1, 5)), 64
    ),
    "circle": Function(
        (
            lambda x: 0.5 + np.sqrt(np.clip(0.25 - (x - 0.5) ** 2, 0, None)),
            lambda x: 0.5 - np.sqrt(np.clip(0.25 - (x - 0.5) ** 2, 0, None)),
        ),
        points=128,
    ),
    "branches": Function(
        (
            lambda x: 0.8 - 0.3 * x,
            lambda x: 0.2 + 0.3 * x,
            lambda x: np.where(x < 0.5, np.nan, 0.05 * np.sin(12 * x)),
        ),
        points=128,
    ),
}


LEARNING = LearningConfig(
    batch_size=32,
    negatives=NegativesConfig(
        "hard", 16, pool=64, rounds=3, mask_radius=0.02, around=16, nearest=0.001
    ),
    learning_rate=2e-3,
    weight_decay=1e-4,
    average_decay=0.99,
    precision="fp32",
    held_out=0.0,
    checkpoint_every=1000,
)


def model_config(kind: Kind) -> ModelConfig:
    """Configuration with the same trunk and layers for each kind of model."""
    # An energy that changes slowly with x keeps its minimum stable between demonstrated positions.
    gain = 0.12 if kind == "energy" else 1.0
    head = HeadConfig("mlp", 64, 1, feature_gain=gain)
    return ModelConfig(kind, ("x",), trunk_width=64, trunk_depth=1, head=head)


def answers(model: Model, x: Values) -> Values:
    """Answers of a model at positions, both of shape (M,)."""
    parts = [
        decide(model, {"x": torch.from_numpy(part)[:, None, None]}, SEARCH)
        for part in np.array_split(x.astype(np.float32), max(1, len(x) // 50))
    ]
    return torch.cat(parts)[:, 0].double().numpy()


@dataclass(frozen=True)
class Trial:
    """One training and its answers on the grid."""

    model: Model
    shown: tuple[Values, Values]
    """Demonstrated positions and values, shape (points,) each."""
    y: Values
    """Answers, shape (GRID,)."""
    metrics: dict[str, float]
    """Evaluation metrics for result.json."""


def evaluate(args: FunctionsArgs, name: str, kind: Kind, seed: int) -> Trial:
    """Train one model on one function and evaluate it on the grid."""
    function, x = FUNCTIONS[name], np.linspace(0.0, 1.0, GRID)
    shown_x, shown_y = function.demonstrate(seed)
    model, minutes = learn(
        model_config(kind),
        dataset({"x": shown_x[:, None].astype(np.float32)}, shown_y[:, None].astype(np.float32)),
        LEARNING,
        SEARCH,
        steps=args.steps,
        seed=seed,
        folder=args.out / "runs" / f"{name}_{kind}_{seed}",
        device=args.device,
    )
    y = answers(model, x)
    error, outside = function.error(x, y), ~function.in_gap(x)
    metrics = {
        "within_1e-3": float((error <= 1e-3).mean()),
        "within_1e-3_outside_gaps": float((error[outside] <= 1e-3).mean()),
        "within_1e-2": float((error <= 1e-2).mean()),
        "largest_error_outside_gaps": float(error[outside].max()),
        "minutes": minutes,
    }
    return Trial(model, (shown_x, shown_y), y, metrics)


def run(args: FunctionsArgs) -> None:
    """Train every model on every function and write the results."""
    torch.set_num_threads(1)
    rows, results = [], []
    figure = Figure(figsize=(4 * len(FUNCTIONS), 3 * len(KINDS)), layout="constrained")
    axes = figure.subplots(len(KINDS), len(FUNCTIONS), squeeze=False)
    for name, column in zip(FUNCTIONS, axes.T, strict=True):
        for (title, kind), axis in zip(KINDS.items(), column, strict=True):
            trials = [evaluate(args, name, kind, seed) for seed in args.seeds]
            _draw(axis, f"{name}: {title}", trials[0])
            metrics = [trial.metrics for trial in trials]
            shares = [[f[key] for f in metrics] for key in list(metrics[0])[:3]]
            cells = [f"{np.mean(v):.1%} ({min(v):.1%})" for v in shares]
            worst = max(f["largest_error_outside_gaps"] for f in metrics)
            rows.append([name, str(FUNCTIONS[name].points), title, *cells, f"{worst:.2g}"])
            results += [
                {"function": name, "model": title, "seed": seed, **f}
                for seed, f in zip(args.seeds, metrics, strict=True)
            ]
    args.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out / "functions.png", dpi=100)
    columns = [
        "function", "points", "model", "within 0.001: mean (worst)", "the same outside gaps",
        "within 0.01", "largest error outside gaps",
    ]  # fmt: skip
    described = {"seeds": args.seeds, "steps": args.steps, "grid": GRID, "results": results}
    write_results(args.out, columns, rows, described)


def _draw(axis: Axes, title: str, trial: Trial) -> None:
    """Plot the answers, over the energy if there is one."""
    model, device = trial.model, trial.model.box.low.device
    low, high = float(model.box.low), float(model.box.high)
    if isinstance(model, ImplicitModel):
        places = torch.linspace(0, 1, 200, device=device)[:, None, None]
        candidates = torch.linspace(-1, 1, 200, device=device)[None, :, None].expand(200, -1, -1)
        energies = energy_of(model, model.encode({"x": places}))(candidates)
        above = (energies - energies.amin(dim=1, keepdim=True)).T.cpu().numpy()
        sides = np.linspace(0, 1, 200), np.linspace(low, high, 200)
        axis.pcolormesh(*sides, above, vmin=0, vmax=np.quantile(above, 0.98), cmap="Greys_r")
    x = np.linspace(0.0, 1.0, GRID)
    axis.plot(x, trial.y, ".", color="tab:red", markersize=1.5, label="chosen")
    axis.plot(*trial.shown, "o", color="tab:blue", markersize=3, mfc="none", label="shown")
    axis.set(ylim=(low, high), xlim=(0, 1))
    axis.set_title(f"{title}, {trial.metrics['within_1e-2']:.1%} within 0.01", fontsize=9)
    axis.tick_params(labelsize=7)


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("functions", FunctionsArgs, run, argv)


if __name__ == "__main__":
    main()
