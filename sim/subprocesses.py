"""Programs of this package as processes of their own, on a ROS that nobody else disturbs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebm_policy_ros.util.children import end_with_parent
from ebm_policy_ros.util.distributions import dds_profile, this_machine_only

_STOP_TIMEOUT = 20.0
DOMAIN = "EBM_POLICY_ROS_DOMAIN_ID"
"""Environment variable with the ROS domain of runs that start a simulation; by default each run
has its own."""
_DOMAINS = 100
# Variables by which a ROS finds other computers, whatever else limits it to this one.
_PEERS = ("ROS_STATIC_PEERS", "ROS_DISCOVERY_SERVER")


class ProgramFailed(RuntimeError):
    """Error: a process of the run ended early; the text has its name and last line."""


@dataclass(frozen=True)
class Program:
    """Executable module of this package and its ROS parameters."""

    module: str
    parameters: Mapping[str, Any]
    namespace: str = ""

    @property
    def name(self) -> str:
        """Name of the node: the module's last one, or that of its room before `node`."""
        *_, room, module = self.module.split(".")
        return f"{room}_node" if module == "node" else module

    def command(self) -> list[str]:
        """Return the command line."""
        arguments = [sys.executable, "-m", f"ebm_policy_ros.{self.module}", "--ros-args"]
        for name, value in self.parameters.items():
            arguments += ["-p", f"{name}:={json.dumps(value)}"]
        return arguments + (["-r", f"__ns:={self.namespace}"] if self.namespace else [])


def ros_environment() -> dict[str, str]:
    """Return an environment for a run that disturbs no other ROS here or on the network.

    It never is in the caller's ROS domain, unless `DOMAIN` says so: there may be an arm, which
    would take the commands of the simulation's policy for its own.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _PEERS}
    # A trainer, a simulation and a policy share the cores; each one's threads would fight.
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment["ROS_DOMAIN_ID"] = os.environ.get(DOMAIN) or str(_free_domain())
    return {**dds_profile(), **environment, **this_machine_only()}


def _free_domain() -> int:
    """Return a domain from 1 to 100 that follows from this process, and is not the caller's."""
    own = 1 + os.getpid() % _DOMAINS
    is_callers = _number(os.environ.get("ROS_DOMAIN_ID", "")) == own
    return 1 + own % _DOMAINS if is_callers else own


def _number(text: str) -> int | None:
    """Return a number as rcl reads it, octal after 0 and hexadecimal after 0x; None if none."""
    try:
        return int(text, 8 if re.fullmatch("0[0-7]+", text) else 0)
    except ValueError:
        return None


@contextmanager
def running(programs: list[Program], logs: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Start the programs and yield their processes by name; none outlives the block."""
    logs.mkdir(parents=True, exist_ok=True)
    environment = ros_environment()
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for program in programs:
            with (logs / f"{program.name}.log").open("wb") as log:
                processes[program.name] = subprocess.Popen(
                    program.command(),
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    preexec_fn=end_with_parent,  # noqa: PLW1509
                )
        yield processes
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()


def has_ended(processes: Mapping[str, subprocess.Popen[bytes]], runner: str, logs: Path) -> bool:
    """Return True once the process that runs the others has done its work.

    Args:
        processes: Processes by name.
        runner: Name of that one.
        logs: Folder of their logs.

    Raises:
        ProgramFailed: If it has failed, or another one has ended before it.
    """
    ended = {name: p.returncode for name, p in processes.items() if p.poll() is not None}
    if ended.get(runner) == 0:
        return True
    for name, code in ended.items():
        raise failure_of(name, code, logs / f"{name}.log")
    return False


def run_in_foreground(program: Program) -> int:
    """Run a program on this terminal and return its exit code; it does not outlive this process.

    It joins the ROS of the caller. After a Ctrl-C, which it gets too, it is waited for.
    """
    process = subprocess.Popen(
        program.command(),
        env={**dds_profile(), **os.environ},
        preexec_fn=end_with_parent,  # noqa: PLW1509
    )
    try:
        return process.wait()
    finally:
        process.terminate()
        process.wait()


def failure_of(name: str, code: int, log: Path) -> ProgramFailed:
    """Return the error of a process that ended early, with the last line of its log."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "no output")
    return ProgramFailed(f"{name}: {last.strip()} (exit {code}, {log})")
