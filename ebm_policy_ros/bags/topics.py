"""Topics of a recorder, and fields of serialised messages that are read without deserialising."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from ebm_policy_ros.bags.known_types import known_types
from ebm_policy_ros.interface import NANOSECONDS

# CDR: a representation identifier of four bytes, then the fields; a header begins with its stamp.
_STAMPS = {0: struct.Struct(">4xiI"), 1: struct.Struct("<4xiI")}


@dataclass(frozen=True)
class Topic:
    """A topic of a bag."""

    name: str
    type: str
    qos: tuple[Mapping[str, Any], ...] = ()
    """Offered QoS profile of each publisher, in the format of rosbag2."""


class Message(NamedTuple):
    """A message as it was received."""

    log_ns: int
    """Receive time, nanoseconds."""
    publish_ns: int
    """Publish time, nanoseconds."""
    sequence: int
    """Sequence number of its publisher; 0 if unknown."""
    data: bytes
    """Serialised message, CDR."""


@cache
def definition_of(ros_type: str) -> tuple[str, str]:
    """Definition of a type with its nested types, and its hash (REP-2011).

    Raises:
        ValueError: If the type is not one of the standard types.
    """
    store = known_types()
    if ros_type not in store.fielddefs:
        raise ValueError(f"{ros_type}: no definition of this type is known")
    return store.generate_msgdef(ros_type, ros_version=2)[0], store.hash_rihs01(ros_type)


@cache
def has_header(ros_type: str) -> bool:
    """True if messages of the type begin with a header."""
    _, fields = known_types().fielddefs[ros_type]
    return bool(fields) and fields[0][1][1] == "std_msgs/msg/Header"


def serialised_stamp_ns(data: bytes) -> int:
    """Stamp of a serialised message that begins with a header, nanoseconds; 0 if it is not set."""
    sec, nanosec = _STAMPS[data[1] & 1].unpack_from(data)
    return int(sec) * NANOSECONDS + int(nanosec)


def restamped(data: bytes, time_ns: int) -> bytes:
    """Replace the stamp of a serialised message that begins with a header."""
    packed = bytearray(_STAMPS[data[1] & 1].size)
    _STAMPS[data[1] & 1].pack_into(packed, 0, *divmod(time_ns, NANOSECONDS))
    return data[:4] + packed[4:] + data[12:]
