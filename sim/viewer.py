"""Window in which a person sees the simulation, in a process of its own."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from multiprocessing.sharedctypes import RawArray
from typing import Any

import glfw
import numpy as np

from ebm_policy_ros.sim.tasks import Task
from ebm_policy_ros.sim.world import World

_RATE = 30.0
# Drawing in software takes all that it can get; the simulation comes first.
_NICENESS = 10
# The window goes back to its own view while it still loads the scene.
_FRAMES_TO_LOAD = 30


class ViewerUnavailable(ValueError):
    """Error: there is no display."""


class Viewer:
    """Window on a world; whatever happens to the window, the world goes on."""

    def __init__(self, world: World) -> None:
        """Opens the window.

        Args:
            world: Shown in the window; see `show`.

        Raises:
            ViewerUnavailable: If there is no display.
        """
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ViewerUnavailable(
                "viewer: there is no display (DISPLAY is not set); start it on a desktop, or "
                "watch the camera topic"
            )
        # A window's library may end the whole process, and its drawing would hold up the ticks.
        context = multiprocessing.get_context("spawn")
        self._state = RawArray("d", world.data.qpos.size + world.data.mocap_pos.size)
        arguments = (type(world.task), self._state)
        self._process = context.Process(target=_run, args=arguments, daemon=True)
        self.show(world)
        self._process.start()

    @property
    def is_open(self) -> bool:
        """True while the window is there, or about to be."""
        return self._process.is_alive()

    def show(self, world: World) -> None:
        """Show the world as it is now; costs some microseconds."""
        data = world.data
        np.frombuffer(self._state)[:] = np.concatenate((data.qpos, data.mocap_pos.ravel()))

    def close(self) -> None:
        """Close the window."""
        self._process.terminate()
        self._process.join()


def _run(task: type[Task], state: Any) -> None:
    """Run the window's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the node, which closes this
    os.nice(_NICENESS)
    if not glfw.init():
        raise SystemExit(
            "viewer: the display cannot be opened; set DISPLAY to yours, or viewer:=false"
        )
    # Only here: it starts a library for windows.
    import mujoco.viewer

    world = World(task())
    window = mujoco.viewer.launch_passive(
        world.model, world.data, show_left_ui=False, show_right_ui=False
    )
    parent = multiprocessing.parent_process()
    assert parent is not None
    for frame in itertools.count():
        if not (window.is_running() and parent.is_alive()):
            break
        positions, mocap = np.split(np.array(state), [world.data.qpos.size])
        with window.lock():
            world.data.qpos[:] = positions
            world.data.mocap_pos[:] = mocap.reshape(-1, 3)
            mujoco.mj_forward(world.model, world.data)
            if frame == _FRAMES_TO_LOAD:
                view = world.task.window
                window.cam.azimuth, window.cam.elevation = view.azimuth, view.elevation
                window.cam.distance, window.cam.lookat[:] = view.distance, view.target
        window.sync()
        time.sleep(1 / _RATE)
    window.close()
