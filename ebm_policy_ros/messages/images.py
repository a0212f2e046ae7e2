"""Conversion of camera messages to arrays."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.messages.encodings import (
    DEPTH_UNITS,
    NEEDS_DEPTH,
    Encoding,
    find_encoding,
    find_mosaic,
    is_distance,
    normal_name,
    quoted,
)
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.image_files import ImageHeader, decode_file, read_header

Image = npt.NDArray[np.uint8]


def decode_image(message: Any, size: tuple[int, int], resize: str = "stretch") -> Image:
    """Decode a colour frame to the image that the policy observes.

    Args:
        message: Object with the fields of sensor_msgs/Image, live or read from a bag.
        size: Height and width of the result, pixels.
        resize: Method for another aspect ratio; see `resize_image`.

    Returns:
        Image, shape (H, W, 3), rgb.

    Raises:
        MessageError: If the encoding is unknown or the data does not match the image size.
    """
    encoding = find_encoding(message.encoding)
    pixels = _pixels(message, encoding)
    if encoding.neighbours:
        return np.asarray(resize_image(encoding.to_rgb(pixels), size, resize=resize), np.uint8)
    # Resized first: then there are fewer pixels to convert.
    return encoding.to_rgb(resize_image(pixels, size, resize=resize))


def _pixels(message: Any, encoding: Encoding) -> Image:
    """Pixels, shape (rows, W, channels); the upper byte of 16-bit values."""
    height, width = message.height, message.width
    count = height * 3 // 2 if encoding.planes else height
    rows = image_rows(message, encoding.channels * encoding.value_bytes, count)
    if encoding.value_bytes == 2:
        rows = np.ascontiguousarray(rows[:, 0 if message.is_bigendian else 1 :: 2])
    return rows.reshape(count, width, encoding.channels)


def decode_compressed(message: Any, size: tuple[int, int], resize: str = "stretch") -> Image:
    """Decode a colour frame of sensor_msgs/CompressedImage (JPEG, PNG); see `decode_image`."""
    if is_compressed_depth(message.format):
        raise MessageError(f"format {quoted(message.format)} {NEEDS_DEPTH}")
    return decode_image_file(message.data, size, message.format, resize)


def decode_image_file(
    data: Any, size: tuple[int, int] | None = None, kind: str = "", resize: str = "stretch"
) -> Image:
    """Decode a colour frame from the bytes of a JPEG or PNG file.

    Args:
        data: Bytes of the file.
        size: Height and width of the result, pixels; None for those of the file.
        kind: Declared format, as in the field `format` of sensor_msgs/CompressedImage.
        resize: Method for another aspect ratio; see `resize_image`.

    Returns:
        Image, shape (H, W, 3), rgb.

    Raises:
        MessageError: If the bytes are not a complete file, are a depth image, or are too large.
    """
    array = np.frombuffer(data, dtype=np.uint8)
    try:
        header = read_header(array)
        _refuse_distances(header, source_encoding(kind))
        mosaic = find_mosaic(source_encoding(kind)) if header.channels == 1 else None
        if mosaic is not None:
            image = mosaic.to_rgb(decode_file(array, cv2.IMREAD_GRAYSCALE))
        else:
            image = decode_file(array, cv2.IMREAD_COLOR)
    except MessageError as error:
        raise MessageError(f"format {quoted(kind)}: {error}" if kind else str(error)) from None
    if size is not None:
        image = resize_image(image, size, resize=resize)
    return np.asarray(image if mosaic else cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def encode_png(image: Image) -> bytes:
    """Encode an image, shape (H, W, 3), rgb, as a PNG file, without loss."""
    done, file = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done, "OpenCV writes PNG"
    return file.tobytes()


def _refuse_distances(header: ImageHeader, told: str) -> None:
    mosaic = told.startswith("bayer_") and told.endswith("16")
    if header.kind == "JPEG" and (told in DEPTH_UNITS or mosaic):
        raise MessageError(
            "a JPEG, whose 8 bits have cut the values of 16 bits at 255: publish it as PNG, "
            "depth also as compressedDepth"
        )
    grey = header.bits == 16 and header.channels == 1
    if is_distance(told) or (grey and not told.startswith(("mono", "bayer_"))):
        raise MessageError(f"a {header.kind} of {header.bits} bits {NEEDS_DEPTH}")


def source_encoding(kind: str) -> str:
    """Read the encoding before compression from a format; empty if the format has none."""
    return normal_name(kind.partition(";")[0]) if ";" in kind else ""


def is_compressed_depth(kind: str) -> bool:
    """Return True if a format is image_transport's compressedDepth."""
    return "compresseddepth" in kind.lower()


def image_rows(message: Any, pixel_bytes: int, rows: int) -> Image:
    """Bytes of the pixels, shape (rows, W * pixel_bytes), without the padding of the rows.

    Raises:
        MessageError: If the data does not have exactly `rows` rows.
    """
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, dtype=np.uint8)
    if height == 0 or width == 0 or step < width * pixel_bytes or data.size != rows * step:
        raise MessageError(
            f"{data.size} bytes for {width}x{height} {message.encoding.strip()} with rows of "
            f"{step} bytes"
        )
    # Drivers may pad rows: the length of a row is `step`, not the bytes of its pixels.
    return np.ascontiguousarray(data.reshape(rows, step)[:, : width * pixel_bytes])


def resize_image(
    image: Any,
    size: tuple[int, int],
    interpolation: int = cv2.INTER_AREA,
    resize: str = "stretch",
) -> Any:
    """Resize an image (H, W, ...) to another (height, width).

    The default interpolation averages over source pixels, which reduces an image without aliasing.

    Args:
        image: Image, shape (H, W, ...).
        size: Height and width of the result, pixels.
        interpolation: Interpolation code of cv2.
        resize: Method for another aspect ratio: stretch distorts the image, crop cuts equal parts
            off both sides, letterbox adds equal black bars on both sides.
    """
    if image.shape[:2] == size:
        return image
    height, width = image.shape[:2]
    if resize == "crop":
        scale = min(height / size[0], width / size[1])
        rows, columns = (max(1, round(n * scale)) for n in size)
        top, left = (height - rows) // 2, (width - columns) // 2
        image = image[top : top + rows, left : left + columns]
    if resize != "letterbox":
        return cv2.resize(image, (size[1], size[0]), interpolation=interpolation)
    scale = min(size[0] / height, size[1] / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
    boxed = np.zeros((*size, *image.shape[2:]), image.dtype)
    small = cv2.resize(image, (columns, rows), interpolation=interpolation)
    boxed[top : top + rows, left : left + columns] = small.reshape(rows, columns, *image.shape[2:])
    return boxed
