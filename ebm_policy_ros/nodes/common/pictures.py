"""Pictures that nodes publish."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image


def picture_message(picture: npt.NDArray[np.uint8], stamp: Any) -> Image:
    """Image message of a picture.

    Args:
        picture: Colours, shape (H, W, 3), rgb.
        stamp: Time of the header.
    """
    height, width = picture.shape[:2]
    message = Image(height=height, width=width, encoding="rgb8", step=width * 3)
    message.header.stamp = stamp
    message.data = picture.tobytes()
    return message
