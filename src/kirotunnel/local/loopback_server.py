"""A web server on both loopback addresses, for browsers: one request a connection, within limits."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from kirotunnel.events import RefusalReason
from kirotunnel.local.http1 import MalformedRequestError, Request, ServerConnection
from kirotunnel.local.loopback import BACKLOG

HEAD_TIMEOUT_S: Final = 5.0
"""Seconds that a connection may stay without a whole request: browsers open some that they never use."""
DRAIN_S: Final = 2.0
"""Seconds that answers under way have when the server is closed."""
ARRIVAL_S: Final = 0.05
"""Seconds in which a browser that has just connected sends its request, if it has one."""
_TURNS: Final = 20
"""Turns of the event loop in which a request that is there already is surely read: it takes five."""
MAX_WAITING: Final = 128
"""Connections without a request yet; with one more, the oldest is closed. Fewer where few files may be open."""
_ACCEPTED_AT_ONCE: Final = 8
"""Connections that are taken in one turn of the event loop. asyncio takes a hundred, and a flood would then push a
browser out among the oldest before its request, three turns later, is read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the browser gets."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    sent: Callable[[], None] | None = field(default=None, compare=False)
    """Called once the browser has it, or is gone."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: a browser's connection."""

    connection: ServerConnection
    brought_by: object | None = None
    """Who accepted it, where that was not us."""


class LoopbackServer:
    """Serves these listening sockets until it is closed, and connections that others accepted."""

    def __init__(
        self,
        sockets: list[socket.socket],
        handle: Callable[[Request, Visitor], Awaitable[Answer | None]],
        stray: Callable[[RefusalReason], Answer],
    ) -> None:
        """`handle` answers a request, or gives it to somebody else (None); `stray` counts and answers what is none."""
        self.port: int = sockets[0].getsockname()[1]
        self.listen = tuple(_shown(sock.getsockname()) for sock in sockets)
        """`ADDR:PORT` of each listener."""
        self.sockets = sockets
        self._handle = handle
        self._stray = stray
        self._servers: list[asyncio.Server] = []
        self._waiting: OrderedDict[asyncio.Task[None], None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._let_go = False
        self._stopped = False
        self._room = _room()

    async def start(self) -> None:
        """Accept from now on."""
        if self._servers or self._let_go:
            return
        for sock in self.sockets:
            # In two steps: who is cancelled in the first has nothing to close, and in the second we know of it.
            server = await asyncio.start_server(
                self._connected, sock=sock.dup(), backlog=_ACCEPTED_AT_ONCE, start_serving=False
            )
            self._servers.append(server)
            await server.start_serving()
            # The same number would be the kernel's queue, in which a browser waits behind a flood instead of being told
            # to come again in a second.
            if not self._let_go:
                sock.listen(BACKLOG)

    def pause(self) -> None:
        """Accept no longer. The port stays ours."""
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for sock in server.sockets:
                loop.remove_reader(sock.fileno())
            # Not before whom it has accepted in this turn: asyncio forgets those, and the browser waits for ever.
            loop.call_soon(server.close)
        self._servers.clear()

    def let_go(self) -> None:
        """Accept no longer. The port is others', or free; who was accepted is still read."""
        self._let_go = True
        self.pause()
        for sock in self.sockets:
            sock.close()

    async def read_on(self) -> None:
        """Let requests be read that are there, or come in a moment."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if self._waiting:
            await asyncio.wait(list(self._waiting), timeout=ARRIVAL_S)

    def stop(self) -> None:
        """Free the port at once; requests under way go on."""
        self._let_go = self._stopped = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        for sock in self.sockets:
            sock.close()
        for task in list(self._waiting):
            task.cancel()

    async def close(self) -> None:
        """Free the port at once, let answers under way finish for a moment, then close every connection."""
        self.stop()
        busy = self._tasks - set(self._waiting)
        if busy:
            await asyncio.wait(busy, timeout=DRAIN_S)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # --- one connection ----------------------------------------------------------------------------------------------

    def adopt(self, sock: socket.socket, received: bytes, brought_by: object) -> None:
        """Serve a connection that somebody else accepted, who has read this whole request from it."""
        task = asyncio.ensure_future(self._adopted(sock, received, brought_by))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _adopted(self, sock: socket.socket, received: bytes, brought_by: object) -> None:
        try:
            sock.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=sock)
        except (OSError, ValueError):
            sock.close()
            return
        await self._connected(reader, writer, received, brought_by)

    async def _connected(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        received: bytes = b"",
        brought_by: object | None = None,
    ) -> None:
        if self._stopped:  # accepted before, but its turn came after
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - start_server runs this in a task
        self._tasks.add(task)
        connection = ServerConnection(reader, writer, received)
        try:
            await self._serve(Visitor(connection, brought_by), task)
            await connection.close()
        except asyncio.CancelledError:
            # The server is closing. asyncio's streams log a cancelled handler as an error, so it ends here.
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            self._waiting.pop(task, None)

    async def _serve(self, visitor: Visitor, task: asyncio.Task[None]) -> None:
        connection = visitor.connection
        answer: Answer | None
        self._make_room()
        self._waiting[task] = None
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                request = await connection.read_request()
        except TimeoutError:
            request = None
        except MalformedRequestError:
            answer = self._stray("malformed")
            return await connection.respond(answer.status, answer.headers, answer.body)
        finally:
            self._waiting.pop(task, None)
        if request is None:
            self._stray("idle")
            return None
        answer = await self._handle(request, visitor)
        if answer is None:
            return connection.abandon()
        await connection.respond(answer.status, answer.headers, answer.body)
        if answer.sent is not None:
            answer.sent()
        return None

    def _make_room(self) -> None:
        if len(self._waiting) >= min(MAX_WAITING, self._room):
            self._waiting.popitem(last=False)[0].cancel()
            self._stray("idle")


def _room() -> int:
    """How many silent connections there may be: a quarter of the files that this process may have open (macOS: 256)."""
    if sys.platform == "win32":  # no such limit, and no such module
        return MAX_WAITING
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_WAITING if soft == resource.RLIM_INFINITY else max(4 * _ACCEPTED_AT_ONCE, soft // 4)


def _shown(name: tuple[str, int]) -> str:
    address, port = name[:2]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
