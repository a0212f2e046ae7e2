"""Push-T from human demonstrations (Chi et al. 2023, Diffusion Policy).

The action is a chunk of the next eight positions, relative to the disc, in its principal
components. Each demonstration is used twice, the second time in the mirror. The training is
train_policy with the recipe that it chooses.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.data.arrays import save_arrays
from ebm_policy_ros.training.experiments.common import (
    check_methods,
    kept_result,
    train_policy,
    write_results,
)
from ebm_policy_ros.training.experiments.pusht_data import (
    HORIZON,
    OPTIONS,
    PAPERS,
    Sees,
    demonstrations,
    observe,
)
from ebm_policy_ros.training.experiments.tee import STEPS, Tees
from ebm_policy_ros.util.cli import run_command

EXECUTED = HORIZON


def rollout(
    policy: Policy, seeds: Sequence[int], published: bool, sees: Sees
) -> npt.NDArray[np.float64]:
    """Score of each initial state: the largest min(coverage / 0.95, 1) within 300 steps."""
    tees = Tees(len(seeds))
    tees.reset(seeds, published)
    intents: list[int | None] = [None] * len(seeds)
    for step in range(STEPS):
        place = step % EXECUTED
        if place == 0:
            seen = observe(tees.states, tees.pictures() if sees == "picture" else None)
            decisions = [
                policy.decide(
                    {name: values[i : i + 1] for name, values in seen.items()}, intent=intent
                )
                for i, intent in enumerate(intents)
            ]
            intents = [decision.intent for decision in decisions]
            targets = np.stack([decision.action for decision in decisions])
        tees.step(targets[:, place])
    return tees.scores


@dataclass(frozen=True)
class Method:
    """Training of one method, and the choice among actions."""

    sees: Sees
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of train_policy besides those of the recipe."""
    drawn: bool = False
    """True if the action is sampled, False for that of lowest energy."""


# The sampled and the lowest action of an energy come from the same training.
METHODS = {
    "energy, lowest": Method("state"),
    "energy, drawn": Method("state", drawn=True),
    "regression (MSE)": Method("state", {"model.kind": "explicit", "model.head.width": 256}),
    "flow matching": Method("state", {"model.kind": "flow", "model.head.width": 256}),
    "two-step regression": Method("state", {"model.kind": "two_step", "model.head.width": 256}),
    "pictures, energy, lowest": Method("picture"),
    "pictures, energy, drawn": Method("picture", drawn=True),
    "pictures, regression (MSE)": Method(
        "picture", {"model.kind": "explicit", "model.head.width": 256}
    ),
}
_STATES = tuple(name for name, method in METHODS.items() if method.sees == "state")


@dataclass(frozen=True)
class PushTArgs:
    """Push a T onto its goal; trained on human demonstrations."""

    data: Path
    """Zarr folder of the demonstrations, or an .npz file of them."""
    out: Path
    """Folder for the results; existing results are not computed again."""
    methods: tuple[str, ...] = _STATES
    """Methods to run; those with pictures take most of an hour each."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    everything: tuple[bool, ...] = (False,)
    """Demonstrations to use: false for the paper's 90 episodes, true for all."""
    steps: int | None = None
    """Batches of training. Default: the method's own number."""
    starts: int = 50
    """Number of initial states of the evaluation, the same for all policies."""
    first: int = 100_000
    """Seed of the first initial state."""
    device: str = "auto"
    """Device: auto (CUDA if available), cpu, cuda or cuda:N."""
    train_only: bool = False
    """Only train. Run the command again without this option to evaluate, which needs gym-pusht."""
    table: bool = False
    """Only collect existing results."""

    def __post_init__(self) -> None:
        check_methods(self.methods, METHODS)
        if not self.seeds or not self.everything or self.starts < 1:
            raise ValueError("seeds, everything and starts: expected at least one")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps: got {self.steps}, expected an integer >= 1")


def train(args: PushTArgs, name: str, everything: bool, seed: int) -> Path:
    """Train a method; return its policy file."""
    method = METHODS[name]
    data = args.out / f"{method.sees}_{'all' if everything else PAPERS}.npz"
    if not data.exists():
        args.out.mkdir(parents=True, exist_ok=True)
        save_arrays(data, demonstrations(args.data, everything, method.sees))
    kind = method.options.get("model.kind", "energy")
    options = {
        **OPTIONS[method.sees],
        "data": data,
        "seed": seed,
        "device": args.device,
        "learning.held_out": 0.0,
        **method.options,
        **({"steps": args.steps} if args.steps else {}),
    }
    return train_policy(
        args.out / "runs" / _key(f"{kind} {method.sees}", everything, seed), options
    )


def evaluate(args: PushTArgs, name: str, everything: bool, seed: int) -> dict[str, Any]:
    """Train one policy and evaluate it on every initial state."""
    method = METHODS[name]
    started = time.monotonic()
    file = train(args, name, everything, seed)
    minutes = (time.monotonic() - started) / 60
    policy = Policy.load(file, args.device, choice="sample" if method.drawn else "lowest")
    seeds = range(args.first, args.first + args.starts)
    scores = {
        kind: rollout(policy, seeds, kind == "paper", method.sees).tolist()
        for kind in ("gym-pusht", "paper")
    }
    return {
        "method": name,
        "everything": everything,
        "seed": seed,
        "starts": [args.first, args.starts],
        "scores": scores,
        "minutes": minutes,
    }


def _key(name: str, everything: bool, seed: int) -> str:
    words = name.replace(",", "").split(" (")[0].replace(" ", "_")
    return f"{words}_{'all' if everything else PAPERS}_{seed}"


def run(args: PushTArgs) -> None:
    """Compute the missing results, and collect all of them."""
    torch.set_num_threads(1)
    results = []
    for everything in args.everything:
        for name in args.methods:
            for seed in args.seeds:
                if args.train_only:
                    train(args, name, everything, seed)
                    continue
                path = args.out / "results" / f"{_key(name, everything, seed)}.json"
                compute = None if args.table else partial(evaluate, args, name, everything, seed)
                way = {"starts": [args.first, args.starts]}
                if (result := kept_result(path, way, compute)) is not None:
                    results.append(result)
                    print(f"{path.stem}: {np.mean(result['scores']['paper']):.3f}", flush=True)
    if not args.train_only:
        _write(args, results)


def _write(args: PushTArgs, results: Sequence[Mapping[str, Any]]) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    rows = []
    for everything in args.everything:
        for name in args.methods:
            found = [r for r in results if (r["method"], r["everything"]) == (name, everything)]
            if not found:
                continue
            episodes = "all" if everything else str(PAPERS)
            cells = []
            for kind in ("paper", "gym-pusht"):
                means = [float(np.mean(r["scores"][kind])) for r in found]
                cells.append(f"{np.mean(means):.3f} ({min(means):.3f} to {max(means):.3f})")
            scores = np.sort(np.concatenate([r["scores"]["paper"] for r in found]))
            covered = f"{np.mean(scores >= 1):.0%}"
            minutes = max(r["minutes"] for r in found)
            trained = f"{minutes:.1f}" if minutes > 0.1 else "as above"
            rows.append([name, episodes, str(len(found)), *cells, covered, trained])
            shares = 100 * np.arange(1, len(scores) + 1) / len(scores)
            style = "--" if everything else "-"
            axis.step(scores, shares, style, where="post", label=f"{name}, {episodes} episodes")
    axis.set(xlabel="score", ylabel="initial states with at most this score (%)")
    axis.set(xlim=(0, 1), ylim=(0, 50))
    axis.legend(loc="upper left")
    args.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out / "pusht.png", dpi=100)
    columns = [
        "method", "episodes", "trainings", "score, the paper's initial states",
        "score, gym-pusht's", "covered", "longest training (min)",
    ]  # fmt: skip
    write_results(args.out, columns, rows, {"seeds": args.seeds, "results": list(results)})


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("pusht", PushTArgs, run, argv)


if __name__ == "__main__":
    main()
