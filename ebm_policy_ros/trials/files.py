"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from ebm_policy_ros.bags.episode_writer import sync_folder


def write_whole(path: Path, content: bytes) -> None:
    """Write a file; neither a crash nor a power failure leaves a half of it."""
    draft = draft_of(path)
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def draft_of(path: Path) -> Path:
    """File into which `write_whole` writes first."""
    return path.with_name(f".{path.name}.part")
