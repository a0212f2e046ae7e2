"""Messages for tests, with the fields of the ROS types."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt


def header(time_ns: int, frame_id: str = "") -> SimpleNamespace:
    sec, nanosec = divmod(time_ns, 10**9)
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id=frame_id)


def image(
    pixels: npt.NDArray[np.uint8], time_ns: int, encoding: str = "rgb8", pad: int = 0
) -> Any:
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, pad)), constant_values=99)
    return SimpleNamespace(
        header=header(time_ns),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=rows.shape[1],
        data=rows.reshape(-1),
    )


def joints(names: list[str], positions: list[float], time_ns: int) -> Any:
    return SimpleNamespace(
        header=header(time_ns), name=names, position=positions, velocity=[], effort=[]
    )


def pose(x: float, y: float, time_ns: int, frame_id: str = "base_link") -> Any:
    return SimpleNamespace(
        header=header(time_ns, frame_id),
        pose=SimpleNamespace(
            position=SimpleNamespace(x=x, y=y, z=0.1),
            orientation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0),
        ),
    )


def odometry(x: float, speed: float, time_ns: int, frame_id: str = "odom") -> Any:
    vector = SimpleNamespace
    return SimpleNamespace(
        header=header(time_ns, frame_id),
        child_frame_id="base",
        pose=pose(x, 0.0, time_ns),
        twist=SimpleNamespace(
            twist=SimpleNamespace(
                linear=vector(x=speed, y=0.0, z=0.0), angular=vector(x=0.0, y=0.0, z=0.5)
            )
        ),
    )
