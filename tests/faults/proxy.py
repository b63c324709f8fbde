"""The way to the server: a TCP proxy that can do to a connection what networks do.

    async with Proxy(("10.231.0.2", 22)) as way:
        ...connect to 127.0.0.1:way.port...
        way.reset()                 # as a router that has forgotten the connection
        way.refuse(seconds=3)       # and nobody answers for a while

Everything that is done to it takes effect at once, without waiting: no byte passes any more once the call is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Final, Literal, Self

Direction = Literal["up", "down"]
"""`up` is towards the server."""

CHUNK: Final = 64 * 1024
WITHIN_PACKET: Final = 8
"""Where a byte is behind an SSH packet's length, and before its end."""
UNACKNOWLEDGED_S: Final = 1.0
"""Seconds for which a server goes on sending although nothing is acknowledged."""
LINGER_ZERO: Final = struct.pack("ii", 1, 0)
"""With it, closing a socket sends RST instead of FIN."""


class Proxy:
    """One listener on 127.0.0.1, and the connections that go through it."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._links: set[Link] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._doomed = 0
        self.port = 0
        self.accepted = 0
        """Connections so far."""
        self.on_accepted: Callable[[], None] = lambda: None
        """Called when a client's connection was taken, before anything of it passes."""
        self.on_answer: Callable[[], None] = lambda: None
        """Called when the server's first bytes of a connection have passed."""
        self.weather = Weather()

    async def __aenter__(self) -> Self:
        self._listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.calm()
        self._shut()

    # --- what networks do --------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Both ends get an RST."""
        for link in list(self._links):
            link.end(reset=True)

    def close(self) -> None:
        """Both ends get a FIN, as if the other one had closed."""
        for link in list(self._links):
            link.end(reset=False)

    def silence(self, *directions: Direction) -> None:
        """From now on what is sent on the connections of now vanishes, and nobody is told.

        Without acknowledgements the other direction does not go on for long either: a TCP sends no new data before the
        old is acknowledged. What the client has sent until it gives up still arrives, and then its FIN.
        """
        links = list(self._links)

        def lose(*directions: Direction) -> None:
            for link in links:
                link.lost |= set(directions)

        lose(*directions)
        if directions == ("up",):
            self._later(UNACKNOWLEDGED_S, lambda: lose("down"))

    def stall(self, seconds: float) -> None:
        """Nothing passes for a while; then all that has waited does."""
        self.weather.passing.clear()
        self._later(seconds, self.weather.passing.set)

    def corrupt(self) -> None:
        """One bit of the next bytes from the server is another one."""
        for link in self._links:
            link.corrupt_next = True

    def refuse(self, seconds: float | None = None) -> None:
        """Take no new connection, for a while or for good."""
        self._shut()
        if seconds is not None:
            self._later(seconds, self._listen)

    def doom(self, connections: int) -> None:
        """The next so many connections get an RST when the server's first bytes have passed."""
        self._doomed = connections

    def descriptors(self) -> set[int]:
        """Those of its sockets."""
        of_links = {sock.fileno() for link in self._links for sock in link.sockets}
        return of_links | ({self._listener.fileno()} if self._listener is not None else set())

    async def calm(self) -> None:
        """End every connection, forget every fault, take new connections again."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        links = list(self._links)
        self.reset()
        await asyncio.gather(*(link.ended for link in links), return_exceptions=True)
        self.weather = Weather()
        self._doomed = 0
        if self._listener is None:
            self._listen()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, do))

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(16)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._accepting = asyncio.ensure_future(self._accept(listener))

    def _shut(self) -> None:
        if self._listener is not None and self._accepting is not None:
            self._accepting.cancel()
            # Now, not when the cancelled task gets its turn: its number may be another socket's by then.
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            self.accepted += 1
            link = Link(self, client)
            self._links.add(link)
            link.ended = asyncio.ensure_future(self._serve(link))
            self.on_accepted()

    async def _serve(self, link: Link) -> None:
        try:
            await link.carry(self._upstream)
        except (OSError, asyncio.CancelledError):
            pass  # an end of the connection, ours or theirs
        finally:
            link.close_sockets(reset=True)
            self._links.discard(link)

    def answered(self, link: Link) -> None:
        """The server's first bytes have passed."""
        if self._doomed:
            self._doomed -= 1
            link.end(reset=True)
            return
        self.on_answer()


class Weather:
    """What holds for every connection."""

    def __init__(self) -> None:
        self.passing = asyncio.Event()
        self.passing.set()
        self.delay_s = 0.0
        """Seconds that every piece takes longer."""
        self.piece = CHUNK
        """Bytes that pass at a time."""


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy = proxy
        self.sockets = [client]
        self._answered = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: set[Direction] = set()
        """The directions in which everything vanishes."""
        self.corrupt_next = False

    async def carry(self, upstream: tuple[str, int]) -> None:
        """Connect to the server, and pass bytes on until both sides have ended."""
        loop = asyncio.get_running_loop()
        (client,) = self.sockets
        server = socket.socket()
        server.setblocking(False)
        self.sockets.append(server)
        for sock in self.sockets:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(server, upstream)
        pumps = [
            asyncio.ensure_future(self._pump(client, server, "up")),
            asyncio.ensure_future(self._pump(server, client, "down")),
        ]
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)

    async def _pump(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        loop = asyncio.get_running_loop()
        while data := await self._received(source, direction):
            weather = self._proxy.weather
            await weather.passing.wait()
            if weather.delay_s:
                await asyncio.sleep(weather.delay_s)
            if direction in self.lost:
                continue
            if direction == "down" and self.corrupt_next:
                self.corrupt_next = False
                # In the first packet of what has come: the answer to what was just asked. Another may be behind it.
                at = min(WITHIN_PACKET, len(data) - 1)
                data = data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :]
            await loop.sock_sendall(sink, data)
            if direction == "down" and not self._answered:
                self._answered = True
                self._proxy.answered(self)
        if direction in self.lost:
            await asyncio.Event().wait()  # its end vanishes as well
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    async def _received(self, source: socket.socket, direction: Direction) -> bytes:
        try:
            return await asyncio.get_running_loop().sock_recv(source, self._proxy.weather.piece)
        except OSError:
            if direction in self.lost:
                return b""  # an RST vanishes like everything else
            raise

    def end(self, *, reset: bool) -> None:
        """End both sides, now."""
        self.close_sockets(reset=reset)
        self.ended.cancel()

    def close_sockets(self, *, reset: bool) -> None:
        """Let both sides know."""
        loop = asyncio.get_running_loop()
        for sock in self.sockets:
            if sock.fileno() < 0:
                continue
            loop.remove_reader(sock)
            loop.remove_writer(sock)
            with contextlib.suppress(OSError):
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
                else:
                    sock.shutdown(socket.SHUT_WR)
            sock.close()
