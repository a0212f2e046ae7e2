"""Input messages to arrays, as the interface's streams describe them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, ImageStream, JointStream, PoseStream, Stream
from ebm_policy_ros.messages.images import MessageError, decode_image


def stamp_ns(message: Any) -> int:
    """The header's stamp, nanoseconds; 0 where the sender left it empty."""
    stamp = message.header.stamp
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def concerns(stream: Stream, message: Any) -> bool:
    """Whether a message is for the stream: several publishers may share a joint topic."""
    return not isinstance(stream, JointStream) or not set(stream.names).isdisjoint(message.name)


def decode(stream: Stream, message: Any) -> npt.NDArray[Any]:
    """One sample of a stream, without the history dimension: (H, W, 3) uint8 or (K,) float32.

    Args:
        stream: The stream of the interface that the message came on.
        message: Anything with the fields of the stream's type, live or read from a bag.

    Raises:
        MessageError: If the message doesn't hold what the stream promises.
    """
    if isinstance(stream, ImageStream):
        return decode_image(message, stream.size)
    if isinstance(stream, JointStream):
        return _finite(_joint_values(message, stream), stream.topic)
    return _finite(_pose_values(message, stream), stream.topic)


def _joint_values(message: Any, stream: JointStream) -> list[float]:
    index = {name: i for i, name in enumerate(message.name)}
    missing = [name for name in stream.names if name not in index]
    if missing:
        raise MessageError(f"no joint {missing[0]!r} among {', '.join(index) or 'no names'}")
    values: list[float] = []
    for field in stream.fields:
        column: Sequence[float] = getattr(message, field)
        if len(column) != len(index):
            raise MessageError(f"{len(column)} values of {field} for {len(index)} joints")
        values += [column[index[name]] for name in stream.names]
    return values


def _pose_values(message: Any, stream: PoseStream) -> list[float]:
    if message.header.frame_id != stream.frame_id:
        raise MessageError(f"frame {message.header.frame_id!r}, expected {stream.frame_id!r}")
    position, orientation = message.pose.position, message.pose.orientation
    return [
        getattr(orientation, field[1]) if field.startswith("q") else getattr(position, field)
        for field in stream.fields
    ]


def _finite(values: Sequence[float], topic: str) -> npt.NDArray[np.float32]:
    array = np.asarray(values, dtype=np.float32)
    if not np.isfinite(array).all():
        raise MessageError(f"a value on {topic} is not a finite number")
    return array
