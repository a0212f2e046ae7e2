"""From the bytes of a message to its fields, by the definition that its bag holds."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from ebm_policy_ros.training.storage.account import Channel

_KNOWN = get_typestore(Stores.ROS2_JAZZY)


class DefinitionError(ValueError):
    """A type of message that cannot be read."""


def message_type(name: str) -> str:
    """The name of a type as ROS 2 writes it; some tools leave out the middle."""
    package, _, rest = name.partition("/")
    return name if "/" in rest or not rest else f"{package}/msg/{rest}"


@lru_cache(maxsize=256)
def _store(channel: Channel) -> Any:
    """Types by the bag's own definition; by ROS 2 Jazzy's where it has none or the same."""
    kind = message_type(channel.type)
    if channel.encoding != "cdr":
        raise DefinitionError(
            f"{channel.topic}: its messages are encoded as {channel.encoding!r}, expected 'cdr'; "
            "convert the bag with rosbags-convert"
        )
    if channel.definition and channel.format in ("ros2msg", "ros2idl"):
        try:
            if channel.format == "ros2idl":
                types = get_types_from_idl(channel.definition)
            else:
                types = get_types_from_msg(channel.definition, kind)
            if all(_KNOWN.fielddefs.get(name) == fields for name, fields in types.items()):
                return _KNOWN
            store = get_typestore(Stores.EMPTY)
            store.register(types)
            return store
        except Exception as error:  # whatever the parser meets in a damaged definition
            raise DefinitionError(
                f"{channel.topic}: the definition of {kind} in the bag cannot be read ({error})"
            ) from None
    if kind not in _KNOWN.fielddefs:
        raise DefinitionError(f"{channel.topic}: the bag has no definition of its type {kind}")
    return _KNOWN


def check(channel: Channel) -> None:
    """See that messages of a channel can be decoded.

    Raises:
        DefinitionError: If not.
    """
    _store(channel)


def decode(channel: Channel, data: bytes) -> Any:
    """The message in some bytes.

    Raises:
        Exception: Of many kinds, where the bytes are not what the definition says.
    """
    return _store(channel).deserialize_cdr(data, message_type(channel.type))
