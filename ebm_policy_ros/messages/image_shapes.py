"""Shapes of received camera frames, compared with the shape that the policy observes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ebm_policy_ros.interface import ImageStream, Stream
from ebm_policy_ros.messages.depth import image_file
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.image_files import read_header

# Maximum number of shapes kept per camera. A camera has only a few modes; the bound limits memory.
_MOST_SHAPES = 8


class ImageShapes:
    """Shapes (height, width) of the frames on each camera's topic, in order of arrival."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        self._cameras = [stream for stream in streams if isinstance(stream, ImageStream)]
        self.seen: dict[str, list[tuple[int, int]]] = {s.topic: [] for s in self._cameras}
        """Shapes in pixels, by topic."""

    def add(self, topic: str, message: Any) -> None:
        """Add the shape of a message; other topics and broken images are ignored."""
        seen = self.seen.get(topic)
        if seen is None or len(seen) == _MOST_SHAPES:
            return
        shape = image_shape(message)
        if shape is not None and shape not in seen:
            seen.append(shape)

    def notes(self) -> list[str]:
        """Describe, in one line each, frames that change shape or differ from the policy's shape.

        A difference from the policy's shape means another aspect ratio.
        """
        notes = [
            f"{topic}: frames of {', then of '.join(f'{w}x{h}' for h, w in shapes)}; a policy "
            "learns one mode of a camera"
            for topic, shapes in self.seen.items()
            if len(shapes) > 1
        ]
        for stream in self._cameras:
            for shape in self.seen[stream.topic]:
                if is_other_aspect(shape, stream.size):
                    notes.append(f"{stream.topic}: {_told(shape, stream)}")
        return notes


def image_shape(message: Any) -> tuple[int, int] | None:
    """Read height and width from an Image or CompressedImage without decoding it.

    Returns:
        Height and width in pixels; None if the message does not contain them.
    """
    if not hasattr(message, "format"):
        shape = int(message.height), int(message.width)
        return shape if min(shape) > 0 else None
    try:
        header = read_header(image_file(message))
    except MessageError:
        return None
    return header.height, header.width


def is_other_aspect(shape: tuple[int, int], size: tuple[int, int]) -> bool:
    """Return True if a frame scaled to fit into `size` leaves one pixel or more uncovered."""
    scale = min(size[0] / shape[0], size[1] / shape[1])
    return max(size[0] - shape[0] * scale, size[1] - shape[1] * scale) >= 1


def _told(shape: tuple[int, int], stream: ImageStream) -> str:
    frames = f"frames of {shape[1]}x{shape[0]}"
    size = f"{stream.size[1]}x{stream.size[0]}"
    wider = (stream.size[1] * shape[0]) / (stream.size[0] * shape[1])
    lost = 1 - min(wider, 1 / wider)
    if stream.resize == "crop":
        return f"{frames} are cut to {size}, {lost:.0%} of each isn't seen"
    if stream.resize == "letterbox":
        return f"{frames} are letterboxed to {size}, {lost:.0%} of which is black"
    return (
        f"{frames} are stretched to {size}, everything {wider:.2f} times as wide; "
        "`resize: crop` or `letterbox` of the stream keeps shapes"
    )
