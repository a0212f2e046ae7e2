"""Camera messages to arrays."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

# Channels in the message, and the conversion that makes it rgb.
_TO_RGB: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}


class MessageError(ValueError):
    """A message whose content is not what its type and the interface promise."""


def decode_image(message: Any, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A frame as the policy sees it.

    Args:
        message: Anything with the fields of sensor_msgs/Image, live or read from a bag.
        size: Height and width of the result, pixels.

    Returns:
        Shape (H, W, 3), rgb.

    Raises:
        MessageError: If the encoding is unknown or the data doesn't fill the image.
    """
    if message.encoding not in _TO_RGB:
        raise MessageError(f"encoding {message.encoding!r}, expected one of {', '.join(_TO_RGB)}")
    channels, conversion = _TO_RGB[message.encoding]
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, dtype=np.uint8)
    if height == 0 or width == 0 or step < width * channels or data.size != height * step:
        raise MessageError(
            f"{data.size} bytes for {width}x{height} {message.encoding} with rows of {step} bytes"
        )
    # Drivers may pad rows, so the row length is `step`, not `width * channels`.
    rows = data.reshape(height, step)[:, : width * channels]
    image = np.ascontiguousarray(rows).reshape(height, width, channels)
    if conversion is not None:
        image = cv2.cvtColor(image, conversion)
    if (height, width) != size:
        # Averages over source pixels: a smaller image without aliasing.
        image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(image, dtype=np.uint8)
