"""Videos of episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt


class VideoWriter:
    """Writer of frames into an H.264 file that any browser plays."""

    def __init__(self, path: Path, frames_per_second: float) -> None:
        """Begins with the first frame; an episode without frames leaves no file."""
        self._path = path
        self._rate = frames_per_second
        self._stream: Any = None

    def add(self, frame: npt.NDArray[np.uint8]) -> None:
        """Append one frame, shape (H, W, 3) rgb."""
        if self._stream is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = imageio_ffmpeg.write_frames(
                str(self._path),
                (frame.shape[1], frame.shape[0]),
                fps=self._rate,
                ffmpeg_log_level="error",
                output_params=["-threads", "1"],
            )
            self._stream.send(None)
        self._stream.send(np.ascontiguousarray(frame))

    def close(self) -> None:
        """Finish the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class EpisodeVideos:
    """Videos of the first episodes of a simulation, a file for each."""

    def __init__(self, folder: Path | None, count: int, frames_per_second: float) -> None:
        """Films so many episodes into a folder; without one none."""
        self._folder, self._left, self._rate = folder, count, frames_per_second
        self._video: VideoWriter | None = None

    @property
    def is_open(self) -> bool:
        """True while an episode is filmed."""
        return self._video is not None

    def begin(self, seed: int) -> None:
        """Close the last episode's file, and open this one's if it is to be filmed."""
        self.close()
        if self._folder is not None and self._left > 0:
            self._left -= 1
            self._video = VideoWriter(self._folder / f"episode_{seed}.mp4", self._rate)

    def add(self, frame: npt.NDArray[np.uint8]) -> None:
        """Append a frame to the open file, shape (H, W, 3) rgb."""
        assert self._video is not None
        self._video.add(frame)

    def close(self) -> None:
        """Finish the open file, if there is one."""
        if self._video is not None:
            self._video.close()
            self._video = None
