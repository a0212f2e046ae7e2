"""Pixel encodings of colour and depth cameras, by their names in sensor_msgs/Image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.messages.errors import MessageError

_MOST_TEXT = 80


@dataclass(frozen=True)
class Encoding:
    """Memory layout of a colour frame, and its conversion to rgb."""

    channels: int
    """Number of values per pixel."""
    conversion: int | None
    """Conversion code of cv2; None if the frame is rgb already."""
    value_bytes: int = 1
    """Number of bytes per value."""
    neighbours: bool = False
    """True if the colour of a pixel also depends on its neighbours, so that the frame must be
    converted before it is resized."""
    planes: bool = False
    """True if the rows of brightness are followed by half as many rows of colour (4:2:0)."""

    def to_rgb(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Convert pixels of shape (rows, W, channels) to (H, W, 3).

        Raises:
            MessageError: If no image of the encoding has this shape.
        """
        if self.conversion is None:
            return pixels
        try:
            return np.asarray(cv2.cvtColor(pixels, self.conversion), np.uint8)
        except cv2.error:
            rows, width = pixels.shape[:2]
            raise MessageError(
                f"{rows} rows of {width} pixels make no image of this encoding, whose height and "
                "width are even"
            ) from None


_PIXELS: dict[str, tuple[int, int | None]] = {
    "rgb": (3, None),
    "bgr": (3, cv2.COLOR_BGR2RGB),
    "rgba": (4, cv2.COLOR_RGBA2RGB),
    "bgra": (4, cv2.COLOR_BGRA2RGB),
    "mono": (1, cv2.COLOR_GRAY2RGB),
}
# OpenCV names a Bayer mosaic by its second row: its BayerBG is rggb in ROS.
_MOSAICS = {
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
}
# YCbCr of BT.601 in video range (16 to 235), as in cv_bridge.
_YUYV = Encoding(2, cv2.COLOR_YUV2RGB_YUY2, neighbours=True)
_UYVY = Encoding(2, cv2.COLOR_YUV2RGB_UYVY, neighbours=True)
_KNOWN: dict[str, Encoding] = {
    **{f"{name}8": Encoding(*pixel) for name, pixel in _PIXELS.items()},
    **{f"{name}16": Encoding(*pixel, value_bytes=2) for name, pixel in _PIXELS.items()},
    # The types of OpenCV do not state the order of colours; the usual order of OpenCV is assumed.
    "8UC1": Encoding(*_PIXELS["mono"]),
    "8UC3": Encoding(*_PIXELS["bgr"]),
    "8UC4": Encoding(*_PIXELS["bgra"]),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": Encoding(1, cv2.COLOR_YUV2RGB_NV12, neighbours=True, planes=True),
    "nv21": Encoding(1, cv2.COLOR_YUV2RGB_NV21, neighbours=True, planes=True),
    **{f"{n}8": Encoding(1, code, neighbours=True) for n, code in _MOSAICS.items()},
    **{f"{n}16": Encoding(1, code, 2, neighbours=True) for n, code in _MOSAICS.items()},
}
_BY_NAME = {name.lower(): encoding for name, encoding in _KNOWN.items()}
# Encodings of distances and their unit in metres (REP-118). Some depth cameras use mono16.
DEPTH_UNITS = {"16uc1": 0.001, "mono16": 0.001, "32fc1": 1.0}
DEPTH_NAMES = "16UC1, 32FC1, mono16"
NEEDS_DEPTH = "is depth: give the stream the key `depth: [nearest, farthest]` (m) in the interface"


def normal_name(text: str) -> str:
    """Normalise the name of an encoding for look-up: drivers differ in upper and lower case."""
    return text.strip().lower()


def is_distance(name: str) -> bool:
    """Return True if an encoding, by its normal name, can only be one of distances."""
    return name in DEPTH_UNITS and name not in _BY_NAME


def find_encoding(text: str) -> Encoding:
    """Find the encoding of a colour image.

    Raises:
        MessageError: If the encoding is unknown or is one of distances.
    """
    name = normal_name(text)
    if is_distance(name):
        raise MessageError(f"encoding {quoted(text)} {NEEDS_DEPTH}")
    if name not in _BY_NAME:
        raise MessageError(f"encoding {quoted(text)}, expected one of {', '.join(_KNOWN)}")
    return _BY_NAME[name]


def find_mosaic(name: str) -> Encoding | None:
    """Find the encoding of a Bayer mosaic by its normal name; None for other encodings."""
    return _BY_NAME.get(name) if name.startswith("bayer_") else None


def quoted(text: str) -> str:
    """Quote untrusted text, cut to fit in a line."""
    return repr(text[:_MOST_TEXT])
