"""The tutorial's commands, run in its order with fewer demonstrations and steps."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from installing import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.ros, pytest.mark.sim]

# What takes minutes, and what is run instead.
SMALLER = {
    "--episodes 500": "--episodes 6",
    "--config config/training/push.yaml": "--config config/training/push.yaml --steps 30",
    "--episodes 30": "--episodes 1",
    "--videos 3": "--videos 1",
    "--episodes 2": "--episodes 1",
}
# Values that differ from run to run, as the page writes them or as digits.
VALUE = re.compile(r"\d[\d.,:/%]*|…%?")
# What the inspection adds depends on the demonstrations.
REMARK = re.compile(r" (Nothing stands out|To look at: \d+)\.")
TIMEOUT = 300.0


def commands() -> list[tuple[str, list[str]]]:
    """Commands of the page, each with the lines that it prints there."""
    text = (ROOT / "docs" / "tutorial" / "first_policy.md").read_text(encoding="utf-8")
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, flags=re.S | re.M):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy of what the commands read of the repository."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    return tmp_path


@pytest.fixture
def nodes(folder: Path) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Running nodes by name; they end with the test."""
    running: dict[str, subprocess.Popen[str]] = {}
    yield running
    for process in running.values():
        process.kill()
        process.wait()


def start(command: str, folder: Path) -> subprocess.Popen[str]:
    name, *arguments = shlex.split(command)
    return subprocess.Popen(
        [sys.executable, "-c", f"from ebm_policy_ros.util.executables import {name}; {name}()",
         *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def shape(line: str) -> str:
    """Line without values, spaces, and the time and level of a log."""
    line = re.sub(r"^(\[[^\]]*\] )+", "", line).partition("%|")[0]
    return "".join(VALUE.sub("#", REMARK.sub("", line)).split())


def test_each_command_works_and_prints_what_the_page_shows(
    folder: Path, nodes: dict[str, subprocess.Popen[str]]
) -> None:
    found = commands()
    assert [name.split()[0] for name, _ in found].count("evaluate_policy") == 2
    for written, shown in found:
        if written == "make setup" or written.startswith("source "):
            continue  # the environment of this test
        command = written
        for long, short in SMALLER.items():
            command = command.replace(long, short)
        process = start(command, folder)
        if "node" in command:
            nodes[command.split()[0]] = process
            if "policy_node" in nodes:
                assert process.stdout is not None
                output = iter(process.stdout.readline, "")
                assert any("commanding" in line for line in output)
                process.send_signal(signal.SIGINT)
                assert process.wait(TIMEOUT) == 0
                nodes["sim_bridge_node"].send_signal(signal.SIGINT)
                assert nodes["sim_bridge_node"].wait(TIMEOUT) == 0
                nodes.clear()
            continue
        printed, _ = process.communicate(timeout=TIMEOUT)
        # A policy of so few demonstrations is not ready for an arm.
        expected = (0, 1) if command.startswith("replay_demo") else (0,)
        assert process.returncode in expected, f"{command}: {printed}"
        lines = [shape(line) for line in re.split(r"[\n\r]", printed)]
        for line in filter(None, shown):
            assert shape(line) in lines, f"{command}: {line}\n{printed}"
