"""A web server for one visitor's browser on both loopback addresses: one request a connection, within limits."""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from kirotunnel.events import RefusalReason
from kirotunnel.local.http1 import MalformedRequestError, Request, ServerConnection

HEAD_TIMEOUT_S: Final = 5.0
"""Seconds that a connection may stay without a whole request: browsers open some that they never use."""
DRAIN_S: Final = 2.0
"""Seconds that answers under way have when the server is closed."""
MAX_WAITING: Final = 128
"""Connections without a request yet; with one more, the oldest is closed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the browser gets."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""


class LoopbackServer:
    """Serves these listening sockets until it is closed."""

    def __init__(
        self,
        sockets: list[socket.socket],
        handle: Callable[[Request], Awaitable[Answer]],
        stray: Callable[[RefusalReason], Answer],
    ) -> None:
        self.port: int = sockets[0].getsockname()[1]
        self._sockets = sockets
        self._handle = handle
        self._stray = stray
        self._servers: list[asyncio.Server] = []
        self._waiting: OrderedDict[asyncio.Task[None], None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Accept from now on."""
        for sock in self._sockets:
            self._servers.append(await asyncio.start_server(self._connected, sock=sock))

    async def close(self) -> None:
        """Free the port at once, let answers under way finish for a moment, then close every connection."""
        for server in self._servers:
            server.close()
        for task in list(self._waiting):
            task.cancel()
        busy = self._tasks - set(self._waiting)
        if busy:
            await asyncio.wait(busy, timeout=DRAIN_S)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - start_server runs this in a task
        self._tasks.add(task)
        connection = ServerConnection(reader, writer)
        try:
            answer = await self._answer(connection, task)
            if answer is not None:
                await connection.respond(answer.status, answer.headers, answer.body)
        except asyncio.CancelledError:
            # The server is closing. asyncio's streams log a cancelled handler as an error, so it ends here.
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            self._waiting.pop(task, None)
        await connection.close()

    async def _answer(self, connection: ServerConnection, task: asyncio.Task[None]) -> Answer | None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popitem(last=False)[0].cancel()
            self._stray("idle")
        self._waiting[task] = None
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                request = await connection.read_request()
        except TimeoutError:
            request = None
        except MalformedRequestError:
            return self._stray("malformed")
        finally:
            self._waiting.pop(task, None)
        if request is None:
            self._stray("idle")
            return None
        return await self._handle(request)
