"""Import rules between the packages, absence of import cycles, and imports of ROS packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from xml.etree import ElementTree

import pytest
from installing import ROOT
from modules import MODULES, PACKAGE, PACKAGES, imported

# From the bottom up: a package imports only from itself and those before it.
ROOMS = (
    "util", "device", "energy", "inference", "interface", "messages", "observation", "control",
    "policy", "bags", "teleop", "trials", "operator", "check",
    "nodes.common", "nodes.recorder", "nodes.teleop", "nodes.policy", "nodes.operator",
    "nodes.judge", "nodes.check",
    "training.data", "training.inspection", "training.exchange", "training.learning",
    "training", "training.experiments",
    "sim.tasks", "sim", "sim.replay", "sim.experiments",
)  # fmt: skip
# Not needed on the robot.
OFFLINE = ("training", "sim")


IMPORTS = {name: imported(path) for name, path in MODULES.items()}


def room(module: str) -> str:
    """Innermost package that contains a module."""
    inside = module.removeprefix(f"{PACKAGE}.")
    return next(
        r for r in sorted(ROOMS, key=len, reverse=True) if f"{inside}.".startswith(f"{r}.")
    )


def reached(modules: Iterable[str]) -> set[str]:
    """Modules imported by these ones, or by those that they import."""
    found: set[str] = set()
    new = set(modules)
    while new:
        found |= new
        new = {other for name in new for other in IMPORTS.get(name, ())} - found
    return found


OWN = [name for name in MODULES if name not in (PACKAGE, f"{PACKAGE}.nodes")]


def test_every_module_is_in_a_room() -> None:
    assert {room(name) for name in OWN} == set(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_from_those_below_it(name: str) -> None:
    allowed = ROOMS[: ROOMS.index(name) + 1]
    for module in OWN:
        if room(module) == name:
            for other in IMPORTS[module]:
                if other.startswith(f"{PACKAGE}."):
                    assert room(other) in allowed, f"{module} imports {other}"


def test_no_import_goes_in_a_circle() -> None:
    graph = {name: needed & set(MODULES) - {name} for name, needed in IMPORTS.items()}
    while leaves := [name for name, needed in graph.items() if not needed]:
        graph = {name: needed - set(leaves) for name, needed in graph.items() if needed}
    assert not graph


def test_energy_and_inference_know_torch_alone() -> None:
    for module in OWN:
        if room(module) in ("energy", "inference"):
            for other in IMPORTS[module]:
                top = other.partition(".")[0]
                assert top in sys.stdlib_module_names | {"torch", PACKAGE}, f"{module}: {other}"


def test_the_robot_needs_neither_training_nor_simulation() -> None:
    for module in OWN:
        if not room(module).startswith(OFFLINE):
            for other in IMPORTS[module]:
                assert not other.startswith(tuple(f"{PACKAGE}.{r}" for r in OFFLINE)), module


def test_only_nodes_know_ros() -> None:
    for module in OWN:
        is_node = room(module).startswith("nodes.") or module.endswith("node")
        launches = module == f"{PACKAGE}.util.launch_description"
        for other in IMPORTS[module]:
            ros = other.partition(".")[0] in ("rclpy", "launch", "launch_ros")
            assert not ros or is_node or launches, f"{module}: {other}"


def test_training_and_simulation_reach_ros_only_through_their_nodes() -> None:
    offline = [name for name in OWN if room(name).startswith(OFFLINE)]
    assert "rclpy" in reached(offline)
    assert "rclpy" not in reached(name for name in offline if not name.endswith("node"))


def test_comparisons_need_neither_ros_nor_torch() -> None:
    needed = reached(name for name in OWN if room(name) == "trials")
    assert not {"rclpy", "torch"} & {name.partition(".")[0] for name in needed}


def test_init_files_load_neither_torch_nor_ros() -> None:
    code = f"import importlib, sys; list(map(importlib.import_module, {PACKAGES}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(*sys.modules)"],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert set(PACKAGES) <= loaded and not {"rclpy", "torch"} & loaded


def test_package_xml_names_every_ros_package_that_is_imported() -> None:
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    for kinds, folders in (
        (("exec_depend",), (PACKAGE, "training", "sim", "launch")),
        (("exec_depend", "test_depend"), ("test",)),
    ):
        named = {depend.text for kind in kinds for depend in manifest.findall(kind)}
        files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
        names = {name.partition(".")[0] for path in files for name in imported(path)}
        ros = ("_msgs", "_srvs", "_interfaces", "rclpy", "launch", "launch_ros", "cv_bridge")
        assert {name for name in names if name.endswith(ros)} <= named
