"""Input messages to arrays, as the interface's streams describe them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, ImageStream, JointStream, Stream, WrenchStream
from ebm_policy_ros.messages.depth import decode_compressed_depth, decode_depth
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.images import decode_compressed, decode_image

Part = tuple[Any, tuple[str, ...]]
"""A message, and those of the stream's parts that are taken from it."""


def stamp_ns(message: Any) -> int:
    """The header's stamp, nanoseconds; 0 where there is none or the sender left it empty."""
    header = getattr(message, "header", None)
    if header is None:
        return 0
    return int(header.stamp.sec) * NANOSECONDS + int(header.stamp.nanosec)


def parts_of(stream: Stream, message: Any) -> frozenset[str]:
    """Those of the stream's parts that a message has: of joints, several publishers send some."""
    return frozenset(stream.parts).intersection(message.name) if stream.parts else frozenset()


def decode(stream: Stream, parts: Sequence[Part]) -> npt.NDArray[Any]:
    """One sample of a stream, without the history dimension: (H, W, 3) uint8 or (K,) float32.

    A stream of continuous joints is float64: single precision is for what is left of an angle
    once its turns are taken off.

    Args:
        stream: The stream of the interface that the messages came on.
        parts: One message with the fields of the stream's type, live or read from a bag; for
            joints as many as together have every joint.

    Raises:
        MessageError: If a message doesn't hold what the stream promises.
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
    if message.header.frame_id != stream.frame_id:
        raise MessageError(
            f"{stream.topic}: frame {message.header.frame_id!r}, expected {stream.frame_id!r}"
        )
    read = _wrench_value if isinstance(stream, WrenchStream) else pose_value
    values = finite([read(message, field) for field in stream.fields], stream.topic)
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


def pose_value(message: Any, field: str) -> float:
    """The value of x to z or qx to qw in a geometry_msgs/PoseStamped."""
    part = message.pose.orientation if field.startswith("q") else message.pose.position
    return float(getattr(part, field[-1]))


def _wrench_value(message: Any, field: str) -> float:
    part, axis = field.split(".")
    return float(getattr(getattr(message.wrench, part), axis))


def finite(values: Any, topic: str) -> npt.NDArray[np.float64]:
    """Numbers of a message as an array.

    Raises:
        MessageError: If one is not finite, or not in single precision.
    """
    array = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        single = array.astype(np.float32)
    if not np.isfinite(single).all():
        raise MessageError(f"a value on {topic} is not a finite number")
    return array
