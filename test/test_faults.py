"""Fault matrix of policy_node, as in `make faults`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from fault_matrix import CASES, Case, many_activations, many_ticks
from scene import Scene

pytestmark = [pytest.mark.ros, pytest.mark.sim]


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_arm_is_safe_in_time(case: Case, scene: Scene, tmp_path: Path) -> None:
    case(scene, tmp_path)


@pytest.mark.slow
def test_activations_leave_nothing_behind(scene: Scene, tmp_path: Path) -> None:
    many_activations(scene, tmp_path, cycles=1000)


@pytest.mark.slow
def test_ticks_leave_nothing_behind(scene: Scene, tmp_path: Path) -> None:
    # `make faults` runs for an hour.
    many_ticks(scene, tmp_path, seconds=60)
