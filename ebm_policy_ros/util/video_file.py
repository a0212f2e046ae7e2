"""Video files that any browser plays."""

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
