"""Installation of the package into a prefix, as by colcon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def install(prefix: Path) -> dict[str, str]:
    """Install below `prefix` and return the environment that finds this installation."""
    library = prefix / "lib" / "site-packages"
    build = prefix / "build"
    build.mkdir(parents=True)
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(build)]
    command += ["build", "--build-base", str(build)]
    command += ["install", "--single-version-externally-managed", "--record", str(build / "log")]
    command += ["--prefix", str(prefix), "--install-lib", str(library), "--install-data"]
    command += [str(prefix), "--install-scripts", str(prefix / "lib" / "ebm_policy_ros")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    environment = dict(os.environ)
    for name, path in (("PYTHONPATH", library), ("AMENT_PREFIX_PATH", prefix)):
        before = [environment[name]] if environment.get(name) else []
        environment[name] = os.pathsep.join([str(path), *before])
    # As in an activated environment, where the executables find their Python.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return environment
