"""Docstrings of the fields of dataclasses."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import sys


def field_texts(kind: type) -> dict[str, str]:
    """Docstring of each field of a dataclass, in one line; none where there is no source file."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            texts |= _texts(base.__module__).get(base.__name__, {})
    return texts


@functools.cache
def _texts(module: str) -> dict[str, dict[str, str]]:
    """Docstrings of a module's fields by class and field."""
    try:
        parts = ast.parse(inspect.getsource(sys.modules[module])).body
    except OSError:
        return {}
    return {part.name: _documented(part) for part in parts if isinstance(part, ast.ClassDef)}


def _documented(part: ast.ClassDef) -> dict[str, str]:
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in zip(part.body, part.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
