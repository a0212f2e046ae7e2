"""Hooks of `make docs`: files outside docs/ that pages link to, and formulas as MathML."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# A page is in a folder of docs/, so such a link leads out of docs/.
_LINK = re.compile(r"\]\(\.\./\.\./([\w./-]+)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the files that the pages link to, below files/."""
    linked: set[str] = set()
    for page in Path(config.docs_dir).rglob("*.md"):
        linked |= set(_LINK.findall(page.read_text(encoding="utf-8")))
    for name in sorted(linked):
        if (ROOT / name).is_file():
            content = (ROOT / name).read_bytes()
            files.append(File.generated(config, f"files/{name}.txt", content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead the links to those files."""
    return _LINK.sub(
        lambda m: f"](../files/{m[1]}.txt" if (ROOT / m[1]).is_file() else m[0], markdown
    )


def on_page_content(content: str, **_: Any) -> str:
    """Write formulas as MathML: the site needs no script for them, and no other server."""
    return _FORMULA.sub(_mathml, content)


def _mathml(match: re.Match[str]) -> str:
    tag, bracket, formula = match.groups()
    display = "block" if bracket == "[" else "inline"
    return f"<{tag}>{convert(html.unescape(formula), display=display)}</{tag}>"
