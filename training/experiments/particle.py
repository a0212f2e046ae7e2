"""A particle in N dimensions that must visit two goals in turn (Florence et al. 2021).

The action is the position that a spring and damper pull the particle to. The decision is which
goal comes next, a discontinuity of the action. With more dimensions, the correct part of the
action box becomes smaller. The training is train_policy with a recipe.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
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
from ebm_policy_ros.training.experiments.particle_world import (
    DEMONSTRATIONS,
    HELD,
    TURN,
    demonstrate,
    rollout,
)
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.resources import share_directory

_RECIPES = share_directory() / "config" / "training"
# Options of train_policy besides those of the recipe that it chooses.
METHODS: Mapping[str, Mapping[str, Any]] = {
    "chosen energy": {},
    "without a proposal": {"config": _RECIPES / "states.yaml"},
    "proposal and energy": {"config": _RECIPES / "states_proposals.yaml"},
    "regression (MSE)": {"model.kind": "explicit", "model.head.width": 256},
    "flow matching": {"model.kind": "flow", "model.head.width": 256},
    "two-step regression": {"model.kind": "two_step", "model.head.width": 256},
    "nearest neighbour": {"model.kind": "nearest_neighbour"},
}


@dataclass(frozen=True)
class ParticleArgs:
    """A particle that must visit two goals in turn, in an increasing number of dimensions."""

    out: Path
    """Folder for the results; existing results are not computed again."""
    sizes: tuple[int, ...] = (2, 4, 8, 16, 32)
    """Numbers of dimensions."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Methods to run."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds; each has its own 2,000 demonstrations."""
    episodes: int = 100
    """Episodes of the evaluation, the same for all policies."""
    first: int = 100_000
    """Seed of the first episode."""
    device: str = "auto"
    """Device: auto (CUDA if available), cpu, cuda or cuda:N."""
    table: bool = False
    """Only collect existing results."""

    def __post_init__(self) -> None:
        check_methods(self.methods, METHODS)
        if not self.seeds or min(self.sizes, default=0) < 1 or self.episodes < 1:
            raise ValueError("sizes, seeds and episodes: expected at least one, from 1 on")
        if not all(0 <= seed < 10 for seed in self.seeds):
            raise ValueError(
                f"seeds: got {list(self.seeds)}, expected 0 to 9; the demonstrations of others "
                "would be the episodes that judge"
            )


def evaluate(args: ParticleArgs, name: str, size: int, seed: int) -> dict[str, Any]:
    """Train one policy and evaluate it on every episode."""
    options = {
        "data": _data(args.out, size, seed),
        "seed": seed,
        "device": args.device,
        "learning.held_out": 0.0,
        **METHODS[name],
    }
    started = time.monotonic()
    file = train_policy(args.out / "runs" / _key(name, size, seed), options)
    minutes = (time.monotonic() - started) / 60
    policy, seeds = Policy.load(file, args.device), range(args.first, args.first + args.episodes)
    particles = {"lowest": rollout(size, seeds, policy)}
    if policy.has_energy:
        particles["drawn"] = rollout(size, seeds, policy, np.random.default_rng(seed))
    return {
        "method": name,
        "size": size,
        "seed": seed,
        **_depends_on(args),
        "successes": {way: int(p.met_second.sum()) for way, p in particles.items()},
        "first_goals": {way: int(p.met_first.sum()) for way, p in particles.items()},
        "minutes": minutes,
    }


def _data(folder: Path, size: int, seed: int) -> Path:
    """Demonstrations of a training seed, written once."""
    path = folder / f"demonstrations_{size}_{seed}.npz"
    if not path.exists():
        first = seed * 10_000
        seeds, random = range(first, first + DEMONSTRATIONS), np.random.default_rng(seed)
        folder.mkdir(parents=True, exist_ok=True)
        save_arrays(path, demonstrate(size, seeds, random))
    return path


def _depends_on(args: ParticleArgs) -> dict[str, Any]:
    """Settings that every result depends on, as JSON values."""
    return {
        "episodes": [args.first, args.episodes],
        "demonstrations": [DEMONSTRATIONS, TURN, HELD],
    }


def _key(name: str, size: int, seed: int) -> str:
    return f"{name.split(' ')[0]}_{size}_{seed}"


def run(args: ParticleArgs) -> None:
    """Compute the missing results, and collect all of them."""
    torch.set_num_threads(1)
    results = []
    for size in args.sizes:
        for name in args.methods:
            for seed in args.seeds:
                path = args.out / "results" / f"{_key(name, size, seed)}.json"
                compute = None if args.table else partial(evaluate, args, name, size, seed)
                if (result := kept_result(path, _depends_on(args), compute)) is not None:
                    print(f"{name}, {size}-D, seed {seed}: {result['successes']}", flush=True)
                    results.append(result)
    _write(args, results)


def _write(args: ParticleArgs, results: Sequence[Mapping[str, Any]]) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    rows = []
    for name, way in itertools.product(args.methods, ("lowest", "drawn")):
        searched = "model.kind" not in METHODS[name]
        if way == "drawn" and not searched:
            continue
        title = f"{name}, {way}" if searched else name
        cells, places, shares = [], [], []
        for size in args.sizes:
            found = [r for r in results if (r["method"], r["size"]) == (name, size)]
            total = sum(r["episodes"][1] for r in found)
            share = sum(r["successes"][way] for r in found) / total if found else 0.0
            minutes = max((r["minutes"] for r in found), default=0.0)
            cells.append(f"{share:.1%} ({len(found)}; {minutes:.1f} min)" if found else "not run")
            if found:
                places.append(size)
                shares.append(100 * share)
        rows.append([title, *cells])
        if places:
            axis.plot(places, shares, "o:" if way == "drawn" else "o-", label=title)
    axis.set(xscale="log", xlabel="dimensions", ylabel="success (%)", ylim=(-3, 103))
    axis.set_xticks(args.sizes, [str(size) for size in args.sizes])
    axis.minorticks_off()
    axis.legend()
    args.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out / "particle.png", dpi=100)
    columns = ["success (seeds; longest training)", *[f"{size}-D" for size in args.sizes]]
    write_results(args.out, columns, rows, {"seeds": args.seeds, "results": list(results)})


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("particle", ParticleArgs, run, argv)


if __name__ == "__main__":
    main()
