"""What a recorder knows of a topic and of its serialised messages, without deserialising them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from rosbags.typesys import Stores, get_typestore

from ebm_policy_ros.interface import NANOSECONDS

# CDR: a representation identifier of four bytes, then the fields; a header begins with its stamp.
_STAMPS = {0: struct.Struct(">4xiI"), 1: struct.Struct("<4xiI")}


@dataclass(frozen=True)
class Topic:
    """A topic of a bag."""

    name: str
    type: str
    qos: tuple[Mapping[str, Any], ...] = ()
    """What each of its publishers offered, as rosbag2 writes it."""


class Message(NamedTuple):
    """A message as it arrived."""

    log_ns: int
    """When it was received."""
    publish_ns: int
    """When it was published."""
    sequence: int
    """Its publisher's number for it; 0 if not known."""
    data: bytes
    """CDR."""


@cache
def definition_of(ros_type: str) -> tuple[str, str]:
    """The definition of a type with those nested in it, and its hash (REP-2011).

    Raises:
        ValueError: If the type is none of the standard ones.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    if ros_type not in store.fielddefs:
        raise ValueError(f"{ros_type}: no definition of this type is known")
    return store.generate_msgdef(ros_type, ros_version=2)[0], store.hash_rihs01(ros_type)


@cache
def has_header(ros_type: str) -> bool:
    """Whether messages of a type begin with a header."""
    _, fields = get_typestore(Stores.ROS2_JAZZY).fielddefs[ros_type]
    return bool(fields) and fields[0][1][1] == "std_msgs/msg/Header"


def serialised_stamp_ns(data: bytes) -> int:
    """The stamp of a serialised message that begins with a header; 0 if it was left empty."""
    sec, nanosec = _STAMPS[data[1] & 1].unpack_from(data)
    return int(sec) * NANOSECONDS + int(nanosec)


def restamped(data: bytes, time_ns: int) -> bytes:
    """A serialised message that begins with a header, with another stamp."""
    packed = bytearray(_STAMPS[data[1] & 1].size)
    _STAMPS[data[1] & 1].pack_into(packed, 0, *divmod(time_ns, NANOSECONDS))
    return data[:4] + packed[4:] + data[12:]
