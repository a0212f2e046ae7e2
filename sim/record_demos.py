"""record_demos: demonstrations by the task's scripted teleoperator, as bags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ebm_policy_ros.sim.episodes import EpisodesConfig, run_episodes
from ebm_policy_ros.sim.subprocesses import Program, ProgramFailed
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.resources import interface_path


@dataclass(frozen=True)
class RecordArgs:
    """Record demonstrations of a task in simulation, over real ROS topics."""

    out: Path
    """Folder for the bags; a run that was cut short goes on where it stopped."""
    task: str = "push"
    """Task of the simulation: its bare name (docs/reference/tasks.md), or a class in full, as
    my_package.my_module.MyTask."""
    episodes: int = 500
    """Number of demonstrations."""
    seed: int = 0
    """Seed of the first scene; the others follow by one."""
    interface: str | None = None
    """Interface file of the arm, or the bare name of a shipped one; by default the task's."""
    command_noise: float | None = None
    """Largest noise on the motion, metres per 0.1 s; by default as much as the task takes."""
    knocks: float | None = None
    """Knocks that push the arm off its way, per second; by default as many as the task takes."""


def record_demos(args: RecordArgs) -> None:
    """Run the episodes and say how many succeeded."""
    task = make_task(args.task)
    interface = interface_path(args.interface or task.interface)
    noise, knocks = args.command_noise, args.knocks
    config = EpisodesConfig(
        task=args.task,
        interface=interface,
        out=args.out / "run",
        seed=args.seed,
        episodes=args.episodes,
        command_noise=task.command_noise if noise is None else noise,
        knocks=task.knocks if knocks is None else knocks,
        bags=args.out,
        record=args.episodes,
    )
    chosen = {"task": args.task, "interface": str(interface.resolve())}
    oracle = Program("sim.oracle_node", chosen)
    results = run_episodes(config, oracle)
    successes = sum(result.success for result in results)
    print(f"{successes} of {len(results)} demonstrations succeeded; bags are in {args.out}")


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("record_demos", RecordArgs, record_demos, argv, (ProgramFailed,))


if __name__ == "__main__":
    main()
