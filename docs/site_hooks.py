"""Hooks of `make docs`: the site also holds the files outside docs/ that pages link to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\]\(\.\./([\w./-]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the files that the pages link to, below files/."""
    linked: set[str] = set()
    for page in Path(config.docs_dir).glob("*.md"):
        linked |= set(_LINK.findall(page.read_text(encoding="utf-8")))
    for name in sorted(linked):
        if (ROOT / name).is_file():
            content = (ROOT / name).read_bytes()
            files.append(File.generated(config, f"files/{name}.txt", content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead the links to those files."""
    return _LINK.sub(
        lambda m: f"](files/{m[1]}.txt" if (ROOT / m[1]).is_file() else m[0], markdown
    )
