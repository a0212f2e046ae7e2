"""Runs episodes over real ROS: the simulation and who commands it, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.sim.disturbance import Disturbance
from ebm_policy_ros.sim.subprocesses import Program, failure_of, running
from ebm_policy_ros.sim.tasks import make_task

RESULTS = "episodes.jsonl"
SERIES = "series.json"


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode ended."""

    seed: int
    success: bool
    """The block's centre came within 2 cm of a goal's."""
    within_1cm: bool
    closest: float
    """Smallest distance between the two, metres."""
    distance: float
    """The same at the end of the episode, metres."""
    steps: int
    wall_seconds: float
    """Real time that the episode took, from its first command on."""
    latency_ms: list[float]
    """From the publication of each tick's images to the arrival of its command."""
    bag: str = ""
    stopped: str = ""
    """Why the policy stopped, which ended the episode as a failure; empty if it didn't."""


@dataclass(frozen=True)
class EpisodesConfig:
    """A series of episodes in lock-step."""

    task: str
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
    """Of the policy that commands, if one does."""
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
    """The results of the episodes that are complete, in the order of their seeds."""
    path = out / RESULTS
    if not path.exists():
        return []
    # A line without its end is being written, or was when its writer died.
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
        results = [EpisodeResult(**{k: v for k, v in x.items() if k != "state"}) for x in lines]
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the results of this version ({error})") from None
    return sorted(results, key=lambda result: result.seed)


def run_episodes(config: EpisodesConfig, commander: Program) -> list[EpisodeResult]:
    """Run the episodes that are not done yet, with a progress bar, and return all results.

    Args:
        config: What to run.
        commander: Who commands the arm: policy_node or oracle_node.

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
    """Note what the folder is for, so that two series never mix.

    Raises:
        ValueError: If it belongs to another one.
    """
    identity = {
        "task": config.task,
        "seed": config.seed,
        "interface": load_interface(config.interface).to_dict(),
        "command_noise": config.command_noise,
        "knocks": config.knocks,
        "commander": commander.name,
        "parameters": {k: v for k, v in commander.parameters.items() if k != "policy"},
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
    """Make way for the next result where a crash left half of one."""
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
    }
    recorder = {
        "interface": interface,
        "folder": str(config.bags.resolve()) if config.bags else "",
        "prefix": config.task,
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
    """Until the episodes are done; any other end is a failure."""
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
            ended = {name: p for name, p in processes.items() if p.poll() is not None}
            results = read_results(config.out)
            if new := len(results) - bar.n:
                scene = time.monotonic()
                bar.update(new)
            if new or sys.stderr.isatty():
                now = time.monotonic()
                pace = (scene - begun) / (bar.n - done) if bar.n > done else None
                bar.set_postfix_str(_progress(config, results, now - scene, pace))
            for name, process in ended.items():
                if name == "episodes_node" and process.returncode == 0:
                    return
                raise failure_of(name, process.returncode, config.out / "logs" / f"{name}.log")
            time.sleep(0.2)


def _progress(
    config: EpisodesConfig, results: Sequence[EpisodeResult], seconds: float, pace: float | None
) -> str:
    """Return the text behind the bar.

    Args:
        config: The series.
        results: Of the episodes that are complete.
        seconds: Since the last of them.
        pace: Seconds that an episode takes; None before one was complete.
    """
    solved = sum(result.success for result in results)
    parts = [f"{solved} solved"]
    if (left := config.episodes - len(results)) > 0:
        parts.append(f"scene {config.seed + len(results)} for {seconds:.0f} s")
        if pace is not None:
            parts.append(f"about {left * pace / 60:.0f} min left")
    return ", ".join(parts)
