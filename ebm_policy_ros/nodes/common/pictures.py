"""Pictures that nodes publish."""

from __future__ import annotations

from array import array
from typing import Any

import numpy.typing as npt
from sensor_msgs.msg import Image


def picture_message(picture: npt.NDArray[Any], stamp: Any, encoding: str = "rgb8") -> Image:
    """Image message of a picture.

    Args:
        picture: Colours, shape (H, W, 3), rgb, as bytes; or what the encoding says.
        stamp: Time of the header.
        encoding: Name of the pixels' format, as in sensor_msgs/image_encodings.h.
    """
    height, width = picture.shape[:2]
    message = Image(height=height, width=width, encoding=encoding, step=picture.nbytes // height)
    message.header.stamp = stamp
    # Bytes would be checked one by one on Humble.
    message.data = array("B", picture.tobytes())
    return message
