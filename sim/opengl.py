"""Choice of the OpenGL for MuJoCo, which reads it when it is first imported."""

from __future__ import annotations

import ctypes
import os
import sys


class RenderingUnavailable(RuntimeError):
    """Error: there is no OpenGL to render with."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"cannot render, since OpenGL does not work ({' '.join(reason.split())}); without a "
            "display it takes MUJOCO_GL=egl and: apt-get install libegl1 libgl1-mesa-dri"
        )


def choose_opengl() -> None:
    """Choose EGL where there is no display, unless the environment chooses."""
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and not has_display:
        os.environ.setdefault("MUJOCO_GL", "egl")
    if os.environ.get("MUJOCO_GL") == "egl" and not _is_loadable("libEGL.so.1"):
        # Importing MuJoCo would fail, while everything but rendering works without OpenGL.
        os.environ["MUJOCO_GL"] = "disable"


def _is_loadable(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
