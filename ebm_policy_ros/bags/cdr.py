"""CDR: decoding of messages with the definition in their bag."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from ebm_policy_ros.bags.known_types import known_types
from ebm_policy_ros.bags.read_report import Channel
from ebm_policy_ros.util.quoting import cut, quote

_KNOWN = known_types()
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_ARRAY = 10_000
_LONGEST_DEFINITION = 1 << 20
_LONGEST_SEQUENCE = 1 << 28


class DefinitionError(ValueError):
    """A message type that cannot be read."""


def message_type(name: str) -> str:
    """Full name of a type as in ROS 2; some tools leave out the middle part."""
    package, _, rest = name.partition("/")
    return name if "/" in rest or not rest else f"{package}/msg/{rest}"


@lru_cache(maxsize=256)
def _store(channel: Channel) -> Any:
    """Type store from the bag's definition, or Jazzy's if there is none or it is the same."""
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
        except Exception as error:  # the parser may raise anything on a damaged definition
            raise DefinitionError(
                f"{topic}: the definition of {cut(kind)} in the bag cannot be read ({cut(error)})"
            ) from None
    if kind not in _KNOWN.fielddefs:
        raise DefinitionError(f"{topic}: the bag has no definition of its type {cut(kind)}")
    return _KNOWN


def _store_of(types: dict[str, Any]) -> Any:
    """Type store with the types of a bag.

    The library generates code from the types. Therefore only field types and valid names are
    passed on: no constants, which aren't needed, and no arrays of excessive length.

    Raises:
        ValueError: If a name is invalid or an array is too long.
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
    """Check that messages of a channel can be decoded.

    Raises:
        DefinitionError: If they can't.
    """
    _store(channel)


def decode(channel: Channel, data: bytes) -> Any:
    """Decode a message.

    Raises:
        Exception: Any kind of exception, if the bytes don't match the definition.
    """
    return _store(channel).deserialize_cdr(data, message_type(channel.type))
