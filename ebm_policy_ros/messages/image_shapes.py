"""Shapes that camera frames come in, beside the shape that the policy sees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ebm_policy_ros.interface import ImageStream, Stream
from ebm_policy_ros.messages.depth import image_file
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.image_files import read_header

# A camera has a few modes; whoever sends more of them takes no memory here.
_MOST_SHAPES = 8


class ImageShapes:
    """Every (height, width) of the frames on each camera's topic, in the order of coming."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        self._cameras = [stream for stream in streams if isinstance(stream, ImageStream)]
        self.seen: dict[str, list[tuple[int, int]]] = {s.topic: [] for s in self._cameras}
        """Topic -> shapes, pixels."""

    def add(self, topic: str, message: Any) -> None:
        """Note the shape of a message; other topics and broken images are passed over."""
        seen = self.seen.get(topic)
        if seen is None or len(seen) == _MOST_SHAPES:
            return
        shape = image_shape(message)
        if shape is not None and shape not in seen:
            seen.append(shape)

    def notes(self) -> list[str]:
        """Tell where frames change their shape or have another than the policy's, a line each."""
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
        Pixels; None where the message doesn't tell.
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
    """Tell whether a frame scaled to fit `size` leaves a pixel or more uncovered."""
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
