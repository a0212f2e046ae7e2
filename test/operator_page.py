"""Operator's page without a browser: a websocket client, and the nodes in a thread beside it."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import WSMsgType

TIMEOUT = 30.0


class Spinning:
    """Executor that runs in a thread of its own."""

    def __init__(self, executor: Any) -> None:
        self._executor, self._ends = executor, threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self) -> None:
        while not self._ends.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def end(self) -> None:
        self._ends.set()
        self._thread.join()


class Page:
    """One open page: it answers every state, unless it sleeps."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self.url = http, url
        self.states: list[dict[str, Any]] = []
        self.log: list[str] = []
        self.pictures: dict[str, bytes] = {}
        self.name, self.code = "", 0
        self.is_asleep = False
        self._answers: dict[int, dict[str, Any]] = {}
        self._number = 0

    async def open(self, token: str | None = None, **headers: str) -> Page:
        """Connect as the page does; without a token, with the one that the page was given."""
        if token is None:
            token = await issued_token(self._http, self.url)
        self.socket = await self._http.ws_connect(
            f"{self.url}/socket", headers={"Origin": self.url, **headers}, max_msg_size=1 << 24
        )
        self._task = asyncio.get_running_loop().create_task(self._receive())
        await self.socket.send_json({"type": "hello", "token": token})
        return self

    async def _receive(self) -> None:
        async for message in self.socket:
            if message.type is WSMsgType.BINARY:
                name, _, picture = message.data.partition(b"\0")
                self.pictures[name.decode()] = picture
                continue
            data = message.json()
            if data["type"] == "state":
                self.states.append(data)
                if not self.is_asleep:
                    await self.socket.send_json({"type": "beat", "n": data["n"]})
            elif data["type"] == "log":
                self.log += [entry["text"] for entry in data["entries"]]
            elif data["type"] == "answer":
                self._answers[data["id"]] = data
            else:
                self.name = data["page"]
        self.code = self.socket.close_code or 0

    async def until(self, condition: Callable[[], bool], seconds: float = TIMEOUT) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"nothing happened in time; log: {self.log}"
            await asyncio.sleep(0.01)

    async def sees(
        self, condition: Callable[[dict[str, Any]], bool], seconds: float = TIMEOUT
    ) -> dict[str, Any]:
        """Wait for a state, and return it."""
        await self.until(lambda: bool(self.states) and condition(self.states[-1]), seconds)
        return self.states[-1]

    async def reads(self, text: str) -> None:
        """Wait for an entry of the log that matches."""
        await self.until(lambda: any(re.search(text, entry) for entry in self.log))

    async def send(self, name: str, value: Any = None, seen: int | None = None) -> int:
        """Send a command, and return its number."""
        if seen is None:
            seen = (await self.sees(lambda state: True))["n"]
        self._number += 1
        message = {"type": "command", "id": self._number, "name": name, "value": value, "n": seen}
        await self.socket.send_json(message)
        return self._number

    async def answer(self, number: int) -> tuple[bool, str]:
        await self.until(lambda: number in self._answers)
        return self._answers[number]["done"], self._answers[number]["text"]

    async def command(
        self, name: str, value: Any = None, seen: int | None = None
    ) -> tuple[bool, str]:
        return await self.answer(await self.send(name, value, seen))

    async def close(self) -> None:
        await self.socket.close()
        await self._task


async def issued_token(http: aiohttp.ClientSession, url: str) -> str:
    """Token that the server writes into its page."""
    async with http.get(url) as response:
        (token,) = re.findall(r'name="token" content="([^"]*)"', await response.text())
    return str(token)
