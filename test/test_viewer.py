"""Simulation window on an X server without a screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from robot import parameters

from ebm_policy_ros.sim.bridge_node import SimBridgeNode

pytestmark = [pytest.mark.ros, pytest.mark.sim]

TIMEOUT = 60.0


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Framebuffer file of an X server; the server is the display of all later processes."""
    server = shutil.which("Xvfb")
    if server is None:
        pytest.skip("needs Xvfb")
    far, near = os.pipe()
    command = [server, "-displayfd", str(near), "-screen", "0", "800x600x24"]
    process = subprocess.Popen([*command, "-fbdir", str(tmp_path)], pass_fds=[near])
    os.close(near)
    monkeypatch.setenv("DISPLAY", f":{os.read(far, 10).decode().strip()}")
    yield tmp_path / "Xvfb_screen0"
    process.terminate()
    process.wait(TIMEOUT)
    os.close(far)


def red_pixels(screen: Path) -> int:
    """Number of pixels with the block's colour."""
    # Format of the X window dump: a header, then four bytes per pixel, blue first.
    pixels = np.fromfile(screen, np.uint8)[-800 * 600 * 4 :].reshape(-1, 4).astype(int)
    return int(((pixels[:, 2] > 120) & (pixels[:, :2].max(axis=1) < 40)).sum())


def until(condition: Any) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.05)


def test_a_window_shows_the_scene_and_its_end_is_not_the_simulations(
    context: Any, screen: Path
) -> None:
    values = parameters(viewer=True, real_time_factor=0.0)
    node = SimBridgeNode(context=context, parameter_overrides=values)
    try:
        until(lambda: red_pixels(screen) > 50)
        viewer = node._viewer
        assert viewer is not None and viewer.is_open
        # Remove the block.
        world = node._world
        block = world.model.joint("block").qposadr[0]
        world.data.qpos[block] = 50.0
        node.tick()
        until(lambda: red_pixels(screen) == 0)
        viewer.close()
        before = node.time_ns
        node.tick()
        assert node._viewer is None and node.time_ns > before
    finally:
        node.close()
        node.destroy_node()


def test_without_a_display_it_says_so(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="viewer: there is no display"):
        SimBridgeNode(context=context, parameter_overrides=parameters(viewer=True))
