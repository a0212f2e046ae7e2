"""Conversion of input messages to arrays, according to the streams of the interface."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import (
    NANOSECONDS,
    ImageStream,
    JointStream,
    NumberStream,
    OdometryStream,
    Stream,
    WrenchStream,
)
from ebm_policy_ros.interface.command_types.pose_stamped import pose_value
from ebm_policy_ros.messages.depth import decode_compressed_depth, decode_depth
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.images import decode_compressed, decode_image

Part = tuple[Any, tuple[str, ...]]
"""Message, and the names of the stream's parts that are taken from it."""


def stamp_ns(message: Any) -> int:
    """Stamp of the header in nanoseconds; 0 if there is no header or the stamp is not set.

    Of a message of several transforms it is the newest of their stamps.
    """
    header = getattr(message, "header", None)
    if header is None:
        return max(map(stamp_ns, getattr(message, "transforms", ())), default=0)
    return int(header.stamp.sec) * NANOSECONDS + int(header.stamp.nanosec)


def parts_of(stream: Stream, message: Any) -> frozenset[str]:
    """Parts of the stream that a message has: several publishers may each send some joints."""
    return frozenset(stream.parts).intersection(message.name) if stream.parts else frozenset()


def decode(stream: Stream, parts: Sequence[Part]) -> npt.NDArray[Any]:
    """Decode one sample of a stream, without the history dimension.

    The sample is an image (H, W, 3) uint8 or a vector (K,) float32. A stream with continuous
    joints is float64: single precision is sufficient only after the full turns are removed from an
    angle.

    Args:
        stream: Stream of the interface to which the messages belong.
        parts: One message with the fields of the stream's type, live or read from a bag. For
            joints, several messages that together have every joint.

    Raises:
        MessageError: If a message does not match the stream.
    """
    if isinstance(stream, JointStream):
        values = finite(_joint_values(parts, stream), stream.topic)
        return values if stream.continuous else values.astype(np.float32)
    message = parts[0][0]
    try:
        if isinstance(stream, ImageStream):
            return _image(message, stream)
    except MessageError as error:
        raise MessageError(f"{stream.topic}: {error}") from None
    if isinstance(stream, NumberStream):
        return finite([message.data], stream.topic).astype(np.float32)
    if message.header.frame_id != stream.frame_id:
        raise MessageError(
            f"{stream.topic}: frame {message.header.frame_id!r}, expected {stream.frame_id!r}"
        )
    values = finite([_value(message, stream, field) for field in stream.fields], stream.topic)
    return values.astype(np.float32)


def _image(message: Any, stream: ImageStream) -> npt.NDArray[np.uint8]:
    compressed = stream.type.endswith("CompressedImage")
    if stream.depth is not None:
        read_depth = decode_compressed_depth if compressed else decode_depth
        return read_depth(message, stream.size, *stream.depth, stream.resize)
    read = decode_compressed if compressed else decode_image
    return read(message, stream.size, stream.resize)


def _joint_values(parts: Sequence[Part], stream: JointStream) -> list[float]:
    values: dict[tuple[str, str], float] = {}
    for message, names in parts:
        index = {name: i for i, name in enumerate(message.name)}
        if len(index) != len(message.name):
            raise MessageError(f"{stream.topic}: a joint twice in {', '.join(message.name)}")
        for field in stream.fields:
            column: Sequence[float] = getattr(message, field)
            if len(column) != len(message.name):
                raise MessageError(
                    f"{stream.topic}: {len(column)} values of {field} for "
                    f"{len(message.name)} joints"
                )
            values.update({(field, name): column[index[name]] for name in names})
    return [values[field, name] for field in stream.fields for name in stream.names]


def _value(message: Any, stream: Stream, field: str) -> float:
    """Value of a field of a message that is given in a frame."""
    if isinstance(stream, WrenchStream):
        return float(attrgetter(field)(message.wrench))
    if isinstance(stream, OdometryStream):  # its pose and its twist each have a covariance
        if field in stream.VELOCITY:
            return float(attrgetter(field)(message.twist.twist))
        return pose_value(message.pose, field)
    return pose_value(message, field)


def finite(values: Any, topic: str) -> npt.NDArray[np.float64]:
    """Convert the numbers of a message to an array.

    Raises:
        MessageError: If a number is not finite, or is too large for single precision.
    """
    array = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore"):  # numbers that are too large become infinite
        single = array.astype(np.float32)
    if not np.isfinite(single).all():
        raise MessageError(f"a value on {topic} is not a finite number")
    return array
