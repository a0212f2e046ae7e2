"""Command lines built from dataclasses: a field is an option, and its docstring is the help."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import (
    ArgumentError,
    ArgumentParser,
    get_loader,
    set_loader,
    set_parsing_settings,
)
from yaml import YAMLError

from ebm_policy_ros.util.cli_options import Messages, build
from ebm_policy_ros.util.pipes import ends_with_its_reader
from ebm_policy_ros.util.quoting import LONGEST_REFUSAL, cut
from ebm_policy_ros.util.yaml_file import UnreadableFile, check_yaml

_parse: Callable[[str], Any] = get_loader("yaml")


def _load_yaml(text: str) -> Any:
    """Parse YAML as jsonargparse does (15e-2 is a number), after a check of size and depth."""
    check_yaml(text)
    return _parse(text)


def run_command(
    name: str,
    kind: type[Any],
    command: Callable[[Any], None],
    argv: list[str] | None,
    expected: tuple[type[Exception], ...] = (),
    switches: dict[str, str] | None = None,
    positional: bool = False,
    recipe: Callable[[Any], list[str]] | None = None,
) -> None:
    """Parse a command line and run the command.

    A wrong option or an `expected` error of the command is printed to stderr in one line that
    begins with the command's name. The exit code is then 2.

    Args:
        name: Name of the command.
        kind: Dataclass built from the options. A `--config` file may hold them too.
        command: Function to run with an instance of `kind`.
        argv: Options; None for those of the process.
        expected: Exception types that report wrong input, besides ValueError and OSError.
        switches: Fields that are true when the option is given, with their help text.
        positional: True if fields without a default are positional arguments.
        recipe: Function that gives further options if no `--config` is given, from an instance of
            `kind` with those of the command line, which take precedence.
    """
    problems: tuple[type[Exception], ...] = (OSError, ValueError, *expected)
    # On SIGTERM, exit normally, so that the processes which the command started end too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    set_loader("yaml", _load_yaml, (UnreadableFile, YAMLError))
    parser = ArgumentParser(prog=name, description=kind.__doc__, exit_on_error=False)
    parser.add_argument("--config", action="config", help="File of these options, YAML.")
    switches = switches or {}
    skip: set[str | int] = set(switches)
    parser.add_class_arguments(kind, as_group=False, as_positional=positional, skip=skip)
    for switch, text in switches.items():
        # From its type alone, jsonargparse would require `--switch true`.
        parser.add_argument(f"--{switch}", action="store_true", help=text)
    messages = Messages(kind, positional)
    given = messages.gathered(sys.argv[1:] if argv is None else argv)
    try:
        with ends_with_its_reader():
            parsed = parser.parse_args(given)
        if recipe and not parsed.config:
            parsed = parser.parse_args([*recipe(build(kind, parsed.as_dict())), *given])
        command(build(kind, parsed.as_dict()))
    except ArgumentError as error:
        _refuse(name, messages.explain(str(error)))
    except problems as error:
        _refuse(name, messages.named(str(error)))
    except KeyboardInterrupt:
        print(f"{name}: interrupted; start the same command again to continue", file=sys.stderr)
        sys.exit(130)


def _refuse(name: str, problem: str) -> NoReturn:
    print(f"{name}: {cut(problem, LONGEST_REFUSAL)}", file=sys.stderr)
    sys.exit(2)


def flags_of(options: Mapping[str, Any]) -> list[str]:
    """Return a command line with options by name; values that are no text become JSON."""
    return [
        f"--{name}={value if isinstance(value, (str, Path)) else json.dumps(value)}"
        for name, value in options.items()
    ]
