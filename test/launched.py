"""A launch file that runs under `ros2 launch`, with or without a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

TIMEOUT = 30.0


class Launch:
    """A running launch file, in its own process group."""

    def __init__(
        self, command: list[str], environment: dict[str, str], folder: Path, terminal: bool
    ) -> None:
        self._log = folder / "launch.log"
        self._far: int | None = None
        if terminal:
            self._on_terminal(command, environment, folder)
            return
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _on_terminal(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        """Start on a pseudo-terminal for keys and output, as from a shell."""
        self._far, near = pty.openpty()
        os.set_blocking(self._far, False)
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            env=environment,
            cwd=folder,
            stdin=near,
            stdout=near,
            stderr=near,
        )
        os.close(near)

    def press(self, keys: str) -> None:
        """Send keys to the terminal."""
        assert self._far is not None
        os.write(self._far, keys.encode())

    @property
    def output(self) -> str:
        if self._far is not None:
            with suppress(OSError), self._log.open("ab") as log:  # empty, or closed
                log.write(os.read(self._far, 1 << 16))
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        return self._process.wait(TIMEOUT)

    def interrupt(self) -> None:
        """Send Ctrl-C, as a terminal does."""
        os.killpg(self._process.pid, signal.SIGINT)

    def kill(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._process.wait(TIMEOUT)
