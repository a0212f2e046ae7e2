"""Pictures for people: any image message as colours."""

from __future__ import annotations

from typing import Any

from ebm_policy_ros.messages.depth import decode_compressed_depth, decode_depth, image_file
from ebm_policy_ros.messages.encodings import is_distance, normal_name
from ebm_policy_ros.messages.image_files import read_header
from ebm_policy_ros.messages.images import (
    Image,
    decode_compressed,
    decode_image,
    is_compressed_depth,
)

# Distances that are shown as black and white, m.
_DISTANCES = (0.2, 5.0)


def picture(message: Any, largest: int) -> Image:
    """Colours, shape (H, W, 3), rgb; distances as grey values.

    Args:
        message: An Image or a CompressedImage, live or from a bag.
        largest: Maximum height and width; a larger image is made smaller, in its proportions.

    Raises:
        MessageError: If the image cannot be decoded.
    """
    if not hasattr(message, "format"):
        size = _smaller(message.height, message.width, largest)
        if is_distance(normal_name(message.encoding)):
            return decode_depth(message, size, *_DISTANCES)
        return decode_image(message, size)
    header = read_header(image_file(message))
    size = _smaller(header.height, header.width, largest)
    if is_compressed_depth(message.format):
        return decode_compressed_depth(message, size, *_DISTANCES)
    return decode_compressed(message, size)


def _smaller(height: int, width: int, largest: int) -> tuple[int, int]:
    scale = min(1.0, largest / max(height, width, 1))
    return max(1, round(height * scale)), max(1, round(width * scale))
