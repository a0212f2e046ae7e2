"""Modules of the package and what they import, read from their files."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from installing import ROOT

PACKAGE = "ebm_policy_ros"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != PACKAGE:
        parts = (PACKAGE, *parts)
    return ".".join(parts).removesuffix(".__init__")


def sources() -> dict[str, Path]:
    """Modules of the package by name."""
    found = {}
    for top in (PACKAGE, "training", "sim"):
        for path in (ROOT / top).rglob("*.py"):
            # Skip the links to training/ and sim/ in the package.
            if path.relative_to(ROOT).parts[:2] not in ((PACKAGE, "training"), (PACKAGE, "sim")):
                found[module_name(path)] = path
    return found


MODULES = sources()
PACKAGES = sorted(name for name, path in MODULES.items() if path.name == "__init__.py")


@cache
def imported(path: Path) -> frozenset[str]:
    """Modules imported by a file, including those only for annotations."""
    found = set()
    for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(part, ast.Import):
            found |= {alias.name for alias in part.names}
        elif isinstance(part, ast.ImportFrom) and part.module:
            names = [f"{part.module}.{alias.name}" for alias in part.names]
            found |= {name if name in MODULES else part.module for name in names}
    return frozenset(found)
