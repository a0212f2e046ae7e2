"""Server of the operator's page: HTTP for its files, and one websocket for each open page."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from ebm_policy_ros.operator.access import Access
from ebm_policy_ros.operator.commands import (
    LARGEST_MESSAGE,
    BadMessage,
    Command,
    read_command,
    read_message,
    read_names,
    read_number,
)
from ebm_policy_ros.operator.hub import Hub
from ebm_policy_ros.operator.page_session import PageSession

_FOLDER = Path(__file__).with_name("page")
_KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_MOST_PAGES = 16
# Connections of one address that may have shown no token yet.
_MOST_STRANGERS = 8
# Time for a page to send its token; the pause after a wrong one; and time to confirm an end, s.
_HELLO, _PENALTY, _FAREWELL = 5.0, 1.0, 1.0
# Time between two signs of life that the browser itself has to answer, s; half of it to answer.
_PING = 10.0
# Codes of this server at the end of a websocket.
WRONG_TOKEN, BAD_MESSAGE, TOO_MANY = 4401, 4400, 1013
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Web application of the page."""

    def __init__(self, hub: Hub, access: Access) -> None:
        """Prepare the application.

        Args:
            hub: Hub of all pages.
            access: Decides who may open the page.
        """
        self._hub, self._access = hub, access
        self._files = {path.name: path.read_bytes() for path in _FOLDER.iterdir()}
        self._sockets: set[web.WebSocketResponse] = set()
        self._strangers: dict[web.WebSocketResponse, web.Request] = {}
        """Connections that have not shown the token yet, the oldest first."""
        self._commands: set[asyncio.Task[None]] = set()
        self.application = web.Application(
            middlewares=[self._guard], client_max_size=LARGEST_MESSAGE
        )
        self.application.router.add_get("/", self._page)
        self.application.router.add_get("/socket", self._socket)
        self.application.router.add_post("/stop", self._stop)
        self.application.router.add_get("/{file}", self._file)
        self.application.on_startup.append(self._start)
        self.application.on_shutdown.append(self._close)

    async def _start(self, application: web.Application) -> None:
        self._tasks = [
            asyncio.get_running_loop().create_task(work)
            for work in (self._hub.run(), self._hub.run_pictures())
        ]

    async def _close(self, application: web.Application) -> None:
        for task in (*self._tasks, *self._commands):
            task.cancel()
        self._hub.stop.close()
        for socket in list(self._sockets):
            await socket.close(code=1001, message=b"the server ends")

    # Requests

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse requests of other pages, and tell browsers to run nothing from elsewhere."""
        changes = request.method != "GET" or request.path == "/socket"
        if problem := self._access.problem(request.headers, needs_origin=changes):
            return web.Response(status=403, text=f"{problem}\n")
        response = await handler(request)
        if not response.prepared:
            host = request.headers["Host"]
            usual = {
                "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
                f"style-src 'self'; img-src 'self' blob:; connect-src 'self' ws://{host} "
                f"wss://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-store",
            }
            for name, value in usual.items():
                response.headers.setdefault(name, value)
        return response

    async def _page(self, request: web.Request) -> web.Response:
        page = self._files["index.html"].decode()
        return web.Response(
            text=page.replace("{{token}}", html.escape(self._access.issued)),
            content_type="text/html",
        )

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        kind = _KINDS.get(Path(name).suffix)
        if name not in self._files or kind is None or name == "index.html":
            raise web.HTTPNotFound
        return web.Response(body=self._files[name], content_type=kind, charset="utf-8")

    async def _stop(self, request: web.Request) -> web.Response:
        """Stop on a connection of its own, in case the page's websocket hangs."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not self._access.knows(token):
            await asyncio.sleep(_PENALTY)
            return web.json_response({"done": False, "text": "wrong token"}, status=401)
        answer = await self._hub.perform(f"{request.remote}", Command("stop"), 0)
        return web.json_response({"done": answer.done, "text": answer.text})

    # Websockets

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self._make_room(request.remote)
        socket = web.WebSocketResponse(
            timeout=_FAREWELL, max_msg_size=LARGEST_MESSAGE, heartbeat=_PING, compress=False
        )
        self._strangers[socket] = request
        try:
            await socket.prepare(request)
            self._sockets.add(socket)
            is_known = await self._is_known(request, socket)
            self._strangers.pop(socket, None)
            if not is_known:
                await socket.close(code=WRONG_TOKEN, message=b"wrong token")
            elif len(self._hub.pages) >= _MOST_PAGES:
                text = f"{_MOST_PAGES} pages are open already"
                await socket.close(code=TOO_MANY, message=text.encode())
            else:
                await self._serve(request, socket)
        except BadMessage as problem:
            await socket.close(code=BAD_MESSAGE, message=str(problem).encode()[:120])
        finally:
            self._strangers.pop(socket, None)
            self._sockets.discard(socket)
        return socket

    def _make_room(self, address: str | None) -> None:
        """End the oldest connection of an address if too many show no token.

        They are not pages, so they shut none out: neither those of other addresses, nor a new one
        of the same, which shows its token at once.
        """
        same = [each for each, began in self._strangers.items() if began.remote == address]
        if len(same) >= _MOST_STRANGERS:
            _abort(self._strangers.pop(same[0]))

    async def _is_known(self, request: web.Request, socket: web.WebSocketResponse) -> bool:
        """Return True if the first message holds the token."""
        try:
            first = await asyncio.wait_for(socket.receive(), _HELLO)
        except asyncio.TimeoutError:
            _abort(request)
            return False
        if first.type is not WSMsgType.TEXT:
            return False
        message = read_message(first.data)
        known = message.get("type") == "hello" and self._access.knows(message.get("token"))
        if not known:
            await asyncio.sleep(_PENALTY)
        return known

    async def _serve(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        """Exchange messages with a page until it closes."""
        page = PageSession(self._hub.next_name(), request, socket)
        sender = asyncio.get_running_loop().create_task(page.run())
        self._hub.add(page)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._take(page, read_message(message.data))
        finally:
            self._hub.remove(page)
            sender.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await sender

    def _take(self, page: PageSession, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "beat":
            self._hub.heard(page, read_number(message.get("n")))
        elif kind == "show":
            self._hub.show(page, read_names(message.get("pictures")))
        elif kind == "command":
            # It goes on if the page closes meanwhile.
            task = asyncio.get_running_loop().create_task(self._command(page, message))
            self._commands.add(task)
            task.add_done_callback(self._commands.discard)
        else:
            raise BadMessage("type: expected beat, show or command")

    async def _command(self, page: PageSession, message: dict[str, Any]) -> None:
        try:
            command = read_command(message)
            seen = 0 if command.name == "stop" else read_number(message.get("n"))
            answer = await self._hub.perform(page.name, command, seen)
            done, text = answer.done, answer.text
        except BadMessage as problem:
            done, text = False, str(problem)
        except Exception as problem:  # such as of a folder that may not be read
            done, text = False, f"{type(problem).__name__}: {problem}"
        identity = message.get("id")
        page.send(
            {
                "type": "answer",
                "id": identity if isinstance(identity, int) else None,
                "done": done,
                "text": text,
            }
        )


def _abort(request: web.Request) -> None:
    """End a connection without waiting for its other end."""
    if request.transport is not None:
        request.transport.abort()
