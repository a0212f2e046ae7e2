"""Programs of the package as processes, forked from one that has imported torch and rclpy.

Importing them takes seconds of a core in each new interpreter.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

TIMEOUT = 120.0
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch", "accelerate", "cv2", "rclpy.node"])


class Program:
    """Running module of the package, like `python -m ebm_policy_ros.<module>`, or script."""

    def __init__(
        self,
        module: str | Path,
        *arguments: str,
        folder: Path | str = ".",
        out: Path | str = os.devnull,
        errors: Path | str = os.devnull,
        **environment: str,
    ) -> None:
        """Start the program.

        Args:
            module: Name within the package; or the path of a script.
            arguments: Command line.
            folder: Working directory.
            out: File for its standard output.
            errors: File for its standard error.
            environment: Variables that it sees besides those of this process.
        """
        self._process = _CONTEXT.Process(
            target=_run,
            args=(
                module, arguments, {**os.environ, **environment}, str(folder), str(out),
                str(errors),
            ),
        )  # fmt: skip
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, or the negative number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = TIMEOUT) -> int:
        self._process.join(timeout)
        assert self.returncode is not None, "it doesn't end"
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)
        self.wait()


def run(
    module: str | Path, *arguments: str, folder: Path | str = ".", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as `subprocess.run` does."""
    with tempfile.TemporaryDirectory() as place:
        out, errors = (Path(place) / name for name in ("out", "errors"))
        program = Program(module, *arguments, folder=folder, out=out, errors=errors, **environment)
        try:
            code = program.wait()
        finally:
            program.kill()
        return subprocess.CompletedProcess(
            [str(module), *arguments], code, out.read_text(), errors.read_text()
        )


def _run(
    module: str | Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    out: str,
    errors: str,
) -> None:
    """Become the program; runs in the forked process."""
    for number, name in ((1, out), (2, errors)):
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.chdir(folder)
    if isinstance(module, Path):
        sys.path.insert(0, str(module.parent))
        sys.argv = [str(module), *arguments]
        runpy.run_path(str(module), run_name="__main__")
    else:
        name = f"ebm_policy_ros.{module}"
        sys.argv = [name, *arguments]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
