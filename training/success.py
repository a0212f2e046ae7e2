"""Success in simulation of a policy while it is trained."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml
from tqdm import tqdm

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.policy.file import PolicyFile, save_policy

FOLDER = "evaluation"


class SuccessInSimulation:
    """Runs the command evaluate_policy on the weights of a moment."""

    def __init__(
        self,
        folder: Path,
        task: str,
        scenes: int,
        interface: Interface,
        policy: Callable[[], PolicyFile],
    ) -> None:
        """Prepare evaluations.

        Args:
            folder: Folder of the training run.
            task: Task of the simulation.
            scenes: Number of scenes.
            interface: Interface of the policy, which the simulated robot takes too.
            policy: Function that returns the policy of the moment.
        """
        self._folder, self._task, self._policy = folder / FOLDER, task, policy
        self._scenes, self._interface = scenes, interface

    def __call__(self, step: int) -> dict[str, float]:
        """Return the share of solved scenes by curve.

        Raises:
            ValueError: If the simulation can't run at all, as step 0 shows. A later failure gives
                a message and no share.
        """
        folder, file = self._folder / str(step), self._folder / f"{step}.safetensors"
        self._folder.mkdir(parents=True, exist_ok=True)
        interface = self._folder / "interface.yaml"
        interface.write_text(yaml.safe_dump(self._interface.to_dict()), encoding="utf-8")
        save_policy(file, self._policy())
        done = subprocess.run(
            [
                sys.executable, "-m", "ebm_policy_ros.sim.evaluate", "--policy", str(file),
                "--out", str(folder), "--task", self._task, "--interface", str(interface),
                "--episodes", str(self._scenes), "--videos", "0",
            ],
            check=False,
            capture_output=True,
            text=True,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            if step == 0:
                raise ValueError(f"evaluate: {last}")
            tqdm.write(f"no success of step {step}: {last}", file=sys.stderr)
            return {}
        report = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        share = report["successes"] / report["episodes"]
        tqdm.write(f"step {step}: {report['successes']} of {report['episodes']} scenes solved")
        return {f"success/{self._task}": share}
