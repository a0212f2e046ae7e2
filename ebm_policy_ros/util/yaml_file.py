"""The one reader of YAML, and of JSON, for files that may be anybody's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import cut

# The parser in C, where PyYAML has it, is ten times as fast.
_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER_BEGINS = "-+.0123456789"
_LONGEST_NUMBER = 1_000


class UnreadableFile(ValueError):
    """Text that is not what it should be, or asks for more than any of ours; one short line."""


class _Loader(_SAFE):
    """Takes 15e-2 and 1e3 for numbers, as YAML 1.2 does; PyYAML wants a point and a sign."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"),
    list(_NUMBER_BEGINS),
)


def read_yaml(path: Path) -> Any:
    """The plain values in a YAML file.

    Raises:
        OSError: If it can't be read.
        UnreadableFile: If it is too large or not YAML; the text doesn't name the file.
    """
    return parse_yaml(_read_text(path, bounds.LARGEST_YAML, "YAML"))


def read_json(path: Path, largest: int = bounds.LARGEST_YAML) -> Any:
    """The plain values in a JSON file of at most so many bytes.

    Raises:
        OSError: If it can't be read.
        UnreadableFile: If it is too large, not JSON or nested too deep; the text doesn't name the
            file.
    """
    return parse_json(_read_text(path, largest, "JSON"))


def _read_text(path: Path, largest: int, kind: str) -> str:
    with path.open("rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise UnreadableFile(f"larger than {largest:,} bytes, expected a small file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"not a {kind} file ({cut(error)})") from None


def parse_yaml(text: str) -> Any:
    """The plain values in a YAML text.

    Raises:
        UnreadableFile: If it is too large or not YAML.
    """
    check_yaml(text)
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # what stands behind tags raises all kinds of errors
        raise UnreadableFile(f"not a YAML file ({cut(error, 160)})") from None


def check_yaml(text: str) -> None:
    """Refuse a YAML text that is large, deep, or becomes so where aliases are spelled out.

    Raises:
        UnreadableFile: Saying which of these it is, or that it isn't YAML.
    """
    if len(text) > bounds.LARGEST_YAML:
        raise UnreadableFile(f"larger than {bounds.LARGEST_YAML:,} bytes, expected a small file")
    # Of each value that has begun: its anchor, and how many values it has so far.
    begun: list[tuple[str | None, int]] = [(None, 0)]
    anchored: dict[str, int] = {}
    try:
        for event in yaml.parse(text, _SAFE):
            if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                begun.append((event.anchor, 1))
                if len(begun) > bounds.DEEPEST:
                    raise UnreadableFile(f"nested more than {bounds.DEEPEST} levels deep")
                continue
            if isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                anchor, size = begun.pop()
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in anchored:
                    raise UnreadableFile(
                        f"the alias *{cut(event.anchor)} is used, but never defined"
                    )
                anchor, size = None, anchored[event.anchor]
            elif isinstance(event, yaml.ScalarEvent):
                anchor, size = event.anchor, 1
                _check_scalar(event)
            else:
                continue
            if anchor:
                anchored[anchor] = size
            begun[-1] = (begun[-1][0], begun[-1][1] + size)
            if begun[-1][1] > bounds.MOST_YAML_VALUES:
                raise UnreadableFile(f"more than {bounds.MOST_YAML_VALUES:,} values in it")
    except yaml.YAMLError as error:
        raise UnreadableFile(f"not a YAML file ({cut(error, 160)})") from None


def _check_scalar(event: Any) -> None:
    # The time to read a number goes by the square of its length.
    plain = event.implicit[0] and event.value[:1] in _NUMBER_BEGINS
    if len(event.value) > _LONGEST_NUMBER and (plain or event.tag):
        raise UnreadableFile(f"a number of {len(event.value)} characters: {cut(event.value)}")


def parse_json(text: str) -> Any:
    """The plain values in a JSON text.

    Raises:
        UnreadableFile: If it is not JSON, or nested too deep.
    """
    try:
        values = json.loads(text)
    except RecursionError:
        raise UnreadableFile("nested too deep") from None
    except ValueError as error:
        raise UnreadableFile(f"not JSON ({cut(error)})") from None
    _check_depth(values, bounds.DEEPEST)
    return values


def _check_depth(values: Any, left: int) -> None:
    if left == 0:
        raise UnreadableFile(f"nested more than {bounds.DEEPEST} levels deep")
    inner = values.values() if isinstance(values, dict) else values
    for value in inner if isinstance(values, (dict, list)) else ():
        if isinstance(value, (dict, list)):
            _check_depth(value, left - 1)
