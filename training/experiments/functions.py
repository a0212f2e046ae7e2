"""Functions of one variable with jumps and branches: energy, regression and mixture compared.

After figure 3 of Florence et al. 2021: where the demonstrated function jumps or has several
values, the action of lowest energy jumps too, and regression interpolates between the values. The
training is train_policy with a recipe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.data.arrays import save_arrays
from ebm_policy_ros.training.experiments.common import (
    check_methods,
    dataset,
    kept_result,
    train_policy,
    write_results,
)
from ebm_policy_ros.training.train_config import POLICY
from ebm_policy_ros.util.cli import run_command

Values = npt.NDArray[np.floating[Any]]

GRID = 2000
# Options of train_policy besides those of the recipe that it chooses. A bfloat16 between 0.5 and 1
# is exact to 0.004, and the answers are to be exact to 0.001.
_EXACT = {"learning.precision": "fp32", "learning.held_out": 0.0}
METHODS: Mapping[str, Mapping[str, Any]] = {
    "energy": _EXACT,
    "regression (MSE)": {**_EXACT, "model.kind": "explicit"},
    "mixture (MDN)": {**_EXACT, "model.kind": "mixture"},
}


@dataclass(frozen=True)
class FunctionsArgs:
    """Learn functions of one variable with jumps and several values; writes a table and a plot."""

    out: Path
    """Folder for the results; an interrupted run continues."""
    seeds: tuple[int, ...] = (10, 11, 12)
    """Training seeds."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Methods to run."""
    steps: int = 5000
    """Batches of each training."""
    device: str = "auto"
    """Device: auto (CUDA if available), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        check_methods(self.methods, METHODS)


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


@dataclass(frozen=True)
class Trial:
    """One training and its answers on the grid."""

    policy: Path
    """Policy file."""
    shown: tuple[Values, Values]
    """Demonstrated positions and values, shape (points,) each."""
    y: Values
    """Answers, shape (GRID,)."""
    metrics: dict[str, float]
    """Evaluation metrics for result.json."""


def evaluate(args: FunctionsArgs, name: str, method: str, seed: int) -> Trial:
    """Train one policy on one function and evaluate it on the grid."""
    function, x = FUNCTIONS[name], np.linspace(0.0, 1.0, GRID)
    key = f"{name}_{method.split(' (')[0]}_{seed}"
    folder = args.out / "runs" / key
    path = args.out / "results" / f"{key}.json"
    depends_on = {"steps": args.steps, "grid": GRID, "options": METHODS[method]}

    def answer() -> dict[str, Any]:
        started = time.monotonic()
        policy = Policy.load(_train(args, name, method, seed, folder), args.device)
        minutes = (time.monotonic() - started) / 60
        y = [policy.decide(_at(place)).action.item() for place in x]
        return {**depends_on, "minutes": minutes, "y": y}

    result = kept_result(path, depends_on, answer)
    assert result is not None
    y = np.array(result["y"])
    error, outside = function.error(x, y), ~function.in_gap(x)
    metrics = {
        "within_1e-3": float((error <= 1e-3).mean()),
        "within_1e-3_outside_gaps": float((error[outside] <= 1e-3).mean()),
        "within_1e-2": float((error <= 1e-2).mean()),
        "largest_error_outside_gaps": float(error[outside].max()),
        "minutes": result["minutes"],
    }
    return Trial(folder / POLICY, function.demonstrate(seed), y, metrics)


def _train(args: FunctionsArgs, name: str, method: str, seed: int, folder: Path) -> Path:
    """Train on what is shown of a function, and return the policy file."""
    x, y = FUNCTIONS[name].demonstrate(seed)
    data = args.out / f"{name}_{seed}.npz"
    if not data.exists():
        shown = {"x": x[:, None].astype(np.float32)}
        save_arrays(data, dataset(shown, y[:, None].astype(np.float32)))
    options = {"data": data, "seed": seed, "steps": args.steps, "device": args.device}
    return train_policy(folder, {**options, **METHODS[method]})


def _at(place: float) -> dict[str, npt.NDArray[np.float32]]:
    return {"x": np.array([[place]], np.float32)}


def run(args: FunctionsArgs) -> None:
    """Train every model on every function and write the results."""
    torch.set_num_threads(1)
    rows, results = [], []
    figure = Figure(figsize=(4 * len(FUNCTIONS), 3 * len(args.methods)), layout="constrained")
    axes = figure.subplots(len(args.methods), len(FUNCTIONS), squeeze=False)
    for name, column in zip(FUNCTIONS, axes.T, strict=True):
        for title, axis in zip(args.methods, column, strict=True):
            trials = [evaluate(args, name, title, seed) for seed in args.seeds]
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
    policy = Policy.load(trial.policy, "cpu")
    low, high = (float(end[0]) for end in policy.action_box(_at(0.0)))
    if policy.has_energy:
        values = np.linspace(low, high, 200)
        columns = [policy.energies(_at(x), values[:, None]) for x in np.linspace(0, 1, 200)]
        energies = np.stack(columns, axis=1)
        above = energies - energies.min(axis=0)
        axis.pcolormesh(
            np.linspace(0, 1, 200), values, above, vmin=0, vmax=np.quantile(above, 0.98),
            cmap="Greys_r",
        )  # fmt: skip
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
