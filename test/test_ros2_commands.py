"""Commands of the pages that begin with `ros2`, run by the real `ros2`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from installing import ROOT
from launched import Launch

pytestmark = pytest.mark.ros

# Time for a command and for a node that starts on a busy machine, s.
TIMEOUT = 90.0
# A session with the simulated arm, in this order, and what each command prints.
SESSION = [
    ("ros2 lifecycle get /policy_node", "unconfigured [1]"),
    ("ros2 lifecycle set /policy_node activate", "available ones are:\n- configure [1]"),
    ("ros2 param get /policy_node policy", "String value is: ur5e_push"),
    ("ros2 param describe /policy_node stop_after", "Max value: 3600.0"),
    ("ros2 param set /policy_node speed 2.0", "failed: Parameter speed out of range Min: 0.0"),
    ('ros2 param set /policy_node limits.high "[0.05, 0.05]"', "Set parameter successful"),
    ("ros2 param dump /policy_node", "    limits:\n      high:\n      - 0.05\n      - 0.05\n"),
    ("ros2 node info /policy_node", "/policy_node/start: std_srvs/srv/Trigger"),
    ("ros2 service call /policy_node/start std_srvs/srv/Trigger", "success=True"),
    ("ros2 lifecycle get /policy_node", "active [3]"),
    ("ros2 topic echo /policy_node/proposed_command --once", "frame_id: base_link"),
    ("ros2 topic echo /policy_node/status --once", 'data: \'{"lifecycle": "active"'),
    ("ros2 topic echo /diagnostics --once", "name: '/policy_node: policy'"),
    (
        'ros2 service call /policy_node/shadow std_srvs/srv/SetBool "{data: false}"',
        "commands go to servo_node/delta_twist_cmds, the arm moves",
    ),
    ("ros2 service call /recorder_node/start std_srvs/srv/Trigger", "message='episode_0000'"),
    ('ros2 param set /recorder_node note "second camera moved"', "Set parameter successful"),
    (
        'ros2 service call /recorder_node/stop std_srvs/srv/SetBool "{data: true}"',
        "demos/episode_0000'",
    ),
    ("ros2 service call /policy_node/stop std_srvs/srv/Trigger", "~/reset goes on"),
    ("ros2 service call /policy_node/reset std_srvs/srv/Trigger", "success=True"),
    ("ros2 lifecycle set /policy_node deactivate", "Transitioning successful"),
    ("ros2 service call /sim_bridge_node/reset std_srvs/srv/Trigger", "success=True"),
]
# Nodes of this package; other lines of the pages need a robot's packages.
OUR_NODE = re.compile(r"/(policy|recorder|teleop|operator|sim_bridge)_node\b|/diagnostics\b")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def lines_of_pages() -> Iterator[str]:
    """Commands that begin with `ros2`, in console blocks and in the text, without comments."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"^ *\$ (ros2 .*)$", text, flags=re.MULTILINE):
            yield block.partition("  #")[0].strip()
        for inline in re.findall(r"`(ros2 [^`]+)`", text):
            yield " ".join(inline.split())


@pytest.fixture
def ros2(installation: tuple[Path, dict[str, str]], domain: int) -> Iterator[Callable[[str], str]]:
    """Function that runs a command line and returns all it prints."""
    environment = installation[1] | {"ROS_DOMAIN_ID": str(domain)}

    def run(line: str) -> str:
        done = subprocess.run(
            shlex.split(line),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        return done.stdout + done.stderr

    yield run
    run("ros2 daemon stop")


@pytest.mark.slow
@pytest.mark.sim
def test_a_session_is_led_by_ros2_alone(
    start_launch: Callable[..., Launch], ros2: Callable[[str], str], tmp_path: Path
) -> None:
    arguments = ("simulation:=true", "policy:=ur5e_push", "publish_commands:=false")
    launch = start_launch("operate", *arguments, "folder:=demos", "port:=0")
    for line, expected in SESSION:
        deadline = time.monotonic() + TIMEOUT
        # A command that has not found the node yet, or a stream that is late, is no failure.
        while expected not in (printed := ros2(line)):
            assert launch.is_running, launch.output
            assert time.monotonic() < deadline, f"{line}\n{printed}\n{launch.output}"
    launch.interrupt()
    assert launch.end() == 0
    assert "Traceback" not in launch.output and "proposing" in launch.output
    (bag,) = (tmp_path / "demos").glob("episode_*")
    assert "second camera moved" in (bag / "metadata.yaml").read_text()


def test_every_command_of_the_pages_to_a_node_is_part_of_that_session() -> None:
    tried = {line for line, _ in SESSION}
    told = {line for line in lines_of_pages() if OUR_NODE.search(line)}
    told = {line for line in told if not line.startswith(("ros2 run", "ros2 launch"))}
    assert len(told) > 8
    assert {line.removesuffix(" --once") for line in told} <= {
        line.removesuffix(" --once") for line in tried
    }


@pytest.mark.slow
def test_launch_files_have_the_arguments_that_the_pages_give_them(
    ros2: Callable[[str], str],
) -> None:
    begins = "ros2 launch ebm_policy_ros "
    told = {line.removeprefix(begins) for line in lines_of_pages() if line.startswith(begins)}
    given: dict[str, set[str]] = {}
    for file, *arguments in map(shlex.split, told):
        given.setdefault(file, set()).update(word.partition(":=")[0] for word in arguments)
    assert len(given) > 5
    for file, names in given.items():
        shown = re.findall(r"^    '(\w+)':$", ros2(f"{begins}{file} --show-args"), re.MULTILINE)
        assert names <= set(shown), file


@pytest.mark.slow
def test_ros2_finds_the_package_and_its_executables(
    ros2: Callable[[str], str], installation: tuple[Path, Any]
) -> None:
    share = installation[0] / "share" / "ebm_policy_ros"
    assert ros2("ros2 pkg prefix --share ebm_policy_ros").strip() == str(share)
    assert (share / "config" / "policy.rviz").is_file()
    names = ros2("ros2 pkg executables ebm_policy_ros").split()[1::2]
    assert sorted(names) == sorted(os.listdir(installation[0] / "lib" / "ebm_policy_ros"))
    assert "policy_node" in names
    for line in lines_of_pages():
        if line.startswith("ros2 run ebm_policy_ros "):
            assert line.split()[3] in names
    assert "usage: check_robot" in ros2("ros2 run ebm_policy_ros check_robot --help")
