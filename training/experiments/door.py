"""Adroit door from 25 human demonstrations (Rajeswaran et al. 2018; D4RL, Fu et al. 2020).

A hand of 24 joints on an arm of four must turn a latch and pull a door open. The action is the
wanted position of all 28, learned in principal components by train_policy.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.exchange.demonstrations import needed_module
from ebm_policy_ros.training.experiments.common import (
    check_methods,
    kept_result,
    train_policy,
    write_results,
)
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.resources import share_directory

STEPS, LIMIT = 300, 200
"""Longest demonstration, and the step limit of D4RL."""
OPEN, SUCCESS = 1.0, 1.35
"""Angles of the hinge: an open door, and the environment's success (rad)."""
# Columns of a state: the hinge's angle, and the palm's distance from the handle.
_HINGE, _APART = 28, slice(35, 38)

# Options of train_policy besides those of the recipe.
METHODS: Mapping[str, Mapping[str, Any]] = {
    # A single action, so not its own recipe: an energy for each coordinate takes over 20 minutes.
    "energy": {"config": share_directory() / "config" / "training" / "states_proposals.yaml"},
    "regression (MSE)": {"model.kind": "explicit", "model.head.width": 256},
    "mixture (MDN)": {"model.kind": "mixture", "model.head.width": 256},
    "flow matching": {"model.kind": "flow", "model.head.width": 256},
    "two-step regression": {"model.kind": "two_step", "model.head.width": 256},
}
_OPTIONS = {"action.basis": "pca", "learning.held_out": 0.0, "steps": 8000}


@dataclass(frozen=True)
class DoorArgs:
    """Open a door with a hand; trained on human demonstrations."""

    data: Path
    """An .npz file of the demonstrations: observation/state (M, 39), actions (M, 28) and
    episode_ends."""
    out: Path
    """Folder for the results; existing results are not computed again."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Methods to run."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    episodes: int = 50
    """Episodes of the evaluation, the same for all policies."""
    first: int = 100_000
    """Seed of the first episode."""
    device: str = "auto"
    """Device: auto (CUDA if available), cpu, cuda or cuda:N."""
    table: bool = False
    """Only collect existing results."""

    def __post_init__(self) -> None:
        check_methods(self.methods, METHODS)
        if not self.seeds or self.episodes < 1:
            raise ValueError("seeds and episodes: expected at least one")


def rollout(policy: Policy, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Run an episode of 300 steps for each seed.

    The reward is D4RL's: the environment adds the distance of palm and handle, D4RL subtracts it.

    Returns:
        Of each episode the return in 200 steps (`limited`) and in all (`whole`), and the largest
        angle of the hinge in rad (`angle`).
    """
    doors = "gymnasium_robotics.envs.adroit_hand.adroit_door"
    environment = needed_module(doors, "the door experiment").AdroitHandDoorEnv()
    found: dict[str, list[float]] = {"limited": [], "whole": [], "angle": []}
    for seed in seeds:
        state, _ = environment.reset(seed=seed)
        rewards, angle = [], 0.0
        for _ in range(STEPS):
            decision = policy.decide({"state": state[None].astype(np.float32)})
            state, reward, *_ = environment.step(decision.action[0].astype(np.float32))
            rewards.append(float(reward) - 0.2 * float(np.linalg.norm(state[_APART])))
            angle = max(angle, float(state[_HINGE]))
        found["limited"].append(sum(rewards[:LIMIT]))
        found["whole"].append(sum(rewards))
        found["angle"].append(angle)
    environment.close()
    return found


def evaluate(args: DoorArgs, name: str, seed: int) -> dict[str, Any]:
    """Train one policy and evaluate it on every episode."""
    started = time.monotonic()
    # Options replace those of a configuration before them.
    options = {**METHODS[name], **_OPTIONS, "data": args.data, "seed": seed, "device": args.device}
    file = train_policy(args.out / "runs" / _key(name, seed), options)
    minutes = (time.monotonic() - started) / 60
    seeds = range(args.first, args.first + args.episodes)
    results = rollout(Policy.load(file, args.device), seeds)
    episodes = [args.first, args.episodes]
    return {"method": name, "seed": seed, "episodes": episodes, "minutes": minutes, **results}


def _key(name: str, seed: int) -> str:
    return f"{name.split(' (')[0].replace(' ', '_')}_{seed}"


def run(args: DoorArgs) -> None:
    """Compute the missing results, and collect all of them."""
    torch.set_num_threads(1)
    results = []
    for name in args.methods:
        for seed in args.seeds:
            path = args.out / "results" / f"{_key(name, seed)}.json"
            compute = None if args.table else partial(evaluate, args, name, seed)
            results.append(kept_result(path, {"episodes": [args.first, args.episodes]}, compute))
    _write(args, [result for result in results if result is not None])


def _write(args: DoorArgs, results: Sequence[Mapping[str, Any]]) -> None:
    rows = []
    for name in args.methods:
        found = [result for result in results if result["method"] == name]
        if not found:
            continue
        cells = [
            f"{np.mean(means):.0f} ({min(means):.0f} to {max(means):.0f})"
            for means in (
                [float(np.mean(result[key])) for result in found] for key in ("limited", "whole")
            )
        ]
        angles = np.concatenate([result["angle"] for result in found])
        shares = [f"{np.mean(angles >= least):.0%}" for least in (OPEN, SUCCESS)]
        minutes = f"{max(result['minutes'] for result in found):.1f}"
        rows.append([name, str(len(found)), *cells, *shares, minutes])
    columns = [
        "method", "trainings", f"return in {LIMIT} steps", f"in {STEPS}", f"opened {OPEN} rad",
        f"{SUCCESS} rad", "longest training (min)",
    ]  # fmt: skip
    write_results(args.out, columns, rows, {"seeds": args.seeds, "results": list(results)})


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("door", DoorArgs, run, argv)


if __name__ == "__main__":
    main()
