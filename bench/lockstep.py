"""Speed of the lock-step simulation over ROS with a camera: simulated seconds per second."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from ebm_policy_ros.sim.episodes import EpisodesConfig, Program, run_episodes
from ebm_policy_ros.util.resources import interface_path

EPISODES = 20
RATE = 10.0


def main() -> None:
    """Run the oracle, which answers immediately, and print the speed of the simulation."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    interface = interface_path("ur5e_push")
    with tempfile.TemporaryDirectory() as folder:
        config = EpisodesConfig(
            task="push", interface=interface, out=Path(folder), seed=300000, episodes=EPISODES
        )
        oracle = Program("sim.oracle_node", {"interface": str(interface)})
        results = run_episodes(config, oracle)
    simulated = sum(result.steps for result in results) / RATE
    wall = sum(result.wall_seconds for result in results)
    print(
        f"{len(results)} episodes, {simulated:.1f} s simulated in {wall:.1f} s: "
        f"{simulated / wall:.1f} times real time"
    )


if __name__ == "__main__":
    main()
