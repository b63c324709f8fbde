"""One HTTP connection to the remote's listener: requests as the browser sent them, less what is not its affair."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

import h11

from kirotunnel.local.http1 import Request

MAX_ANSWER: Final = 1024 * 1024
_MAX_RECEIVED: Final = 4 * MAX_ANSWER
"""Bytes of a remote's answer; more is cut off as broken."""

# What of the browser's request the remote gets. Not its cookies: a browser sends those of every program on localhost.
_REQUEST_HEADERS: Final = frozenset({"host", "user-agent", "accept", "accept-language", "content-type", "origin"})


class RemoteStream(Protocol):
    """A byte stream to the remote listener."""

    async def read(self, limit: int) -> bytes:
        """Up to `limit` bytes; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Send all of it."""

    async def close(self) -> None:
        """Let go of it; never raises."""


class Dial(Protocol):
    """Open one connection to the remote listener of a leg."""

    async def __call__(self) -> RemoteStream:
        """Raises CallbackUndeliveredError where nothing listens, another KirotunnelError where we may not."""


class NoAnswerError(Exception):
    """The remote closed, or said something that is no HTTP answer."""


@dataclass(slots=True)
class Response:
    """What the remote said."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def location(self) -> str | None:
        """Where it sends the browser, if it does."""
        if not 300 <= self.status < 400:
            return None
        return next((value for name, value in self.headers if name == "location"), None)


@dataclass(slots=True)
class Upstream:
    """One connection to the remote listener: the callback, and at most the page after it."""

    stream: RemoteStream
    connection: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    async def exchange(self, request: Request) -> Response:
        """Send one request and read its answer. Raises NoAnswerError."""
        try:
            if self.connection.our_state is not h11.IDLE:
                self.connection.start_next_cycle()
            await self._send(request)
            return await self._receive()
        except (h11.ProtocolError, OSError) as exc:
            raise NoAnswerError from exc

    async def _send(self, request: Request) -> None:
        # As bytes: h11 takes text for ASCII, and a browser's Accept-Language need not be.
        headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in request.headers
            if name in _REQUEST_HEADERS
        ]
        if request.body or request.method == "POST":
            headers.append((b"content-length", str(len(request.body)).encode()))  # it may have come in chunks
        head = h11.Request(method=request.method, target=request.target.encode("latin-1"), headers=headers)
        data = self.connection.send(head) or b""
        if request.body:
            data += self.connection.send(h11.Data(data=request.body)) or b""
        data += self.connection.send(h11.EndOfMessage()) or b""
        await self.stream.write(data)

    async def _receive(self) -> Response:
        head: h11.Response | None = None
        body = bytearray()
        received = 0
        while True:
            event = self.connection.next_event()
            if event is h11.NEED_DATA:
                data = await self.stream.read(16 * 1024)
                received += len(data)
                if received > _MAX_RECEIVED:  # interim answers without end, or chunks of a byte each
                    raise NoAnswerError
                self.connection.receive_data(data)
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_ANSWER:
                    raise NoAnswerError
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
                return Response(head.status_code, headers, bytes(body))
            elif not isinstance(event, h11.InformationalResponse):
                raise NoAnswerError

    async def close(self) -> None:
        """Let go of it."""
        await self.stream.close()
