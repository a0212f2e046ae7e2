"""Collecting demonstrations: prompts, what the bags tell of them, and what they cover."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.nodes.recorder.coverage import COVERAGE, SCENES, Coverage
from ebm_policy_ros.nodes.recorder.guidance import next_step


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ((False, "", "", 0, 0), "set the scene, then record (enter)"),
        ((False, "", "", 12, 50), "set the scene, then record (enter), success 13 of 50"),
        ((False, "", "camera: nothing arrives", 12, 50), "not ready: camera: nothing arrives"),
        ((False, "", "camera: nothing arrives", 50, 50), "all 50 successes are there"),
        (
            (False, "time is up, scene over", "", 1, 2),
            "time is up, scene over: wait for the next one",
        ),
        (
            (True, "", "", 12, 50),
            "do the task, then keep it as a success (Y) or a failure (N), or discard it (X)",
        ),
        (
            (True, "goal reached, scene over", "", 12, 50),
            "goal reached, scene over: keep it as a success (Y) or a failure (N), "
            "or discard it (X)",
        ),
    ],
)
def test_an_operator_is_told_what_to_do_next(
    state: tuple[bool, str, str, int, int], text: str
) -> None:
    assert next_step(*state) == text


GREY, WHITE = 60, 150


def view(block: int) -> Any:
    """Scene of 120x160 with a white block of 10 pixels that begins at a column."""
    scene = np.full((120, 160, 3), GREY, np.uint8)
    scene[50:60, block : block + 10] = WHITE
    return scene


def collected(folder: Path, interface: Interface, blocks: list[tuple[int, int]]) -> Coverage:
    coverage = Coverage(folder, interface)
    for number, (first, last) in enumerate(blocks):
        episode = folder / f"episode_{number:04d}"
        episode.mkdir()
        coverage.add(episode, view(first), view(last))
    return coverage


def places(coverage: Coverage) -> list[int]:
    """Columns in which the picture is not dark, in the row of the blocks, by tens."""
    assert coverage.picture is not None
    bright = coverage.picture[55].max(axis=1) > 100
    return sorted({int(column) // 10 * 10 for column in np.flatnonzero(bright)})


def test_the_picture_shows_where_things_stood_at_the_beginning_and_at_the_end(
    tmp_path: Path, interface: Interface
) -> None:
    coverage = collected(tmp_path, interface, [(20, 100), (40, 100), (80, 110)])
    # The ends are 160 pixels further right. The last one differs where the others have the block.
    assert places(coverage) == [20, 40, 80, 160 + 100, 160 + 110]
    saved = cv2.imread(str(tmp_path / COVERAGE))
    assert coverage.picture is not None
    assert saved is not None and np.array_equal(saved[..., ::-1], coverage.picture)
    again = Coverage(tmp_path, interface)
    assert again.picture is not None and np.array_equal(again.picture, coverage.picture)


def test_pictures_of_another_camera_and_damaged_ones_are_left_out(
    tmp_path: Path, interface: Interface
) -> None:
    for name, content in (("a", b"no picture"), ("b", b"\x89PNG\r\n\x1a\n" + bytes(40))):
        (tmp_path / name).mkdir()
        (tmp_path / name / SCENES).write_bytes(content)
    (tmp_path / "c").mkdir()
    cv2.imwrite(str(tmp_path / "c" / SCENES), np.zeros((80, 330, 3), np.uint8))
    coverage = collected(tmp_path, interface, [(20, 100), (40, 100), (80, 100)])
    (tmp_path / "episode_0003").mkdir()
    other = np.zeros((80, 160, 3), np.uint8)
    coverage.add(tmp_path / "episode_0003", other, other)
    assert places(coverage) == places(Coverage(tmp_path, interface)) == [20, 40, 80]


def test_without_a_camera_there_is_no_picture(tmp_path: Path, interface: Interface) -> None:
    streams = {k: s for k, s in interface.observation.items() if k != "camera"}
    blind = Coverage(tmp_path, dataclasses.replace(interface, observation=streams))
    assert blind.view({"tool": np.zeros((1, 2), np.float32)}) is None and blind.picture is None
