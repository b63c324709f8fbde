"""HTTP/1.1 on a stream, through h11: read one request within limits, write one response.

Used by everything here that answers a browser. Bytes come from strangers, so each read has a size, and the caller has
a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

import h11

MAX_HEAD: Final = 16 * 1024
"""Bytes of a request line with its headers; beyond that the request is malformed."""
MAX_BODY: Final = 64 * 1024
"""Bytes of a request body: a form_post response is a few hundred."""
_CHUNK: Final = 16 * 1024
_REASONS: Final = {status.value: status.phrase.encode() for status in http.HTTPStatus}

Headers = list[tuple[bytes, bytes]]


class MalformedRequestError(Exception):
    """What arrived is not an HTTP/1.1 request within the limits."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, whole: its head as sent and its body."""

    method: str
    target: str
    """The request target as it stood in the request line: path and query."""
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, values as sent, in order."""
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first value of that header; None where it is missing."""
        return next((value for key, value in self.headers if key == name), None)

    def count(self, name: str) -> int:
        """How often the header was sent: Host more than once is an attack or a bug (RFC 9112 §3.2)."""
        return sum(1 for key, _ in self.headers if key == name)


class ServerConnection:
    """One connection of a browser: requests come in by `read_request`, answers go out by `respond`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: bytes = b"") -> None:
        """`received` is what somebody else has read from it before."""
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._asked_for_head = False
        self.received = bytearray(received)
        """All that the browser has sent so far: at most a request within the limits, and one piece more."""
        if received:
            self._h11.receive_data(received)

    @property
    def descriptor(self) -> int:
        """Its file descriptor, as long as it is open."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        return sock.fileno()

    def abandon(self) -> None:
        """Let go of it without a word: whoever else has the connection goes on with it."""
        self._writer.transport.abort()

    @property
    def reusable(self) -> bool:
        """Whether another request may follow on this connection (keep-alive), once the last one was answered."""
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE

    def next_cycle(self) -> None:
        """Get ready for the next request on the same connection."""
        self._h11.start_next_cycle()
        self.received.clear()

    async def read_request(self) -> Request | None:
        """The next request with its body; None when the other side closed before sending one.

        Raises MalformedRequestError for anything else. Waits for ever: the caller sets the deadline.
        """
        try:
            head = await self._next_event()
            if not isinstance(head, h11.Request):
                return None
            self._asked_for_head = head.method == b"HEAD"
            if head.http_version not in {b"1.0", b"1.1"}:
                raise MalformedRequestError("neither HTTP/1.0 nor HTTP/1.1")
            if _size(head) > MAX_HEAD:  # h11 counts only while a head is incomplete
                raise MalformedRequestError("the request head is too large")
            body = bytearray()
            while isinstance(event := await self._next_event(), h11.Data):
                body += event.data
                if len(body) > MAX_BODY:
                    raise MalformedRequestError("the request body is too large")
        except h11.RemoteProtocolError as exc:
            raise MalformedRequestError(str(exc)) from exc
        return Request(
            method=head.method.decode("ascii", "replace"),
            target=head.target.decode("latin-1"),
            headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers),
            body=bytes(body),
        )

    async def _next_event(self) -> object:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            if self._h11.they_are_waiting_for_100_continue:
                self._write(self._h11.send(h11.InformationalResponse(status_code=100, headers=[])))
            try:
                data = await self._reader.read(_CHUNK)
                self.received += data
                self._h11.receive_data(data)
            except ConnectionError as exc:
                raise h11.RemoteProtocolError("the connection was reset") from exc
        return event

    async def gone(self) -> None:
        """Wait until the other side has closed, or reset, the connection. What it sends meanwhile is thrown away."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(_CHUNK):
                pass

    async def respond(
        self, status: int, headers: Iterable[tuple[str, str]], body: bytes = b"", *, close: bool = True
    ) -> None:
        """Write one response and flush it, without its body where only the head was asked for.

        A browser that is gone already is no error.
        """
        fields: Headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        fields.append((b"Content-Length", str(len(body)).encode()))
        fields.append((b"Date", formatdate(usegmt=True).encode()))
        if close:
            fields.append((b"Connection", b"close"))
        if self._h11.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        reason = _REASONS.get(status, b"")
        self._write(self._h11.send(h11.Response(status_code=status, headers=fields, reason=reason)))
        if body and not self._asked_for_head:
            self._write(self._h11.send(h11.Data(data=body)))
        self._write(self._h11.send(h11.EndOfMessage()))
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    def _write(self, data: bytes | None) -> None:
        if data and not self._writer.is_closing():
            self._writer.write(data)

    async def close(self) -> None:
        """Close the connection, letting what was written arrive; never raises for a peer that is gone."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except (OSError, TimeoutError):
            return


def _size(head: h11.Request) -> int:
    """About the bytes that a head took."""
    fields = sum(len(name) + len(value) + len(": \r\n") for name, value in head.headers)
    return len(head.method) + len(head.target) + len("  HTTP/1.1\r\n\r\n") + fields
