"""Camera messages to arrays."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.messages.errors import MessageError

Image = npt.NDArray[np.uint8]

# Channels in the message, and the conversion that makes it rgb.
_TO_RGB: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}
# Type of a distance, and its unit in metres (REP-118).
_DEPTH: dict[str, tuple[str, float]] = {"16UC1": ("u2", 0.001), "32FC1": ("f4", 1.0)}


def decode_image(message: Any, size: tuple[int, int]) -> Image:
    """A colour frame as the policy sees it.

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
    image = _rows(message, channels).reshape(message.height, message.width, channels)
    # First smaller, then converted: there are fewer pixels then.
    image = resize_image(image, size)
    return np.asarray(image if conversion is None else cv2.cvtColor(image, conversion), np.uint8)


def decode_compressed(message: Any, size: tuple[int, int]) -> Image:
    """A colour frame of sensor_msgs/CompressedImage (JPEG or PNG); see `decode_image`."""
    return decode_image_file(message.data, size, message.format)


def decode_image_file(data: Any, size: tuple[int, int] | None = None, kind: str = "") -> Image:
    """A colour frame from the bytes of a JPEG or PNG file.

    Args:
        data: The bytes.
        size: Height and width of the result, pixels; None for those of the file.
        kind: What the bytes are said to be, for the error.

    Returns:
        Shape (H, W, 3), rgb.

    Raises:
        MessageError: If they are no whole file.
    """
    array = np.frombuffer(data, dtype=np.uint8)
    try:
        image = cv2.imdecode(array, cv2.IMREAD_COLOR)
    except cv2.error:  # of no data, or of a header that promises gigabytes
        image = None
    if image is None:
        said = f" of {kind!r}" if kind else ""
        raise MessageError(f"{array.size} bytes{said} that are no whole JPEG or PNG")
    if size is not None:
        image = resize_image(image, size)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def decode_depth(message: Any, size: tuple[int, int], nearest: float, farthest: float) -> Image:
    """A frame of distances as the policy sees it, in grey.

    Args:
        message: Anything with the fields of sensor_msgs/Image: 16UC1 (mm) or 32FC1 (m).
        size: Height and width of the result, pixels.
        nearest: Distance that becomes 1, and whatever is nearer, metres.
        farthest: Distance that becomes 255, and whatever is farther.

    Returns:
        Shape (H, W, 3), three equal channels; 0 where nothing was measured.

    Raises:
        MessageError: If the encoding is unknown or the data doesn't fill the image.
    """
    if message.encoding not in _DEPTH:
        raise MessageError(f"encoding {message.encoding!r}, expected one of {', '.join(_DEPTH)}")
    kind, unit = _DEPTH[message.encoding]
    order = ">" if message.is_bigendian else "<"
    depth = _rows(message, int(kind[1])).view(f"{order}{kind}").astype(np.float32) * unit
    # A mean over the edge of an object would be a distance at which there is nothing.
    depth = resize_image(depth, size, cv2.INTER_NEAREST)
    measured = np.isfinite(depth) & (depth > 0)
    part = (np.where(measured, depth, nearest) - nearest) / (farthest - nearest)
    grey = np.where(measured, 1 + np.rint(254 * np.clip(part, 0, 1)), 0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _rows(message: Any, pixel_bytes: int) -> Image:
    """The pixels' bytes, shape (H, W * pixel_bytes), without what pads the rows."""
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, dtype=np.uint8)
    if height == 0 or width == 0 or step < width * pixel_bytes or data.size != height * step:
        raise MessageError(
            f"{data.size} bytes for {width}x{height} {message.encoding} with rows of {step} bytes"
        )
    # Drivers may pad rows, so the row length is `step`, not the pixels' bytes.
    return np.ascontiguousarray(data.reshape(height, step)[:, : width * pixel_bytes])


def resize_image(image: Any, size: tuple[int, int], interpolation: int = cv2.INTER_AREA) -> Any:
    """An image (H, W, ...) of another (height, width).

    By default averages over source pixels: a smaller image without aliasing.
    """
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, (size[1], size[0]), interpolation=interpolation)
