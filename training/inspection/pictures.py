"""Film strips: some frames of a camera side by side."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FRAMES = 8
_HEIGHT = 96
_QUALITY = 75


@dataclass(frozen=True)
class FilmStrip:
    """Frames of one camera, as the policy receives them."""

    jpeg: bytes
    times: tuple[float, ...]
    """Time of each frame, s from the first step."""
    size: tuple[int, int]
    """Height and width of the strip, pixels."""

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return f"data:image/jpeg;base64,{b64encode(self.jpeg).decode('ascii')}"


def film_strip(frames: npt.NDArray[np.uint8], times: npt.NDArray[np.float64]) -> FilmStrip:
    """Select frames from the first to the last, at most 96 pixels high.

    Args:
        frames: Shape (M, H, W, 3), rgb.
        times: Shape (M,), s from the first.
    """
    moments = np.linspace(times[0], times[-1], min(FRAMES, len(times)))
    chosen = [int(abs(times - moment).argmin()) for moment in moments]
    height, width = frames.shape[1:3]
    scale = min(1.0, _HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    strip = np.hstack([cv2.resize(frames[i], size, interpolation=cv2.INTER_AREA) for i in chosen])
    found, jpeg = cv2.imencode(
        ".jpg", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    assert found, "OpenCV writes JPEG"
    height, width = strip.shape[:2]
    return FilmStrip(jpeg.tobytes(), tuple(float(times[i]) for i in chosen), (height, width))
