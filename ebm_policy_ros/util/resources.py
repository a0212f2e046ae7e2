"""Paths: those that people write, and the package's launch and config files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE = "ebm_policy_ros"


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path in which `~` and environment variables are replaced, as a shell does it.

    A shell leaves them alone in `folder:=~/demos`, `--out=~/demos` and files of parameters.
    """
    return Path(os.path.expanduser(os.path.expandvars(path)))


def share_directory() -> Path:
    """The folder with `config/` and `launch/`.

    A checkout and `pip install -e` have them beside the package; `pip install` and `colcon build`
    under a prefix.
    """
    package = Path(__file__).resolve().parents[1]
    prefixes = [parent / "share" / _PACKAGE for parent in package.parents]
    prefixes.append(Path(sys.prefix) / "share" / _PACKAGE)
    for folder in (package.parent, *prefixes):
        if (folder / "config" / "interfaces").is_dir():
            return folder
    raise FileNotFoundError(f"no share/{_PACKAGE} above {package}; install the package again")


def dds_profile() -> dict[str, str]:
    """The environment in which Fast DDS has enough shared memory for camera images.

    Fast DDS 2 (Humble, Jazzy) and 3 (Kilted and newer) read different variables.
    """
    profile = str(share_directory() / "config" / "fastdds.xml")
    names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    return dict.fromkeys(names, profile)


def interface_path(name: str) -> Path:
    """An interface file by path, or by the bare name of one that the package ships."""
    return _find(name, "interfaces", ".yaml")


def policy_path(name: str) -> Path:
    """A policy file by path, or by the bare name of one that the package ships."""
    return _find(name, "policies", ".safetensors")


def _find(name: str, folder: str, suffix: str) -> Path:
    shipped = share_directory() / "config" / folder / f"{name}{suffix}"
    is_bare = name != "" and Path(name).name == name and not name.endswith(suffix)
    return shipped if is_bare else expanded(name)
