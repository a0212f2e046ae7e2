"""Corrections of a person make a policy of few demonstrations reliable (HG-DAgger).

A policy runs; a scripted person takes over when it makes no progress, until it does again. The
steps that the person commanded are trained on too, and the policy runs again. Source: Kelly et al.
2019, HG-DAgger (arXiv 1810.02890). Without ROS; the training is `train_policy`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.sim.experiments.takeovers import (
    MEASURE,
    MOST_SCENES,
    CorrectionsArgs,
    correct,
)
from ebm_policy_ros.sim.experiments.without_ros import (
    WithoutRosArgs,
    apart,
    demonstrate,
    judge,
    make_world,
)
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.training.data.arrays import load_arrays
from ebm_policy_ros.training.experiments.common import kept_result, train_policy, write_results
from ebm_policy_ros.training.train_config import POLICY
from ebm_policy_ros.trials.sequential import wilson_interval
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.resources import interface_path

# Seed of the first scene that is corrected: none of them is demonstrated or judged.
_FIRST = 500_000
_Point = tuple[int, float, float, float]
"""Steps, share of solved scenes, and the ends of its interval."""


def run(args: CorrectionsArgs) -> None:
    """Run what is missing, and write the table, the curve and all results."""
    torch.set_num_threads(1)
    _refuse_task(args.task)
    args.out.mkdir(parents=True, exist_ok=True)
    found = [result for seed in args.seeds for result in _of_seed(args, seed)]
    _write(args, found)


def _refuse_task(name: str) -> None:
    """Refuse a task that the experiment cannot run.

    Raises:
        ValueError: If it measures no distance, or its actions are not those of the tool.
    """
    world = make_world(name)
    action = load_interface(interface_path(world.task.interface)).command
    measured = MEASURE in world.measures
    world.close()
    if not measured or action.is_joints or not action.is_velocity:
        raise ValueError(
            f"task: got {name}, expected one that measures a {MEASURE} and takes velocities of "
            "the tool, such as push"
        )


def _of_seed(args: CorrectionsArgs, seed: int) -> list[dict[str, Any]]:
    """Results of one training seed: of each round, and of further demonstrations instead."""
    folder = args.out / f"seed_{seed}"
    plain = WithoutRosArgs(
        args.out,
        task=args.task,
        demonstrations=args.demonstrations,
        knocks=make_task(args.task).knocks,
        episodes=args.episodes,
        seed=args.seed,
    )
    sources = [_demonstrations(plain)]
    results = [_learned(args, plain, folder / "round_0", seed, sources)]
    for number in range(1, args.rounds + 1):
        file = folder / f"corrections_{number}.npz"
        policy = folder / f"round_{number - 1}" / POLICY
        first = _FIRST + number * MOST_SCENES
        compute = partial(_correct, args, plain, policy, first, file)
        watched = kept_result(file.with_suffix(".json"), _options(args), compute)
        if not file.exists():
            print(f"{folder}: nothing to correct in round {number}", flush=True)
            break
        sources.append(file)
        result = _learned(args, plain, folder / f"round_{number}", seed, sources)
        results.append({**result, "watched": watched})
    count = _count(plain, results[-1]["steps"], results[0]["steps"])
    more = [_demonstrations(replace(plain, demonstrations=count))]
    return [*results, _learned(args, plain, folder / f"demonstrations_{count}", seed, more)]


def _count(plain: WithoutRosArgs, wanted: int, steps: int) -> int:
    """Number of demonstrations with at least as many steps as wanted, if `plain` has `steps`."""
    count = math.ceil(plain.demonstrations * wanted / steps)
    while _steps(_demonstrations(replace(plain, demonstrations=count))) < wanted:
        count += 1
    return count


def _steps(file: Path) -> int:
    return len(load_arrays(file).actions)


def _demonstrations(plain: WithoutRosArgs) -> Path:
    """File of demonstrations, which are recorded if they are missing."""
    file = plain.out / f"{plain.task}_{plain.demonstrations}.npz"
    if not file.exists():
        apart(demonstrate, plain, file)
    return file


def _correct(
    args: CorrectionsArgs, plain: WithoutRosArgs, policy: Path, first: int, file: Path
) -> dict[str, Any]:
    return {**_options(args), "scenes": apart(correct, args, plain, policy, first, file)}


def _learned(
    args: CorrectionsArgs,
    plain: WithoutRosArgs,
    folder: Path,
    seed: int,
    sources: Sequence[Path],
) -> dict[str, Any]:
    """Train a policy on some files, and judge it; return the result."""
    options = {
        "data": [str(source) for source in sources],
        "seed": seed,
        "weight_corrections": args.weight,
        **args.train,
    }

    def compute() -> dict[str, Any]:
        policy = train_policy(folder, options)
        scenes = apart(judge, plain, policy)
        steps = sum(map(_steps, sources))
        return {**_options(args), "steps": steps, "scenes": scenes}

    result = kept_result(folder.with_name(f"{folder.name}.json"), _options(args), compute)
    assert result is not None
    print(f"{folder}: {_share([result])} solved", flush=True)
    return {"name": folder.name, "training_seed": seed, **result}


def _options(args: CorrectionsArgs) -> dict[str, Any]:
    """Return the options that a result depends on."""
    plain = asdict(args)
    return {name: plain[name] for name in plain if name not in ("out", "seeds", "rounds")}


def _write(args: CorrectionsArgs, results: Sequence[Mapping[str, Any]]) -> None:
    """Write the table of each seed, and the curve of all seeds together."""
    rows = [
        [
            _words(args, result["name"]),
            str(result["training_seed"]),
            str(result["steps"]),
            *_watched(result),
            _share([result]),
        ]
        for result in results
    ]
    _draw(args, results)
    columns = (
        "trained on",
        "training seed",
        "steps of a person",
        "takeovers",
        "commanded by the person",
        "solved",
    )
    write_results(args.out, columns, rows, {"options": _options(args), "results": list(results)})


def _share(results: Sequence[Mapping[str, Any]]) -> str:
    """Solved scenes of some results, with their interval."""
    solved, count = _solved(results)
    low, high = wilson_interval(solved, count)
    return f"{solved}/{count} ({low:.1%} to {high:.1%})"


def _solved(results: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Solved scenes, and all scenes."""
    scenes = [scene for result in results for scene in result["scenes"]]
    return sum(scene["solved"] for scene in scenes), len(scenes)


def _words(args: CorrectionsArgs, name: str) -> str:
    """Demonstrations and corrections that policies of a name were trained on."""
    kind, _, number = name.rpartition("_")
    if kind == "demonstrations":
        return f"{number} demonstrations"
    rounds = "round" if number == "1" else "rounds"
    more = f", corrections of {number} {rounds}" if number != "0" else ""
    return f"{args.demonstrations} demonstrations{more}"


def _watched(result: Mapping[str, Any]) -> list[str]:
    """Takeovers, and share of the steps by the person, in the round before."""
    scenes = result.get("watched", {}).get("scenes", [])
    if not scenes:
        return ["", ""]
    taken = sum(scene["takeovers"] for scene in scenes)
    own, steps = (sum(scene[name] for scene in scenes) for name in ("by_person", "steps"))
    return [f"{taken} in {len(scenes)} scenes", f"{own} of {steps} steps"]


def _draw(args: CorrectionsArgs, results: Sequence[Mapping[str, Any]]) -> None:
    """Draw the share of solved scenes over the number of steps to corrections.png."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:  # the number of demonstrations depends on the seed
        name = str(result["name"])
        kinds.setdefault("more" if name.startswith("demo") else name, []).append(result)
    curves = {
        "corrected": [name for name in kinds if name != "more"],
        "demonstrated": ["round_0", "more"],
    }
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for (label, names), style in zip(curves.items(), ("o-", "s--"), strict=True):
        points = sorted(_point(kinds[name]) for name in names)
        steps, share, low, high = np.array(points).T
        # Rounding may put an end of the interval of a share of 1 below it.
        errors = 100 * np.maximum(0.0, np.stack((share - low, high - share)))
        axis.errorbar(steps, 100 * share, errors, fmt=style, capsize=4, label=f"added: {label}")
    axis.set(xlabel="steps that a person commanded", ylabel=f"solved scenes of {args.task} (%)")
    axis.set(ylim=(0, 103))
    axis.legend(loc="lower right")
    figure.savefig(args.out / "corrections.png", dpi=100)


def _point(results: Sequence[Mapping[str, Any]]) -> _Point:
    """Point of the results of all seeds."""
    solved, count = _solved(results)
    steps = round(sum(result["steps"] for result in results) / len(results))
    return (steps, solved / count, *wilson_interval(solved, count))


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("corrections", CorrectionsArgs, run, argv)


if __name__ == "__main__":
    main()
