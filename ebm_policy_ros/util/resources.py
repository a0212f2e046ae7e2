"""Paths that users write, and paths of the package's launch and config files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE = "ebm_policy_ros"


def expanded(path: str | os.PathLike[str]) -> Path:
    """Path in which `~` and environment variables are replaced, as a shell does it.

    A shell does not replace them in `folder:=~/demos`, `--out=~/demos` and parameter files.
    """
    return Path(os.path.expanduser(os.path.expandvars(path)))


def share_directory() -> Path:
    """Folder with `config/` and `launch/`.

    In a checkout and after `pip install -e` they are beside the package; after `pip install` and
    `colcon build` they are under a prefix.
    """
    package = Path(__file__).resolve().parents[1]
    prefixes = [parent / "share" / _PACKAGE for parent in package.parents]
    prefixes.append(Path(sys.prefix) / "share" / _PACKAGE)
    for folder in (package.parent, *prefixes):
        if (folder / "config" / "interfaces").is_dir():
            return folder
    raise FileNotFoundError(f"no share/{_PACKAGE} above {package}; install the package again")


def interface_path(name: str) -> Path:
    """Path of an interface file, given as a path or as the bare name of a shipped file."""
    return _find(name, "interfaces", ".yaml")


def policy_path(name: str) -> Path:
    """Path of a policy file, given as a path or as the bare name of a shipped file."""
    return _find(name, "policies", ".safetensors")


def _find(name: str, folder: str, suffix: str) -> Path:
    shipped = share_directory() / "config" / folder / f"{name}{suffix}"
    is_bare = name != "" and Path(name).name == name and not name.endswith(suffix)
    return shipped if is_bare else expanded(name)
