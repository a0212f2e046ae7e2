"""Speed of the lock-step simulation over ROS with a camera: simulated seconds per second."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.sim.episodes import EpisodesConfig, Program, run_episodes
from ebm_policy_ros.sim.tasks import TASKS, make_task
from ebm_policy_ros.util.resources import interface_path


def speed(task: str, episodes: int) -> str:
    """Run the scripted teleoperator, which answers at once, and tell the simulation's speed."""
    interface = interface_path(make_task(task).interface)
    with tempfile.TemporaryDirectory() as folder:
        config = EpisodesConfig(
            task=task, interface=interface, out=Path(folder), seed=300000, episodes=episodes
        )
        oracle = Program("sim.oracle_node", {"interface": str(interface), "task": task})
        results = run_episodes(config, oracle)
    simulated = sum(result.steps for result in results) / load_interface(interface).rate
    wall = sum(result.wall_seconds for result in results)
    return (
        f"{task}: {len(results)} episodes, {simulated:.1f} s simulated in {wall:.1f} s: "
        f"{simulated / wall:.1f} times real time"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--episodes", type=int, default=5, help="of each task")
    args = parser.parse_args(argv)
    for task in args.tasks:
        print(speed(task, args.episodes), flush=True)


if __name__ == "__main__":
    main()
