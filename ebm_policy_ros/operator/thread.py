"""Thread in which the server of the page runs, beside the one of ROS."""

from __future__ import annotations

import asyncio
import errno
import threading
from concurrent.futures import Future

from aiohttp import web

_END = 5.0


class ServerThread:
    """A web application in a thread and event loop of its own."""

    def __init__(self, application: web.Application, host: str, port: int) -> None:
        """Listen; returns once the port is open.

        Args:
            application: Application to serve.
            host: Address to listen at.
            port: Port; 0 for any that is free.

        Raises:
            OSError: If the port cannot be opened.
        """
        self._application, self._host, self._wanted = application, host, port
        self._loop = asyncio.new_event_loop()
        self._opened: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, name="operator page", daemon=True)
        self._thread.start()
        try:
            self.port = self._opened.result()
            """Port that is open."""
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                text = f"port: {port} is in use, perhaps by another operator_node; choose another"
                raise OSError(text) from None
            raise

    def close(self) -> None:
        """Close all connections, and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join(_END)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._ending = asyncio.Event()
        runner = web.AppRunner(self._application, access_log=None)
        try:
            await runner.setup()
            site = web.TCPSite(runner, self._host, self._wanted)
            await site.start()
            port: int = runner.addresses[0][1]
        except BaseException as error:  # raised again where the thread was started
            await runner.cleanup()
            self._opened.set_exception(error)
            return
        self._opened.set_result(port)
        await self._ending.wait()
        await runner.cleanup()
