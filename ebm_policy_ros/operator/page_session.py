"""Session of one open page: messages to it, and signs of life from it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from aiohttp import web

# Messages that may wait for a page beside the newest state and pictures.
_MOST_WAITING = 256


class PageSession:
    """One connected page."""

    def __init__(self, name: str, request: web.Request, socket: web.WebSocketResponse) -> None:
        """Begin a session.

        Args:
            name: Name for users, as "page 2".
            request: Request that opened the connection.
            socket: Its connection.
        """
        self.name, self.address = name, request.remote or "unknown"
        self.pictures: frozenset[str] = frozenset()
        """Pictures that the page shows."""
        self.is_silent = False
        """True if the page has not answered for too long."""
        self.entries = 0
        """Number of the last journal entry that was sent."""
        self._socket, self._transport = socket, request.transport
        self._heard = time.monotonic()
        self._texts: list[str] = []
        self._newest: dict[str, str | bytes] = {}
        self._something = asyncio.Event()

    def __str__(self) -> str:
        """Name and address."""
        return f"{self.name} ({self.address})"

    @property
    def silence(self) -> float:
        """Time since the page last answered a state that was new then, s."""
        return time.monotonic() - self._heard

    def heard(self) -> None:
        """Note a sign of life."""
        self._heard = time.monotonic()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; a page that does not take them loses its connection."""
        if len(self._texts) >= _MOST_WAITING:
            self.drop()
            return
        self._texts.append(json.dumps(message))
        self._something.set()

    def offer(self, kind: str, data: str | bytes) -> None:
        """Send something of which only the newest counts."""
        self._newest[kind] = data
        self._something.set()

    async def run(self) -> None:
        """Send what there is, as fast as the page takes it, until the connection ends."""
        while not self._socket.closed:
            await self._something.wait()
            self._something.clear()
            texts, self._texts = self._texts, []
            newest, self._newest = self._newest, {}
            for data in (*texts, *newest.values()):
                if isinstance(data, str):
                    await self._socket.send_str(data)
                else:
                    await self._socket.send_bytes(data)

    def drop(self) -> None:
        """End the connection without waiting for the page."""
        self._texts.clear()
        if self._transport is not None:
            self._transport.abort()
