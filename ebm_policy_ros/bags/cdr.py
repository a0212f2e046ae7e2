"""From the bytes of a message to its fields, by the definition that its bag holds."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from ebm_policy_ros.bags.read_report import Channel
from ebm_policy_ros.util.quoting import cut, quote

_KNOWN = get_typestore(Stores.ROS2_JAZZY)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_ARRAY = 10_000
_LONGEST_DEFINITION = 1 << 20
_LONGEST_SEQUENCE = 1 << 28


class DefinitionError(ValueError):
    """A type of message that cannot be read."""


def message_type(name: str) -> str:
    """The name of a type as ROS 2 writes it; some tools leave out the middle."""
    package, _, rest = name.partition("/")
    return name if "/" in rest or not rest else f"{package}/msg/{rest}"


@lru_cache(maxsize=256)
def _store(channel: Channel) -> Any:
    """Types by the bag's own definition; by ROS 2 Jazzy's where it has none or the same."""
    kind, topic = message_type(channel.type), cut(channel.topic)
    if channel.encoding != "cdr":
        raise DefinitionError(
            f"{topic}: its messages are encoded as {quote(channel.encoding)}, expected 'cdr'; "
            "convert the bag with rosbags-convert"
        )
    if channel.definition and channel.format in ("ros2msg", "ros2idl"):
        try:
            if len(channel.definition) > _LONGEST_DEFINITION:
                raise ValueError(f"it has {len(channel.definition):,} characters")
            if channel.format == "ros2idl":
                types = get_types_from_idl(channel.definition)
            else:
                types = get_types_from_msg(channel.definition, kind)
            if all(_KNOWN.fielddefs.get(name) == fields for name, fields in types.items()):
                return _KNOWN
            return _store_of(types)
        except Exception as error:  # whatever the parser meets in a damaged definition
            raise DefinitionError(
                f"{topic}: the definition of {cut(kind)} in the bag cannot be read ({cut(error)})"
            ) from None
    if kind not in _KNOWN.fielddefs:
        raise DefinitionError(f"{topic}: the bag has no definition of its type {cut(kind)}")
    return _KNOWN


def _store_of(types: dict[str, Any]) -> Any:
    """Types as a bag defines them.

    The library makes code of them. So nothing but names, of which there are few and which are
    names, gets so far: no constants, which aren't needed, and no array that is absurdly long.

    Raises:
        ValueError: If something else is among them.
    """
    for name, (_, fields) in types.items():
        words = [*name.split("/"), *(field for field, _ in fields)]
        if not all(map(_NAME.fullmatch, words)):
            raise ValueError(f"a name in {name!r} is none")
        lengths = [content[1] for _, (kind, content) in fields if kind == Nodetype.ARRAY]
        if any(length > _LONGEST_ARRAY for length in lengths):
            raise ValueError(f"an array of {max(lengths)} in {name}")
    store = get_typestore(Stores.EMPTY)
    store.max_sequence_length = _LONGEST_SEQUENCE
    store.register({name: ([], fields) for name, (_, fields) in types.items()})
    return store


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
