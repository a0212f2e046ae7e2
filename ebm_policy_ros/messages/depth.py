"""Conversion of depth camera messages to arrays."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.messages.encodings import DEPTH_NAMES, DEPTH_UNITS, normal_name, quoted
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.image_files import decode_file, read_header
from ebm_policy_ros.messages.images import (
    Image,
    image_rows,
    is_compressed_depth,
    resize_image,
    source_encoding,
)

# Size of the header that image_transport's compressedDepth puts before the PNG: a number for the
# format, then the quantisation parameters A and B of 32FC1.
HEADER_BYTES = 12


def decode_depth(
    message: Any,
    size: tuple[int, int],
    nearest: float,
    farthest: float,
    resize: str = "stretch",
) -> Image:
    """Decode a depth frame to the grey image that the policy observes.

    Args:
        message: Object with the fields of sensor_msgs/Image: 16UC1 or mono16 (mm), 32FC1 (m).
        size: Height and width of the result, pixels.
        nearest: Distance in metres that is mapped to 1, as are all nearer ones.
        farthest: Distance in metres that is mapped to 255, as are all farther ones.
        resize: Method for another aspect ratio; see `resize_image`.

    Returns:
        Image, shape (H, W, 3), three equal channels; 0 where nothing was measured.

    Raises:
        MessageError: If the encoding is unknown or the data does not match the image size.
    """
    name = normal_name(message.encoding)
    _refuse_colours(name, f"encoding {quoted(message.encoding)}")
    kind = "f4" if name == "32fc1" else "u2"
    rows = image_rows(message, int(kind[1]), message.height)
    values = rows.view(f"{'>' if message.is_bigendian else '<'}{kind}").astype(kind, copy=False)
    depth = _smaller(values, size, resize).astype(np.float32) * DEPTH_UNITS[name]
    return _grey(depth, nearest, farthest)


def decode_compressed_depth(
    message: Any,
    size: tuple[int, int],
    nearest: float,
    farthest: float,
    resize: str = "stretch",
) -> Image:
    """Decode a depth frame of sensor_msgs/CompressedImage; see `decode_depth`.

    Args:
        message: Message with a 16-bit PNG (mm), or image_transport's compressedDepth: 16UC1 (mm)
            or 32FC1, which is A / (value - B) metres.
        size: Height and width of the result, pixels.
        nearest: Distance in metres that is mapped to 1, as are all nearer ones.
        farthest: Distance in metres that is mapped to 255, as are all farther ones.
        resize: Method for another aspect ratio; see `resize_image`.

    Returns:
        Image, shape (H, W, 3), three equal channels; 0 where nothing was measured.

    Raises:
        MessageError: If the message does not hold a depth image or the image is too large.
    """
    said = f"format {quoted(message.format)}"
    if "rvl" in message.format.lower():
        raise MessageError(f"{said} can't be read: publish compressedDepth with its format png")
    # A plain PNG does not state its encoding; according to the interface it is depth.
    told = source_encoding(message.format) or "16uc1"
    _refuse_colours(told, said)
    data = image_file(message)
    header = read_header(data)
    if header.kind != "PNG" or header.bits != 16 or header.channels != 1:
        raise MessageError(
            f"{said} with a {header.kind} of {header.bits} bits and {header.channels} channels, "
            "expected a grey PNG of 16 bits: publish distances as PNG or compressedDepth"
        )
    values = _smaller(decode_file(data, cv2.IMREAD_UNCHANGED), size, resize)
    if told != "32fc1":
        return _grey(values.astype(np.float32) * DEPTH_UNITS[told], nearest, farthest)
    return _grey(_dequantised(values, message, said), nearest, farthest)


def image_file(message: Any) -> Image:
    """Bytes of the image file in a CompressedImage, without the header of compressedDepth."""
    data = np.frombuffer(message.data, np.uint8)
    return data[HEADER_BYTES:] if is_compressed_depth(message.format) else data


def _dequantised(values: npt.NDArray[Any], message: Any, said: str) -> npt.NDArray[np.float32]:
    """Distances in metres; 0 where nothing was measured."""
    if not is_compressed_depth(message.format):
        raise MessageError(f"{said} doesn't tell its unit: publish 32FC1 as compressedDepth")
    a, b = np.frombuffer(message.data, "<f4", count=2, offset=4)
    if not (np.isfinite([a, b]).all() and a > 0):
        raise MessageError(f"{said} with the quantisation A = {a:g}, B = {b:g}, expected A > 0")
    below = values.astype(np.float32) - np.float32(b)
    measured = (values > 0) & (below > 0)
    return np.where(measured, np.float32(a) / np.where(measured, below, 1), 0).astype(np.float32)


def _refuse_colours(name: str, said: str) -> None:
    if name not in DEPTH_UNITS:
        raise MessageError(
            f"{said}, expected one of {DEPTH_NAMES}; a stream of colours has no key `depth`"
        )


def _smaller(values: npt.NDArray[Any], size: tuple[int, int], resize: str) -> npt.NDArray[Any]:
    # Nearest pixel: the mean over an object's edge would be a distance where there is no object.
    return np.asarray(resize_image(values, size, cv2.INTER_NEAREST, resize))


def _grey(depth: npt.NDArray[np.float32], nearest: float, farthest: float) -> Image:
    measured = np.isfinite(depth) & (depth > 0)
    part = (np.where(measured, depth, nearest) - nearest) / (farthest - nearest)
    grey = np.where(measured, 1 + np.rint(254 * np.clip(part, 0, 1)), 0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
