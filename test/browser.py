"""Headless browser, driven over the pipe of the Chrome DevTools Protocol."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMEOUT = 60.0
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip
# A browser expects the pipe as descriptors 3 (to read) and 4 (to write).
_START = """
import os, sys
read, write = int(sys.argv[1]), int(sys.argv[2])
os.dup2(read, 3), os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page, with its errors and network requests."""

    def __init__(self, profile: Path, width: int = 1280, height: int = 900) -> None:
        """Start the browser; `profile` is a folder for its files."""
        assert CHROMIUM is not None
        self.problems: list[str] = []
        """Errors and console output."""
        self.requests: list[str] = []
        """Requested URLs."""
        self._numbers = itertools.count(1)
        self._rest = b""
        # Descriptors other than 3 and 4, so that neither end is closed when the other is moved.
        ours, theirs = (_high_pipe() for _ in range(2))
        self._out, self._in = ours[1], theirs[0]
        flags = ["--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"]
        flags += [f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []  # not available for root
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, str(ours[0]), str(theirs[1]), CHROMIUM, *flags],
            pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        answer: dict[str, Any] = self._wait(lambda heard: heard.get("id") == number)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, place: Path | str) -> None:
        """Load a file or an address as a page."""
        url = place if isinstance(place, str) else place.resolve().as_uri()
        self.send("Page.navigate", url=url)
        self._wait(lambda heard: heard.get("method") == "Page.loadEventFired")

    def hide(self) -> None:
        """Open another tab before the page, which draws nothing until `show`."""
        session, self._session = self._session, None
        self.send("Target.createTarget", url="about:blank")
        self._session = session

    def show(self) -> None:
        """Bring the page to the front."""
        self.send("Page.bringToFront")

    def evaluate(self, expression: str) -> Any:
        """Evaluate a JavaScript expression in the page."""
        answer = self.send(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            userGesture=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """Texts of the elements selected by a CSS selector, in order."""
        elements = f"[...document.querySelectorAll({json.dumps(selector)})]"
        found = self.evaluate(f"{elements}.map(e => e.textContent.replace(/\\s+/g, ' ').trim())")
        return list(found)

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(TIMEOUT)
        os.close(self._out)
        os.close(self._in)

    def _wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT
        while True:
            message = self._read(deadline)
            self._notice(message)
            if wanted(message):
                return message

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            # A page that draws many pictures sends events without end.
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self._in], [], [], left)[0]
            assert ready, "the browser doesn't answer"
            data = os.read(self._in, 1 << 16)
            assert data, "the browser ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def _notice(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method"), message.get("params", {})
        if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.problems.append(json.dumps(parameters))
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])


def _high_pipe() -> tuple[int, int]:
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
