"""Import rules between the packages, and absence of import cycles."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from installing import ROOT

PACKAGE = "ebm_policy_ros"

# From the bottom up: a package imports only from itself and those before it.
ROOMS = (
    "util", "device", "energy", "inference", "interface", "messages", "observation", "control",
    "policy", "bags", "teleop",
    "nodes.common", "nodes.recorder", "nodes.teleop", "nodes.policy",
    "training.data", "training.inspection", "training.exchange", "training.learning",
    "training", "training.experiments",
    "sim.tasks", "sim", "sim.replay", "sim.experiments",
)  # fmt: skip
# Not needed on the robot.
OFFLINE = ("training", "sim")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != PACKAGE:
        parts = (PACKAGE, *parts)
    return ".".join(parts).removesuffix(".__init__")


def sources() -> dict[str, Path]:
    """Modules of the package by name."""
    found = {}
    for top in (PACKAGE, "training", "sim"):
        for path in (ROOT / top).rglob("*.py"):
            # Skip the links to training/ and sim/ in the package.
            if path.relative_to(ROOT).parts[:2] not in ((PACKAGE, "training"), (PACKAGE, "sim")):
                found[module_name(path)] = path
    return found


MODULES = sources()


def imported(module: str) -> Iterator[str]:
    """Modules imported by a module, including those only for annotations."""
    for part in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(part, ast.Import):
            yield from (alias.name for alias in part.names)
        elif isinstance(part, ast.ImportFrom) and part.module:
            for alias in part.names:
                whole = f"{part.module}.{alias.name}"
                yield whole if whole in MODULES else part.module


def room(module: str) -> str:
    """Innermost package that contains a module."""
    inside = module.removeprefix(f"{PACKAGE}.")
    return next(
        r for r in sorted(ROOMS, key=len, reverse=True) if f"{inside}.".startswith(f"{r}.")
    )


OWN = [name for name in MODULES if name not in (PACKAGE, f"{PACKAGE}.nodes")]


def test_every_module_is_in_a_room() -> None:
    assert {room(name) for name in OWN} == set(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_from_those_below_it(name: str) -> None:
    allowed = ROOMS[: ROOMS.index(name) + 1]
    for module in OWN:
        if room(module) == name:
            for other in imported(module):
                if other.startswith(f"{PACKAGE}."):
                    assert room(other) in allowed, f"{module} imports {other}"


def test_no_import_goes_in_a_circle() -> None:
    graph = {name: set(imported(name)) & set(MODULES) - {name} for name in MODULES}
    while leaves := [name for name, needed in graph.items() if not needed]:
        graph = {name: needed - set(leaves) for name, needed in graph.items() if needed}
    assert not graph


def test_energy_and_inference_know_torch_alone() -> None:
    for module in OWN:
        if room(module) in ("energy", "inference"):
            for other in imported(module):
                top = other.partition(".")[0]
                assert top in sys.stdlib_module_names | {"torch", PACKAGE}, f"{module}: {other}"


def test_the_robot_needs_neither_training_nor_simulation() -> None:
    for module in OWN:
        if not room(module).startswith(OFFLINE):
            for other in imported(module):
                assert not other.startswith(tuple(f"{PACKAGE}.{r}" for r in OFFLINE)), module


def test_only_nodes_know_ros() -> None:
    for module in OWN:
        is_node = room(module).startswith("nodes.") or module.endswith("node")
        launches = module == f"{PACKAGE}.util.launch_description"
        for other in imported(module):
            ros = other.partition(".")[0] in ("rclpy", "launch", "launch_ros")
            assert not ros or is_node or launches, f"{module}: {other}"
