"""Options of a command: the fields of a dataclass and, with dots, those of nested dataclasses.

jsonargparse tells of Python types and of its own steps when an option is wrong. Here its text
becomes one line about the option, the value and what is allowed.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ebm_policy_ros.util.quoting import any_of, cut, quote, suggestion
from ebm_policy_ros.util.resources import expanded

Settings = TypeVar("Settings")

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    NoneType: "null",
}
_SETTINGS = "settings as {{NAME: {}}}".format
_LISTS: tuple[Any, ...] = (list, tuple)


def build(kind: type[Settings], values: Mapping[str, Any], prefix: str = "") -> Settings:
    """Create a dataclass, with its nested dataclasses, from the values of its options.

    Args:
        kind: Dataclass.
        values: Values by field. jsonargparse has checked those of a configuration file only if
            they are not null, not for a nested dataclass and not for a switch.
        prefix: Name of the option that holds the dataclass, with a dot.

    Raises:
        ValueError: If a value is wrong. The message begins with the full name of its option.
    """
    fields: dict[str, Any] = {}
    for name, wanted in _types(kind).items():
        value = fields[name] = values[name]
        nested = dataclasses.is_dataclass(wanted)
        null = value is None and NoneType not in get_args(wanted)
        if nested and isinstance(value, Mapping):
            fields[name] = build(wanted, value, f"{prefix}{name}.")
        elif nested or null or (wanted is bool and not isinstance(value, bool)):
            raise ValueError(f"{prefix}{name}: got {_shown(value)}, expected {in_words(wanted)}")
        elif isinstance(value, Path):
            fields[name] = expanded(value)
        elif isinstance(value, (list, tuple)) and Path in get_args(wanted):
            fields[name] = tuple(expanded(Path(path)) for path in value)
    try:
        return kind(**fields)
    except ValueError as error:
        # Some nested dataclasses name their own group in the message.
        group = "".join(prefix.split(".")[-2:-1])
        raise type(error)(f"{prefix}{str(error).removeprefix(f'{group}.')}") from None


def in_words(wanted: Any) -> str:
    """Describe the values of a type, such as "a whole number or null"."""
    parts = get_args(wanted)
    if get_origin(wanted) is Literal:
        return any_of(parts)
    if get_origin(wanted) in (Union, UnionType):
        lists_last = sorted(parts, key=lambda part: get_origin(part) in _LISTS)
        return any_of([in_words(part) for part in lists_last])
    if get_origin(wanted) in _LISTS:
        return f"a list as [A, B], each {in_words(parts[0])}"
    return _WORDS.get(wanted) or _SETTINGS(in_words(parts[1]) if parts else "VALUE")


def _takes_texts(wanted: Any) -> bool:
    """True if a list of texts or paths is a value of a type."""
    kinds = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    return any(get_origin(k) in _LISTS and get_args(k)[0] in (str, Path) for k in kinds)


def _shown(value: object) -> str:
    return "null" if value in (None, "None") else quote(value)


def _types(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _all_types(kind: type[Any]) -> dict[str, Any]:
    """Types of all options by full name."""
    found = {}
    for name, wanted in _types(kind).items():
        found[name] = wanted
        if dataclasses.is_dataclass(wanted):
            inner = _all_types(wanted)  # type: ignore[arg-type]
            found |= {f"{name}.{key}": value for key, value in inner.items()}
    return found


class Messages:
    """Messages about wrong options of a command."""

    def __init__(self, kind: type[Any], positional: bool) -> None:
        """Prepare the messages.

        Args:
            kind: Dataclass of the options.
            positional: True if fields without a default are positional arguments, not options.
        """
        self._types = {"config": Path, **_all_types(kind)}
        parameters = inspect.signature(kind).parameters.values() if positional else ()
        self._arguments = {each.name for each in parameters if each.default is each.empty}

    def option(self, name: str) -> str:
        """Name of a field as on the command line."""
        return name if name in self._arguments else f"--{name}"

    def gathered(self, words: Sequence[str]) -> list[str]:
        """Command line in which a list of texts given as several words is one.

        As a shell expands them, `--policies a b` means the same as `--policies '[a, b]'`.
        """
        found: list[str] = []
        rest = list(words)
        while rest:
            word, taken = rest.pop(0), list[str]()
            if word.startswith("--") and _takes_texts(self._types.get(word[2:])):
                while rest and not rest[0].startswith("--"):
                    taken.append(rest.pop(0))
            found += [f"{word}={json.dumps(taken)}"] if len(taken) > 1 else [word, *taken]
        return found

    def named(self, text: str) -> str:
        """Name the option as on the command line in a message such as "steps: got 0, ..."."""
        found = re.match(r"([\w.]+): (got|needs|has no|no setting) ", text)
        if found is None or not {found[1], found[1].rpartition(".")[0]} & self._types.keys():
            return text
        return self.option(found[1]) + text[found.end(1) :]

    def explain(self, text: str) -> str:
        """Say which option is wrong, given the text of jsonargparse or argparse.

        A text of unknown form is returned as it is.
        """
        for form, explanation in _FORMS:
            if found := re.fullmatch(form, text, re.DOTALL):
                return explanation(self, *found.groups())
        return text

    def unknown(self, *names: str) -> str:
        """Refuse an option that does not exist, given in one or several parts."""
        name = ".".join(names)
        last = name.partition(".")[2]
        if last in self._types:
            return f"unknown option --{cut(name)}; did you mean --{last}?"
        # Any name may follow that of a dictionary.
        free = [f"{key}.{last}" for key, kind in self._types.items() if get_origin(kind) is dict]
        hint = suggestion(name, [*self._types, *(free if last else ())], "--")
        return f"unknown option --{cut(name)}{hint or '; --help lists all'}"

    def wrong(self, name: str, value: str | None = None) -> str:
        """Refuse a value; None if there is none."""
        given = "no value given" if value is None else f"got {_shown(value.strip())}"
        wanted = self._types.get(name)
        choices = get_args(wanted) if get_origin(wanted) is Literal else ()
        expected = f"expected {in_words(wanted)}{suggestion(value, choices)}"
        return f"{self.option(name)}: {given}, {expected}"


_FORMS: tuple[tuple[str, Callable[..., str]], ...] = (
    (
        "the following arguments are required: (.*)",
        lambda own, names: f"not given: {', '.join(map(own.option, names.split(', ')))}",
    ),
    (r"unrecognized arguments: --([^\s=]+).*", Messages.unknown),
    (
        r"unrecognized arguments: (\S*).*",
        lambda own, word: f"unexpected argument {quote(word)}",
    ),
    ("Option '(.*)' is not accepted", Messages.unknown),
    ("Group '(.*)' does not accept option '(.*)'", Messages.unknown),
    (r"argument (?:--)?(\S+): expected one argument", Messages.wrong),
    (
        r"argument (\S+): ignored explicit argument (.*)",
        lambda own, name, value: f"{name}: got {cut(value)}, expected no value",
    ),
    (
        r".*Unexpected config: (.*)",
        lambda own, content: f"--config: got {quote(content)}, expected {_SETTINGS('VALUE')}",
    ),
    (r".*Parser key \"(.*?)\".* value: NestedArg\(key='(.*)', val.*", Messages.unknown),
    (r".*Parser key \"(?!config\")(.*?)\":.*(?:Got|Given) value: (.*)", Messages.wrong),
    (
        r".*Parser key \"(.*?)\":\s+Unable to load config [\"'](.*?)[\"'](?:\n.*)?",
        Messages.wrong,
    ),
    (
        ".*Subclasses are disabled for (.*), thus (.*) is not accepted as.*",
        lambda own, kind, path: f"got class_path {cut(path)}, expected settings of {kind}",
    ),
    (
        r"(?:Parser key \"config\":|Problems parsing config:|(?=Key must be))\s*(.*)",
        lambda own, problem: f"--config: {problem[:1].lower()}{problem[1:]}",
    ),
)
"""Forms of the texts of jsonargparse and argparse, and what to say instead."""
