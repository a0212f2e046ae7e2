"""Reader of YAML and JSON files that may be untrusted. All such files are read here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import cut

# The C parser, if PyYAML was built with it, is ten times as fast.
_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER_BEGINS = "-+.0123456789"
_LONGEST_NUMBER = 1_000


class UnreadableFile(ValueError):
    """File that is malformed or exceeds a bound; the message is one short line."""


class _Loader(_SAFE):
    """Loader that reads 15e-2 and 1e3 as numbers, as YAML 1.2 does.

    PyYAML requires a decimal point and a sign of the exponent.
    """


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"),
    list(_NUMBER_BEGINS),
)


def read_yaml(path: Path) -> Any:
    """Read the plain values of a YAML file.

    Raises:
        OSError: If the file cannot be read.
        UnreadableFile: If the file is too large or not YAML. The message does not name the file.
    """
    return parse_yaml(_read_text(path, bounds.LARGEST_YAML, "YAML"))


def read_json(path: Path, largest: int = bounds.LARGEST_YAML) -> Any:
    """Read the plain values of a JSON file of at most `largest` bytes.

    Raises:
        OSError: If the file cannot be read.
        UnreadableFile: If the file is too large, not JSON or nested too deep. The message does not
            name the file.
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
    """Parse the plain values of a YAML text.

    Raises:
        UnreadableFile: If the text is too large or not YAML.
    """
    check_yaml(text)
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # constructors of tagged values raise many types
        raise UnreadableFile(f"not a YAML file ({cut(error, 160)})") from None


def check_yaml(text: str) -> None:
    """Refuse a YAML text that is too large or too deep, also after its aliases are expanded.

    Raises:
        UnreadableFile: If the text exceeds a bound or is not YAML. The message gives the reason.
    """
    if len(text) > bounds.LARGEST_YAML:
        raise UnreadableFile(f"larger than {bounds.LARGEST_YAML:,} bytes, expected a small file")
    # For each open collection: its anchor, and the number of values in it so far.
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
    # The time to parse a number grows with the square of its length.
    plain = event.implicit[0] and event.value[:1] in _NUMBER_BEGINS
    if len(event.value) > _LONGEST_NUMBER and (plain or event.tag):
        raise UnreadableFile(f"a number of {len(event.value)} characters: {cut(event.value)}")


def parse_json(text: str) -> Any:
    """Parse the plain values of a JSON text.

    Raises:
        UnreadableFile: If the text is not JSON or is nested too deep.
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
