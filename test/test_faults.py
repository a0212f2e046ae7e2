"""Fault matrix of policy_node, as in `make faults`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

pytest.importorskip("aiohttp")

from fault_matrix import CASES, Case, many_activations, many_ticks, watched
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


WITH_PAGE = ("camera_stops", "stop_is_latched", "unplugged_while_held")


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.__name__ in WITH_PAGE], ids=lambda case: case.__name__
)
def test_the_arm_is_safe_in_the_same_time_while_a_page_shows_everything(
    case: Case, scene: Scene, tmp_path: Path
) -> None:
    watched(case)(scene, tmp_path)


@pytest.mark.slow
def test_activations_leave_nothing_behind(scene: Scene, tmp_path: Path) -> None:
    many_activations(scene, tmp_path, cycles=1000)


@pytest.mark.slow
def test_ticks_leave_nothing_behind(scene: Scene, tmp_path: Path) -> None:
    # `make faults` runs for an hour.
    many_ticks(scene, tmp_path, seconds=60)
