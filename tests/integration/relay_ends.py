"""The two ends of a relay: a browser that sends what it is told, and a remote listener that says what it is told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPResponse
from typing import Final

from kirotunnel.errors import KirotunnelError
from kirotunnel.events import Outcome, RefusalReason
from kirotunnel.local.callback_ports import CallbackPorts, Lease
from kirotunnel.local.relay import Route
from kirotunnel.local.upstream import RemoteStream
from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import LegRule
from kirotunnel.wire.redirect import UrlPolicy

STATE: Final = "0123456789"
CALLBACK: Final = f"/oauth/callback?code=s3cr3t-code&state={STATE}"
DENIAL: Final = f"/oauth/callback?error=access_denied&state={STATE}"
PATIENCE: Final = 30.0
"""Seconds after which what a test waits for will not come."""


# --- The browser's end ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """An answer as the browser reads it."""

    status: int
    headers: dict[str, str]
    body: str

    @classmethod
    def read(cls, data: bytes, method: str = "GET") -> Reply | None:
        """The answer that these bytes are; None where there is none."""
        if not data:
            return None
        response = HTTPResponse(_Bytes(data), method=method)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return cls(response.status, headers, response.read().decode())

    @property
    def title(self) -> str:
        """The heading of the page."""
        return self.body.partition("<h1>")[2].partition("</h1>")[0]


class _Bytes:
    """What http.client takes for a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> object:
        import io

        assert mode == "rb"
        return io.BytesIO(self._data)


def request(
    target: str, port: int, *headers: str, method: str = "GET", host: str = "localhost", body: str = ""
) -> bytes:
    """The bytes of a request as a browser writes it; extra headers are added."""
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}:{port}", *headers, *length, "", body]
    return "\r\n".join(lines).encode("latin-1")


async def send(port: int, data: bytes, *, address: str = "127.0.0.1", end: bool = False) -> bytes:
    """Everything that comes back until the connection ends; with `end` ours ends first. A reset is an end."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(address, port)
        received = bytearray()
        try:
            writer.write(data)
            if end:
                writer.write_eof()
            while chunk := await reader.read(65536):
                received += chunk
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
        return bytes(received)


async def ask(port: int, target: str, *headers: str, method: str = "GET", address: str = "127.0.0.1") -> Reply:
    """The answer to one request."""
    reply = Reply.read(await send(port, request(target, port, *headers, method=method), address=address), method)
    assert reply is not None, "closed without an answer"
    return reply


# --- The remote's end -------------------------------------------------------------------------------------------------


def answer(status: str, *headers: str, body: str = "") -> bytes:
    """The bytes of a remote's answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", body]).encode("latin-1")


class Stream:
    """One connection to the remote listener; each request that comes whole is answered by the next thing to say."""

    def __init__(self, says: Sequence[bytes | None], remote: Remote) -> None:
        self._says = list(says)
        self._remote = remote
        self._incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self._buffer = b""
        self.closed = False

    async def read(self, limit: int) -> bytes:
        del limit
        await self._remote.free.wait()
        return await self._incoming.get()

    async def write(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if not end or len(body) < length:
            return
        self._buffer = b""
        self._remote.requests.append((head + end + body).decode("latin-1"))
        said = self._says.pop(0) if self._says else None
        if said is not None:
            self._incoming.put_nowait(said)
        if said is None or not self._says:
            self._incoming.put_nowait(b"")

    async def close(self) -> None:
        self.closed = True
        self._incoming.put_nowait(b"")


@dataclass
class Remote:
    """A remote listener: what it says to each request of a connection, one after the other; None closes it."""

    says: Sequence[bytes | None] = (answer("200 OK", "Content-Type: text/html", body="<h1>Done</h1>"),)
    refuses: KirotunnelError | None = None
    requests: list[str] = field(default_factory=list)
    """Everything that reached it."""
    streams: list[Stream] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, it takes requests and keeps its answers back."""

    def __post_init__(self) -> None:
        self.free.set()

    async def dial(self) -> RemoteStream:
        self.streams.append(Stream(self.says, self))
        if self.refuses is not None:
            raise self.refuses
        return self.streams[-1]

    @property
    def targets(self) -> list[str]:
        """The targets of the requests."""
        return [text.split()[1] for text in self.requests]


# --- The leg between them ---------------------------------------------------------------------------------------------


@dataclass
class Witness:
    """What a leg's observer was told."""

    strays: list[RefusalReason] = field(default_factory=list)
    callbacks: list[Outcome] = field(default_factory=list)
    errors: list[KirotunnelError | None] = field(default_factory=list)
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    def stray(self, reason: RefusalReason) -> None:
        self._tell(self.strays, reason)

    def callback(self, outcome: Outcome) -> None:
        self._tell(self.callbacks, outcome)

    def delivered(self, error: KirotunnelError | None) -> None:
        self._tell(self.errors, error)

    def _tell(self, told: list[object], what: object) -> None:
        told.append(what)
        self._told.set()

    async def until(self, told: list[object], count: int) -> None:
        """Wait until so much of that was told."""
        async with asyncio.timeout(PATIENCE):
            while len(told) < count:
                self._told.clear()
                await self._told.wait()


@dataclass
class Leg:
    """A leg that has a port, its remote and its witness."""

    lease: Lease
    remote: Remote
    seen: Witness

    @property
    def port(self) -> int:
        return self.lease.port

    async def ask(self, target: str, *headers: str, method: str = "GET", address: str = "127.0.0.1") -> Reply:
        return await ask(self.port, target, *headers, method=method, address=address)


def free_port() -> int:
    """A port that is free on both loopback addresses."""
    while True:
        with socket.socket(socket.AF_INET6) as six, socket.socket() as four, suppress(OSError):
            six.bind(("::1", 0))
            port: int = six.getsockname()[1]
            four.bind(("127.0.0.1", port))
            return port


def route_to(
    remote: Remote,
    seen: Witness,
    port: int,
    *,
    state: str | None = STATE,
    form_post: bool = False,
    host: str = "dev-box",
) -> Route:
    """The way of one leg to that remote."""
    paths = frozenset({"/oauth/callback"})
    return Route(
        rule=LegRule(leg=1, paths=paths, state=None if state is None else Secret(state), form_post=form_post),
        port=port,
        dial=remote.dial,
        observer=seen,
        cli="kiro-cli",
        host=host,
        policy=UrlPolicy(known_hosts=("app.kiro.dev",)),
    )


async def leased(port: int) -> Lease:
    """A port for a leg that nobody asks anything."""
    return await CallbackPorts().lease(route_to(Remote(), Witness(), port))


@asynccontextmanager
async def leg(remote: Remote | None = None, *, port: int | None = None, form_post: bool = False) -> AsyncIterator[Leg]:
    """One leg that waits for its callback."""
    remote, seen = remote or Remote(), Witness()
    lease = await CallbackPorts().lease(route_to(remote, seen, port or free_port(), form_post=form_post))
    try:
        yield Leg(lease, remote, seen)
    finally:
        await lease.close()
