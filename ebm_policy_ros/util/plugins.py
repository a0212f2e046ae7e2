"""Registries of encoders, heads, losses and other parts, also for parts from other packages.

A class or function is registered with a decorator under a bare name, or found by its full name,
`my_package.my_module.Name`. A configuration may name any module. An untrusted file, such as a
policy file, may only name modules of packages that are declared as plug-ins: importing a module
runs its code, and functions of other modules are not made to be called from a file.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from ebm_policy_ros.util.quoting import quote, suggestion

Part = TypeVar("Part")
Given = TypeVar("Given")

VARIABLE = "EBM_POLICY_PLUGINS"
"""Environment variable with the packages that policy files may name, separated by commas."""
GROUP = "ebm_policy_ros.plugins"
"""Entry point group with which an installed package declares itself a plug-in."""

# Maximum characters of a full name: importlib recurses once for each part.
_LONGEST = 200
_FULL_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_reads_file: ContextVar[bool] = ContextVar("reads_file", default=False)


class PluginNeeded(ValueError):
    """Missing or undeclared package that a file needs for one of its parts."""


class Registry(Generic[Part]):
    """Parts of one kind, by name."""

    def __init__(self, kind: str) -> None:
        """Create an empty registry.

        Args:
            kind: Name of the kind in messages, such as "image encoder".
        """
        self.kind = kind
        self._parts: dict[str, Part] = {}
        self._imported: dict[str, Part] = {}

    def register(self, name: str) -> Callable[[Given], Given]:
        """Return a decorator that registers a class or function under a bare name.

        Raises:
            ValueError: If the decorator is used and the name belongs to another part.
        """

        def add(part: Given) -> Given:
            known = self._parts.get(name)
            if known is not None and _identity(known) != _identity(part):
                raise ValueError(f"{self.kind} {name}: there is one of this name already")
            self._parts[name] = cast(Part, part)
            return part

        return add

    def __iter__(self) -> Iterator[str]:
        """Iterate over the bare names, in order of registration."""
        return iter(self._parts)

    def find(self, name: object) -> Part:
        """Return the part with a bare or full name.

        Raises:
            ValueError: If there is none. The message names the closest name, or the package that
                is missing or not declared.
        """
        if isinstance(name, str) and name in self._parts:
            return self._parts[name]
        if isinstance(name, str) and len(name) <= _LONGEST and _FULL_NAME.fullmatch(name):
            # A name that was accepted once, say from the configuration, is no news in a file.
            if name not in self._imported:
                self._imported[name] = _imported(self.kind, name)
            return self._imported[name]
        raise ValueError(
            f"got {quote(name)}, expected one of {', '.join(self._parts)}, or the full name of "
            f"your own {self.kind}, package.module.Name"
            f"{suggestion(name, self._parts)}"
        )


@contextmanager
def names_from_a_file() -> Iterator[None]:
    """Look up names from an untrusted file in this context: import no undeclared package."""
    token = _reads_file.set(True)
    try:
        yield
    finally:
        _reads_file.reset(token)


def _identity(part: Any) -> tuple[Any, Any]:
    module = getattr(part, "__module__", None)
    # The file: one that runs as a script, __main__, may also be imported under its own name.
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    return os.path.realpath(file) if file else module, getattr(part, "__qualname__", None)


def _declared() -> set[str]:
    """Top-level packages that may be imported if a file names them."""
    named = {name.strip() for name in os.environ.get(VARIABLE, "").split(",")}
    named |= {point.module.partition(".")[0] for point in entry_points(group=GROUP)}
    return named - {""}


def _imported(kind: str, name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    package = module.partition(".")[0]
    if _reads_file.get() and package not in _declared():
        raise PluginNeeded(
            f"needs the {kind} {quote(name)} of the package {quote(package)}; install it, and "
            f"allow it with {VARIABLE}={package}"
        )
    try:
        found = import_module(module)
    except ImportError as error:
        raise PluginNeeded(
            f"needs the {kind} {quote(name)} of the package {quote(package)}, which cannot be "
            f"imported ({error}); install it, or put its folder into PYTHONPATH"
        ) from None
    if not hasattr(found, attribute):
        raise ValueError(f"{module} has no {attribute}{suggestion(attribute, vars(found))}")
    return getattr(found, attribute)
