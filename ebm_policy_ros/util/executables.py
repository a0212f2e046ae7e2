"""Entry points of the package's executables.

Each entry point imports its module only when it is called. The import takes seconds; until it
ends, Ctrl-C ends the process without a traceback.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from pathlib import Path

from ebm_policy_ros.util.environment import refuse_wrong_environment


def _run(module: str) -> None:
    if module.startswith(("nodes.", "sim.")):  # these start nodes
        refuse_wrong_environment(Path(sys.argv[0]).name)
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    main = import_module(f"ebm_policy_ros.{module}").main
    signal.signal(signal.SIGINT, previous)
    main()


def policy_node() -> None:
    _run("nodes.policy.node")


def recorder_node() -> None:
    _run("nodes.recorder.node")


def teleop_node() -> None:
    _run("nodes.teleop.node")


def operator_node() -> None:
    _run("nodes.operator.node")


def operate_terminal() -> None:
    _run("nodes.operator.terminal_node")


def sim_bridge_node() -> None:
    _run("sim.bridge_node")


def oracle_node() -> None:
    _run("sim.oracle_node")


def check_robot() -> None:
    _run("nodes.check.check_robot")


def make_interface() -> None:
    _run("nodes.check.make_interface")


def record_demos() -> None:
    _run("sim.record_demos")


def replay_demo() -> None:
    _run("sim.replay.command")


def inspect_demos() -> None:
    _run("training.inspect_demos")


def train_policy() -> None:
    _run("training.train")


def convert_demos() -> None:
    _run("training.convert")


def calibrate_policy() -> None:
    _run("training.calibrate")


def evaluate_policy() -> None:
    _run("sim.evaluate")


def compare_policies() -> None:
    _run("sim.compare")


def judge_policy() -> None:
    _run("sim.judge")
