"""The table of tasks: demonstrate, train and judge over real ROS, row by row.

Each stage is a command that a user types, so the rows repeat by hand; each goes on where it was
interrupted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.training.experiments.common import refuse_others, write_results, write_whole
from ebm_policy_ros.training.learning.trainer import CHECKPOINT
from ebm_policy_ros.training.train_config import POLICY
from ebm_policy_ros.util.cli import flags_of, run_command

Stage = Literal["demonstrate", "train", "judge"]

_MODULES: Mapping[Stage, str] = {
    "demonstrate": "ebm_policy_ros.sim.record_demos",
    "train": "ebm_policy_ros.training.train",
    "judge": "ebm_policy_ros.sim.evaluate",
}


@dataclass(frozen=True)
class Row:
    """Policies of one kind, trained alike on a task."""

    task: str
    """Task of the simulation."""
    name: str
    """Name of the policies in the table, and of their folders."""
    steps: int
    """Steps of a training."""
    train: dict[str, Any] = field(default_factory=dict)
    """Options of train_policy, as {model.kind: explicit}."""
    judge: dict[str, Any] = field(default_factory=dict)
    """Options of evaluate_policy, as {execute: 5}."""
    seeds: tuple[int, ...] = (0,)
    """Training seeds."""

    def __post_init__(self) -> None:
        make_task(self.task)
        if self.steps < 1 or not self.seeds:
            raise ValueError(f"{self.task}, {self.name}: expected steps >= 1 and a training seed")


@dataclass(frozen=True)
class SuiteArgs:
    """Record, train and judge every row that is not done yet, and print the table."""

    out: Path
    """Folder for demonstrations, policies and results; what is there is not computed again."""
    rows: tuple[Row, ...]
    """Rows of the table."""
    demonstrations: int = 400
    """Demonstrations of each task, scenes from seed 0."""
    episodes: int = 100
    """Scenes by which a policy is judged."""
    seed: int = 110_000
    """Seed of the first such scene."""
    videos: int = 3
    """Scenes to film."""
    share: float = 1.0
    """Share of all demonstrations, steps and scenes that is run: 0.1 shows in minutes that every
    row runs, and nothing else."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share: got {self.share}, expected above 0 and at most 1")
        if min(self.demonstrations, self.episodes) < 1:
            raise ValueError("demonstrations, episodes: expected at least one")
        names = [(row.task, row.name) for row in self.rows]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"rows: got two named {' '.join(name)}, expected each once")

    def part(self, count: int) -> int:
        """Return the share of a count, at least 1."""
        return max(1, round(self.share * count))


@dataclass(frozen=True)
class _Job:
    """One stage of a row: the demonstrations of its task, a training, or its scenes."""

    stage: Stage
    kind: str
    """Jobs of a stage and kind take about equally long for a unit."""
    units: int
    """Demonstrations, steps or scenes."""
    options: Mapping[str, Any]
    """Options of the command that the result depends on."""
    paths: Mapping[str, Path]
    """Options of the command that name files and folders."""
    done: Path
    """File that notes the job when it is done."""

    def noted(self) -> dict[str, Any] | None:
        """Return what was noted of the job; None if it is not done.

        Raises:
            ValueError: If it was done with other options.
        """
        if not self.done.exists():
            return None
        noted: dict[str, Any] = json.loads(self.done.read_text(encoding="utf-8"))
        refuse_others(self.done, noted["options"], self.options)
        return noted

    def run(self) -> None:
        """Run the command, and note its options and its time.

        Raises:
            ValueError: If it fails.
        """
        flags = flags_of({**self.options, **self.paths})
        if (self.paths["out"] / CHECKPOINT).exists():
            flags.append("--resume")
        module = _MODULES[self.stage]
        begun = time.monotonic()
        if subprocess.run([sys.executable, "-m", module, *flags], check=False).returncode:
            raise ValueError(f"{self.paths['out']}: {module} failed; its message is above")
        seconds = round(time.monotonic() - begun, 1)
        noted = {"options": self.options, "units": self.units, "seconds": seconds}
        write_whole(self.done, noted, indent=2)


def jobs(args: SuiteArgs) -> list[_Job]:
    """Return all jobs in the order in which they run."""
    found = {}
    for row in args.rows:
        folder = args.out / row.task
        demos = _Job(
            "demonstrate",
            row.task,
            args.part(args.demonstrations),
            {"task": row.task, "episodes": args.part(args.demonstrations)},
            {"out": folder / "demos"},
            folder / "demos.json",
        )
        found[demos.done] = demos
        for seed in row.seeds:
            run = folder / f"{row.name}_{seed}"
            steps, scenes = args.part(row.steps), args.part(args.episodes)
            training = {**row.train, "seed": seed, "steps": steps}
            chosen = {"seed": args.seed, "videos": min(args.videos, scenes), **row.judge}
            judging = {"task": row.task, "episodes": scenes, **chosen}
            paths = {"data": folder / "demos", "out": run / "train"}
            policy = {"policy": run / "train" / POLICY, "out": run / "scenes"}
            for job in (
                _Job("train", row.name, steps, training, paths, run / "train.json"),
                _Job("judge", row.task, scenes, judging, policy, run / "scenes.json"),
            ):
                found[job.done] = job
    return list(found.values())


def time_left(waiting: Sequence[_Job], noted: Sequence[tuple[_Job, float]]) -> str:
    """Tell the time that the jobs which wait will take.

    Args:
        waiting: Jobs that are not done.
        noted: Jobs that are done, each with its seconds.
    """
    seconds, unknown = 0.0, set()
    for job in waiting:
        alike = [s / done.units for done, s in noted if done.stage == job.stage]
        same = [
            s / done.units for done, s in noted if (done.stage, done.kind) == (job.stage, job.kind)
        ]
        if not alike:
            unknown.add(job.stage)
        else:
            seconds += job.units * fmean(same or alike)
    told = f"about {seconds / 3600:.1f} h left" if seconds else "time left unknown"
    return told + (f", without {' and '.join(sorted(unknown))}" if seconds and unknown else "")


def run(args: SuiteArgs) -> None:
    """Run the jobs that are not done, and print and write the table of those that are."""
    done, waiting = [], []
    for job in jobs(args):
        noted = job.noted()
        if noted is None:
            waiting.append(job)
        else:
            done.append((job, float(noted["seconds"])))
    while waiting:
        job = waiting.pop(0)
        print(f"{job.paths['out']}: {job.stage}; {time_left([job, *waiting], done)}", flush=True)
        job.run()
        noted = job.noted()
        assert noted is not None
        done.append((job, float(noted["seconds"])))
    runs = [_result(job) for job, _ in done if job.stage == "judge"]
    columns = ("task", "policy", "solved", "95 % interval", "steps", "p50, p99 ms", "training min")
    write_results(args.out, columns, [_cells(result) for result in runs], {"runs": runs})


def _result(job: _Job) -> dict[str, Any]:
    """Return a policy's result of its scenes, with its name and the minutes of its training."""
    folder = job.paths["out"]
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    training = json.loads((folder.parent / "train.json").read_text(encoding="utf-8"))
    return {"name": folder.parent.name, "minutes": round(training["seconds"] / 60, 1), **result}


def _cells(result: Mapping[str, Any]) -> list[str]:
    low, high = result["success_interval_95"]
    decision = result["decision_ms"]
    return [
        result["task"],
        result["name"],
        f"{result['successes']}/{result['episodes']}",
        f"{low:.1%} to {high:.1%}",
        f"{result['mean_steps']}",
        f"{decision['p50']}, {decision['p99']}",
        f"{result['minutes']}",
    ]


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("suite", SuiteArgs, run, argv)


if __name__ == "__main__":
    main()
