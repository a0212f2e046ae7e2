"""Videos of episodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.sim.world import World
from ebm_policy_ros.util.video_file import VideoWriter

FRAMES_PER_SECOND = 30
"""Rate of the frames of a video."""
SIZE = (480, 640)
"""Height and width of a frame, pixels."""


class EpisodeVideos:
    """Videos of the first episodes of a simulation, a file for each."""

    def __init__(self, world: World, folder: Path | None, count: int) -> None:
        """Films so many episodes into a folder; without one none."""
        self._world, self._folder, self._left = world, folder, count
        self._video: VideoWriter | None = None

    def begin(self, seed: int) -> None:
        """Close the last episode's file, and open this one's if it is to be filmed."""
        self.close()
        if self._folder is not None and self._left > 0:
            self._left -= 1
            video = VideoWriter(self._folder / f"episode_{seed}.mp4", FRAMES_PER_SECOND)
            self._world.film(
                FRAMES_PER_SECOND,
                lambda: video.add(self._world.render("cinematic", SIZE, shadows=True)),
            )
            self._video = video

    def close(self) -> None:
        """Finish the open file, if there is one."""
        self._world.cut()
        if self._video is not None:
            self._video.close()
            self._video = None


def count_frames(path: Path) -> int:
    """Count the frames of a video; 0 if there is no such file."""
    return max(0, int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT)))


def read_video(path: Path) -> Iterator[npt.NDArray[np.uint8]]:
    """Read the frames of a video, each of shape (H, W, 3) rgb; none if there is no such file."""
    capture = cv2.VideoCapture(str(path))
    while True:
        found, frame = capture.read()
        if not found:
            return
        yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)
