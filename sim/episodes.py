"""Series of episodes over real ROS: simulation and commander, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.sim.disturbance import Disturbance
from ebm_policy_ros.sim.subprocesses import Program, has_ended, running
from ebm_policy_ros.sim.tasks import make_task

RESULTS = "episodes.jsonl"
SERIES = "series.json"
# Parts of the bridge's status that are no result.
_NOT_MEASURED = ("state", "started_ns", "time_ns", "task", "interface")
# Parameters of a commander that a series notes by itself.
_NOTED_APART = ("policy", "task")


@dataclass(frozen=True)
class EpisodeResult:
    """Result of one episode."""

    seed: int
    success: bool
    steps: int
    wall_seconds: float
    """Real time that the episode took, from its first command on."""
    latency_ms: list[float]
    """Times from the publication of each tick's samples to the arrival of its command."""
    bag: str = ""
    stopped: str = ""
    """Reason of the policy's stop, which ended the episode as a failure; empty if none."""
    measures: dict[str, float | bool] = field(default_factory=dict)
    """Result of the task, by name."""

    @classmethod
    def from_status(cls, status: dict[str, Any]) -> EpisodeResult:
        """Read the bridge's last status of an episode, in which the measures stand by name.

        Raises:
            TypeError: Something is missing.
        """
        own = {key.name for key in fields(cls)}
        known = {key: value for key, value in status.items() if key in own}
        measures = {k: v for k, v in status.items() if k not in {*own, *_NOT_MEASURED}}
        return cls(**known, measures=measures)

    def to_dict(self) -> dict[str, Any]:
        """Return the result with the measures by name, as in result.json."""
        own = {key.name: getattr(self, key.name) for key in fields(self) if key.name != "measures"}
        return {"seed": own.pop("seed"), "success": own.pop("success"), **self.measures, **own}


@dataclass(frozen=True)
class EpisodesConfig:
    """Series of episodes in lock-step."""

    task: str
    """Bare name, or a class as my_package.my_module.MyTask."""
    interface: Path
    out: Path
    """Folder for results, logs, videos and bags; a series that was cut short goes on."""
    seed: int
    """Seed of the first scene; the others follow by one."""
    episodes: int
    command_noise: float = 0.0
    """Largest noise on the executed motion, metres per 0.1 s."""
    knocks: float = 0.0
    """Knocks of the arm per second."""
    policy_sha256: str = ""
    """Hash of the policy that commands, if one does."""
    videos: int = 0
    """Episodes to film, counted from the first."""
    bags: Path | None = None
    record: int = 0
    """Episodes to record into `bags`, counted from the first."""

    def __post_init__(self) -> None:
        make_task(self.task)
        Disturbance(self.command_noise, self.knocks)
        if self.episodes < 1:
            raise ValueError(f"episodes: got {self.episodes}, expected an integer >= 1")
        if self.seed < 0:
            raise ValueError(f"seed: got {self.seed}, expected an integer >= 0")


def read_results(out: Path) -> list[EpisodeResult]:
    """Read the results of the complete episodes, in the order of their seeds."""
    path = out / RESULTS
    if not path.exists():
        return []
    # A line without its end is being written, or was when its writer died.
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
        results = [EpisodeResult.from_status(line) for line in lines]
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the results of this version ({error})") from None
    return sorted(results, key=lambda result: result.seed)


def run_episodes(config: EpisodesConfig, commander: Program) -> list[EpisodeResult]:
    """Run the episodes that are not done yet, with a progress bar, and return all results.

    Args:
        config: Tells the episodes.
        commander: Commands the arm: policy_node or oracle_node.

    Raises:
        ValueError: If the task is unknown or the folder holds other episodes.
        ProgramFailed: If a process ends before its time.
    """
    _claim_folder(config, commander)
    _drop_cut_line(config.out / RESULTS)
    done = read_results(config.out)
    if [result.seed for result in done] != list(range(config.seed, config.seed + len(done))):
        raise ValueError(
            f"{config.out} holds episodes of other seeds than {config.seed} and up; choose an "
            "empty folder"
        )
    if len(done) < config.episodes:
        programs = _programs(config, commander, len(done))
        with running(programs, config.out / "logs") as processes:
            _wait(processes, config, len(done))
    return read_results(config.out)[: config.episodes]


def _claim_folder(config: EpisodesConfig, commander: Program) -> None:
    """Note the series in its folder, so that two never mix.

    Raises:
        ValueError: If the folder belongs to another one.
    """
    identity = {
        "task": config.task,
        "seed": config.seed,
        "interface": load_interface(config.interface).to_dict(),
        "command_noise": config.command_noise,
        "knocks": config.knocks,
        "commander": commander.name,
        "parameters": {
            key: value for key, value in commander.parameters.items() if key not in _NOTED_APART
        },
        "policy_sha256": config.policy_sha256,
    }
    path = config.out / SERIES
    if path.exists():
        noted = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key, value in identity.items() if noted.get(key) != value]
        if differing:
            raise ValueError(
                f"{config.out} holds episodes of another {differing[0]}; choose another folder"
            )
        return
    if config.out.exists() and any(config.out.iterdir()):
        raise ValueError(f"{config.out} is not empty; choose another folder")
    config.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(identity, indent=2), encoding="utf-8")


def _drop_cut_line(results: Path) -> None:
    """Drop the half of a result that a crash left."""
    if results.exists():
        whole = results.read_bytes().rpartition(b"\n")
        os.truncate(results, len(whole[0]) + len(whole[1]))


def _programs(config: EpisodesConfig, commander: Program, done: int) -> list[Program]:
    interface = str(config.interface.resolve())
    out = config.out.resolve()
    record = max(0, config.record - done) if config.bags is not None else 0
    bridge = {
        "task": config.task,
        "interface": interface,
        "lockstep": True,
        "wait_for_start": True,
        "seed": config.seed + done,
        "command_noise": config.command_noise,
        "knocks": config.knocks,
        "video_dir": str(out / "videos") if config.videos > done else "",
        "videos": max(0, config.videos - done),
    }
    runner = {
        "episodes": config.episodes - done,
        "results": str(out / RESULTS),
        "record": record,
        "policy": commander.name if config.policy_sha256 else "",
        "time_limit": float(make_task(config.task).time_limit),
    }
    recorder = {
        "interface": interface,
        "folder": str(config.bags.resolve()) if config.bags else "",
        "prefix": config.task.rpartition(".")[2],
        "keys": False,
        "use_sim_time": True,
    }
    return [
        Program("sim.episodes_node", runner),
        Program("sim.bridge_node", bridge),
        Program(commander.module, {**commander.parameters, "use_sim_time": True}),
        *([Program("nodes.recorder.node", recorder)] if record else []),
    ]


def _wait(
    processes: dict[str, subprocess.Popen[bytes]], config: EpisodesConfig, done: int
) -> None:
    """Wait until the episodes are done; any other end is a failure."""
    bar = tqdm(
        desc=config.task,
        total=config.episodes,
        initial=done,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
        dynamic_ncols=True,
    )
    with bar:
        scene = begun = time.monotonic()
        while True:
            # The runner ends after its last result: polled first, it leaves none uncounted.
            over = has_ended(processes, "episodes_node", config.out / "logs")
            results = read_results(config.out)
            if new := len(results) - bar.n:
                scene = time.monotonic()
                bar.update(new)
            if new or sys.stderr.isatty():
                now = time.monotonic()
                pace = (scene - begun) / (bar.n - done) if bar.n > done else None
                bar.set_postfix_str(_progress(config, results, now - scene, pace))
            if over:
                return
            time.sleep(0.2)


def _progress(
    config: EpisodesConfig, results: Sequence[EpisodeResult], seconds: float, pace: float | None
) -> str:
    """Return the text behind the bar.

    Args:
        config: The series.
        results: Results of the complete episodes.
        seconds: Time since the last of them.
        pace: Seconds that an episode takes; None before one was complete.
    """
    solved = sum(result.success for result in results)
    parts = [f"{solved} solved"]
    if (left := config.episodes - len(results)) > 0:
        parts.append(f"scene {config.seed + len(results)} for {seconds:.0f} s")
        if pace is not None:
            parts.append(f"about {left * pace / 60:.0f} min left")
    return ", ".join(parts)
