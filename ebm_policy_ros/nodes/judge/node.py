"""judge_node: runs the trials of judge_policy, which starts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rclpy.node import Node

from ebm_policy_ros.interface import interface_from_dict
from ebm_policy_ros.nodes.common.parameters import Setting, declare_all
from ebm_policy_ros.nodes.common.spin import run_coroutine
from ebm_policy_ros.nodes.common.terminal import Terminal
from ebm_policy_ros.nodes.judge.arm import ArmRunner, EndedByOperator
from ebm_policy_ros.nodes.judge.camera import Camera, StartOverlay
from ebm_policy_ros.nodes.judge.keys import TRIAL_KEYS
from ebm_policy_ros.nodes.judge.questions import SETTINGS as ASKING
from ebm_policy_ros.nodes.judge.questions import Questions, terminal_of
from ebm_policy_ros.nodes.judge.requests import TrialRefused
from ebm_policy_ros.nodes.judge.simulation import SimulationRunner
from ebm_policy_ros.nodes.judge.trial_nodes import TrialNodes
from ebm_policy_ros.nodes.operator.robot_link import NODES
from ebm_policy_ros.trials.films import camera_of
from ebm_policy_ros.trials.log import TrialLog
from ebm_policy_ros.trials.loop import TrialRunner, run_trials
from ebm_policy_ros.trials.plan import COMPARISON, read_comparison
from ebm_policy_ros.trials.starts import find_starts

SETTINGS = (
    Setting("out", "", "Folder of the comparison, with its comparison.json."),
    Setting("policies", [""], "Files of the policies, in the order of the comparison."),
    Setting("trials", 40, "Most trials of each policy."),
    Setting("starts", "", "Folder with a picture of each start."),
    Setting("bridge", "", "Name of the simulation's node; empty: an operator judges an arm."),
    Setting("time_limit", 15.0, "Time limit of the simulation's task, seconds."),
    *NODES,
    *ASKING,
)
# Longest time until another node does what it is asked for, s: processes of a simulation start at
# the same time as this one, those of an arm run already.
_STARTING, _RUNNING = 90.0, 2.0


class JudgeNode(Node):
    """Runs trials of policies in a hidden order, each a bag and a line of a log.

    On an arm an operator is asked for the start and the outcome of each, at the terminal and on
    the page of operator_node; in a simulation the bridge sets it up and judges it.
    """

    def __init__(self, terminal: Terminal | None = None, **options: Any) -> None:
        """Open topics, clients, the log and the terminal.

        Args:
            terminal: Terminal for keys and output; None for that of the process.
            **options: Options of rclpy's nodes.

        Raises:
            ValueError: If there is no comparison in the folder, or no terminal.
        """
        super().__init__("judge_node", **options)
        values = declare_all(self, SETTINGS)
        self._most: int = values["trials"]
        out = Path(values["out"])
        if not values["out"]:
            raise ValueError(f"out: got none, expected the folder with {COMPARISON}")
        self._comparison = read_comparison(out)
        files = [Path(file) for file in values["policies"] if file]
        if len(files) != len(self._comparison.policies):
            raise ValueError(
                f"policies: got {len(files)} files, expected {len(self._comparison.policies)}"
            )
        self._questions: Questions | None = None
        simulated = bool(values["bridge"])
        self._nodes = TrialNodes(
            self,
            values["policy_node"],
            values["recorder"],
            files,
            out,
            _STARTING if simulated else _RUNNING,
        )
        self._log = TrialLog(out, self._comparison)
        self._runner: TrialRunner = (
            SimulationRunner(
                self, values["bridge"], self._nodes, self._comparison, values["time_limit"]
            )
            if simulated
            else self._on_arm(terminal, out, values)
        )

    def _on_arm(
        self, terminal: Terminal | None, out: Path, values: Mapping[str, Any]
    ) -> ArmRunner:
        try:
            terminal = terminal_of(terminal, values["keys"])
        except ValueError:
            self._log.close()
            raise
        folder = values["starts"]
        starts = find_starts(Path(folder)) if folder else []
        overlay = None
        interface = interface_from_dict(self._comparison.setting.get("interface"), COMPARISON)
        if starts and (stream := camera_of(interface)) is not None:
            overlay = StartOverlay(self, Camera(self, stream), out)
        self._questions = Questions(self, TRIAL_KEYS, terminal)
        return ArmRunner(
            self._nodes,
            self._comparison,
            self._questions,
            {file.stem: file for file in starts},
            overlay,
        )

    def _tell(self, text: str) -> None:
        if self._questions is None:
            self.get_logger().info(text)
        else:
            self._questions.say(text)

    async def run(self) -> None:
        """Run the trials; a trial that is interrupted is repeated by the next run.

        Raises:
            TrialRefused: If a node of the simulation does not do what it is asked for.
            TimeoutError: If the simulation waits for a command in vain.
            OSError: If the log cannot be written.
        """
        await self._nodes.appear()
        try:
            await run_trials(self._log, self._most, self._runner, self._tell)
        except EndedByOperator as end:
            self._tell(str(end))
        except OSError as error:
            if self._questions is not None:
                self._questions.note(str(error))
            raise

    def close(self) -> None:
        """Close the log and restore the terminal."""
        self._log.close()
        if self._questions is not None:
            self._questions.close()
            self._questions = None


def main(args: Sequence[str] | None = None) -> None:
    """Run the trials and end."""
    expected = (TrialRefused, TimeoutError, OSError)
    run_coroutine(JudgeNode, "judge_node", SETTINGS, args, expected)


if __name__ == "__main__":
    main()
