"""Headers of JPEG and PNG files: the image size, known before memory is allocated."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.messages.errors import MessageError

# Maximum side length and number of pixels of an image. No camera of a policy has more: 8K video is
# 7680x4320. An image at the bound takes 100 MB; without a bound, a file of a few hundred kilobytes
# could require gigabytes.
MOST_SIDE = 8192
MOST_PIXELS = 1 << 25
# Bytes in which the size of a JPEG must be found. It follows the metadata of cameras and editors,
# at most a few times 64 KiB.
_LONGEST_HEADER = 1 << 20
# Maximum number of parts of a file that are read to find its size. Cameras write a dozen; a PNG
# has one per 8 KB.
_MOST_PARTS = 10_000
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
# The markers SOF0 to SOF15 give the size; three codes in this range have another meaning.
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD8)) | {0x01}
_END, _SCAN = 0xD9, 0xDA


@dataclass(frozen=True)
class ImageHeader:
    """Kind and shape of an image according to its file header."""

    kind: str
    """Kind of file: JPEG or PNG."""
    height: int
    width: int
    bits: int
    """Number of bits per value of a pixel."""
    channels: int


def read_header(data: npt.NDArray[np.uint8]) -> ImageHeader:
    """Read the header of a JPEG or PNG file.

    Args:
        data: Bytes of the file, shape (N,).

    Raises:
        MessageError: If it is not a JPEG or PNG file, or the image is larger than the bounds.
    """
    head = data[:_LONGEST_HEADER].tobytes()
    if head.startswith(_PNG):
        header = _png(data)
    elif head.startswith(b"\xff\xd8\xff"):
        header = _jpeg(head)
    else:
        raise MessageError(f"{data.size} bytes that are no whole JPEG or PNG")
    if header is None or header.height == 0 or header.width == 0:
        raise MessageError(f"{data.size} bytes that are no whole JPEG or PNG")
    height, width = header.height, header.width
    if max(height, width) > MOST_SIDE or height * width > MOST_PIXELS:
        raise MessageError(
            f"a {header.kind} of {width}x{height} pixels; at most {MOST_SIDE} a side and "
            f"{MOST_PIXELS / 1e6:.1f} million in all are decoded"
        )
    return header


def _png(data: npt.NDArray[np.uint8]) -> ImageHeader | None:
    file = data.data
    if len(file) < 33 or file[12:16].tobytes() != b"IHDR" or not _has_all_chunks(file):
        return None
    width, height, bits, colour = struct.unpack_from(">IIBB", file, 16)
    channels = _PNG_CHANNELS.get(colour)
    return ImageHeader("PNG", height, width, bits, channels) if channels else None


def _has_all_chunks(file: memoryview) -> bool:
    """Return True for a complete PNG of one frame.

    cv2 allocates the memory that the length of a chunk states, even if the chunk is incomplete.
    """
    place = len(_PNG)
    for _ in range(_MOST_PARTS):
        if place + 12 > len(file):
            break
        length, name = struct.unpack_from(">I4s", file, place)
        place += 12 + length
        if name == b"IEND" or name == b"acTL":
            return bool(name == b"IEND" and place <= len(file))
    return False


def _jpeg(head: bytes) -> ImageHeader | None:
    place = 2
    for _ in range(_MOST_PARTS):
        if (place := head.find(b"\xff", place)) < 0 or place + 10 > len(head):
            break
        marker = head[place + 1]
        place += 1 if marker == 0xFF else 2  # 0xFF: fill byte
        if marker in (0x00, 0xFF) or marker in _WITHOUT_LENGTH:
            continue
        if marker in _SIZE_MARKERS:
            bits, height, width, channels = struct.unpack_from(">BHHB", head, place + 2)
            return ImageHeader("JPEG", height, width, bits, channels)
        if marker in (_SCAN, _END):
            return None
        place += max(2, int.from_bytes(head[place : place + 2], "big"))
    return None


def decode_file(data: npt.NDArray[np.uint8], flags: int) -> Any:
    """Decode a file whose header has been read.

    Raises:
        MessageError: If the bytes are not a complete file.
    """
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error:
        image = None
    if image is None:
        raise MessageError(f"{data.size} bytes that are no whole JPEG or PNG")
    return image
