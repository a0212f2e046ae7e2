"""evaluate_policy: success of a policy in simulation, over real ROS, with videos and energies."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.policy.file import load_policy_file
from ebm_policy_ros.policy.policy import Choice, Policy, PolicyMismatch
from ebm_policy_ros.sim.energy_picture import draw_energies
from ebm_policy_ros.sim.episodes import EpisodeResult, EpisodesConfig, run_episodes
from ebm_policy_ros.sim.subprocesses import Program, ProgramFailed
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.training.data.episodes import read_episode
from ebm_policy_ros.trials.sequential import wilson_interval
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.resources import interface_path, policy_path


@dataclass(frozen=True)
class EvaluateArgs:
    """Run a policy on unseen scenes: the simulation and policy_node as processes, in lock-step."""

    policy: str
    """Policy file to judge, or the bare name of a shipped one."""
    out: Path
    """Folder for result.json, videos and pictures; a run that was cut short goes on."""
    task: str = "push"
    """Task of the simulation: its bare name (docs/reference/tasks.md), or a class in full, as
    my_package.my_module.MyTask."""
    episodes: int = 10
    """Number of scenes."""
    seed: int = 100000
    """Seed of the first scene; the others follow by one."""
    interface: str | None = None
    """Interface file of the arm, or the bare name of a shipped one; by default the task's."""
    videos: int | None = None
    """Episodes to film, from the first on; by default all."""
    bags: int = 1
    """Episodes to record, from the first on."""
    execute: int = 0
    """Actions of a chunk that are executed before the next decision; 0 for half of them."""
    choice: Choice = "lowest"
    """Action that is chosen: lowest, that of lowest energy, or sample, a draw from exp(-E)."""
    device: str = "cpu"
    """Device on which the policy decides: cpu, cuda or auto."""
    inference: dict[str, int | float | str] = field(default_factory=dict)
    """Settings of the search that replace the policy's, such as --inference.samples 2048."""
    parameters: dict[str, int | float | str] = field(default_factory=dict)
    """Further parameters of policy_node, such as --parameters.when_unsure go."""


def summarise(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Return the figures of a series of episodes, as in result.json.

    Of a measure that is yes or no, the number of yes is counted.
    """
    successes = sum(result.success for result in results)
    latencies = np.concatenate([result.latency_ms for result in results] or [[]])
    quantiles = np.percentile(latencies, (50, 95, 99)) if len(latencies) else [math.nan] * 3
    return {
        "episodes": len(results),
        "successes": successes,
        "success_interval_95": [round(x, 4) for x in wilson_interval(successes, len(results))],
        **_counts(results),
        "mean_steps": round(float(np.mean([result.steps for result in results])), 1),
        "decision_ms": {
            name: round(float(value), 2)
            for name, value in zip(("p50", "p95", "p99"), quantiles, strict=True)
        },
        "seeds": [result.seed for result in results],
        "failed_seeds": [result.seed for result in results if not result.success],
        "stops": {str(result.seed): result.stopped for result in results if result.stopped},
    }


def _counts(results: Sequence[EpisodeResult]) -> dict[str, int]:
    """Count the episodes in which each measure that is yes or no is yes."""
    measures = [result.measures for result in results]
    yes_or_no = [name for name, value in measures[0].items() if isinstance(value, bool)]
    return {name: sum(bool(each[name]) for each in measures) for name in yes_or_no}


def counted_rows(labels: Mapping[str, str], summary: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return the label of each measure that is yes or no, and its count; successes first."""
    counted = {"success": "solved", **labels}
    first = counted.pop("success"), summary["successes"]
    return [first, *((text, summary[key]) for key, text in counted.items() if key in summary)]


def format_table(task: str, labels: Mapping[str, str], summary: dict[str, Any]) -> str:
    """Return the figures for people; `labels` are those of the task."""
    low, high = summary["success_interval_95"]
    count = summary["episodes"]
    decision = summary["decision_ms"]
    (solved, successes), *others = counted_rows(labels, summary)
    rows = [
        ("task", task),
        ("scenes", f"{count}, seeds {summary['seeds'][0]} to {summary['seeds'][-1]}"),
        (solved, f"{successes}/{count}  (95 % interval {low:.1%} to {high:.1%})"),
        *[(label, f"{number}/{count}") for label, number in others],
        ("policy stopped", _stops(summary["stops"], count)),
        ("steps", f"{summary['mean_steps']} on average"),
        ("image to command", f"p50 {decision['p50']} ms, p99 {decision['p99']} ms"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _stops(stops: Mapping[str, str], count: int) -> str:
    """Return the number of scenes that a stop of the policy ended, and the first one's reason."""
    if not stops:
        return f"0/{count}"
    seed, reason = next(iter(stops.items()))
    return f"{len(stops)}/{count}  (scene {seed}: {reason})"


def load_judged(name: str, inference: Mapping[str, Any] | None = None) -> Policy:
    """Load a policy to judge, a file or the bare name of a shipped one, with its interface.

    Raises:
        PolicyMismatch: If it names no robot.
    """
    policy = Policy.load(policy_path(name), "cpu", inference=inference)
    if policy.interface is None:
        raise PolicyMismatch(
            f"{name}: trained on arrays that name no robot; train it with --interface"
        )
    return policy


def evaluate(args: EvaluateArgs) -> dict[str, Any]:
    """Run the episodes, write every result into the folder and return the figures."""
    path = policy_path(args.policy)
    policy = load_judged(args.policy, args.inference)
    assert policy.interface is not None
    interface = interface_path(args.interface or make_task(args.task).interface)
    config = EpisodesConfig(
        task=args.task,
        interface=interface,
        out=args.out,
        seed=args.seed,
        episodes=args.episodes,
        policy_sha256=policy.sha256,
        videos=args.episodes if args.videos is None else args.videos,
        bags=args.out / "bags",
        record=args.bags,
    )
    commander = Program(
        "nodes.policy.node",
        {
            "policy": str(path.resolve()),
            "interface": str(interface.resolve()),
            "device": args.device,
            "execute": args.execute,
            "choice": args.choice,
            **{f"inference.{name}": value for name, value in args.inference.items()},
            **args.parameters,
            "lockstep": True,
            "autostart": True,
        },
    )
    results = run_episodes(config, commander)
    summary = summarise(results)
    report = {
        "task": args.task,
        "policy": path.name,
        "policy_sha256": policy.sha256,
        "training": load_policy_file(path).training,
        "machine": f"{platform.machine()}, {platform.platform()}",
        **summary,
        "results": [result.to_dict() for result in results],
    }
    (args.out / "result.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
    if policy.has_energy and len(policy.interface.action.names) > 1:
        _draw_first(args.out, policy, policy.interface, results[0])
    return summary


def _draw_first(out: Path, policy: Policy, interface: Interface, result: EpisodeResult) -> None:
    """Draw the energies of the first episode, or say why there is nothing to draw."""
    try:
        episode = read_episode(Path(result.bag), interface, whole=True)
    except BagError as error:  # a policy that stops at once has not commanded
        print(f"no energy.png: {error}")
        return
    video = out / "videos" / f"episode_{result.seed}.mp4"
    draw_energies(policy, interface, episode, video, out / "energy.png")


def _evaluate_and_tell(args: EvaluateArgs) -> None:
    labels = make_task(args.task).labels
    print(format_table(args.task, labels, evaluate(args)))
    print(f"\nresult.json, videos and pictures are in {args.out}")


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("evaluate_policy", EvaluateArgs, _evaluate_and_tell, argv, (ProgramFailed,))


if __name__ == "__main__":
    main()
