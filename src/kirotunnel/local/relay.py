"""The relay: answer the browser here, and dial the remote only with the one request that belongs there.

The remote CLI's listener takes one to three connections in its whole life and ends the login at the first request,
right or wrong. A browser opens more connections than it uses (a click in Chromium makes one that stays silent for
minutes), asks for /favicon.ico, and other programs knock as well. So HTTP ends here: each request is read whole, the
gate decides, and the remote sees exactly the callback, and the page after it on the same connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol
from urllib.parse import urlsplit

import h11

from kirotunnel.errors import InternalError, KirotunnelError
from kirotunnel.events import Outcome, RefusalReason
from kirotunnel.local.http1 import MalformedRequestError, Request, ServerConnection
from kirotunnel.local.loopback import bind_loopback
from kirotunnel.local.pages import Page, render
from kirotunnel.wire.gate import FollowUp, Forward, LegRule, Refuse, RequestHead, decide, same_origin_target
from kirotunnel.wire.pasted import Pasted
from kirotunnel.wire.redirect import UrlPolicy, check_url

HEAD_TIMEOUT_S: Final = 5.0
"""Seconds that a connection may stay without a whole request."""
FOLLOW_UP_GRACE_S: Final = 2.0
"""Seconds that the browser has to ask for the page that the remote's answer named."""
DRAIN_S: Final = 2.0
"""Seconds that answers under way have when the leg is closed."""
MAX_WAITING: Final = 128
"""Connections without a request yet; with one more, the oldest is closed."""
MAX_ANSWER: Final = 1024 * 1024
"""Bytes of a remote's answer; more is cut off as broken."""

# What of the browser's request the remote gets. Not its cookies: a browser sends those of every program on localhost.
_REQUEST_HEADERS: Final = frozenset({"host", "user-agent", "accept", "accept-language", "content-type", "origin"})
# What of the remote's answer the browser gets: nothing that outlives the page; cookies belong to all of localhost.
_RESPONSE_HEADERS: Final = frozenset({"content-type", "cache-control", "content-language"})
# A script of the remote's page would run as a page of localhost: with the cookies of every program there.
_QUIETENING: Final = (
    ("content-security-policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
)


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


class LegObserver(Protocol):
    """Who wants to know how a leg's requests go. Called in the event loop; must not block."""

    def stray(self, reason: RefusalReason) -> None:
        """A stray was answered here."""

    def callback(self, outcome: Outcome) -> None:
        """The callback is here and is about to be delivered."""

    def delivered(self, error: KirotunnelError | None) -> None:
        """The exchange is over."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(slots=True, kw_only=True)
class Route:
    """One leg served at a port."""

    rule: LegRule
    dial: Dial
    observer: LegObserver
    cli: str
    host: str
    """Names for the pages."""
    policy: UrlPolicy
    """Judges where the remote's answer may send the browser."""
    answer: asyncio.Future[_Answer] | None = None
    """The answer of the one callback, once it was taken: a browser that asks again gets the same."""
    upstream: _Upstream | None = None
    done: bool = False
    idle_timer: asyncio.TimerHandle | None = None

    def page(self, page: Page) -> _Answer:
        """A page of ours that names this leg's CLI and host."""
        status, headers, body = render(page, cli=self.cli, host=self.host)
        return _Answer(status, tuple(headers), body)


class Relay:
    """The two listeners of one port and the routes that they serve, told apart by their state."""

    def __init__(self, port: int, sockets: list[socket.socket]) -> None:
        self.port = port
        self.listen = tuple(_shown(sock.getsockname()) for sock in sockets)
        """`ADDR:PORT` of each listener."""
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self._routes: list[Route] = []
        self._waiting: OrderedDict[asyncio.Task[None], None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._opened = time.monotonic()

    @classmethod
    async def open(cls, port: int, routes: Iterable[Route] = ()) -> Relay:
        """Bind both loopback addresses and serve. Raises LocalPortError, then nothing is bound."""
        relay = cls(port, await asyncio.to_thread(bind_loopback, port))
        relay._routes.extend(routes)
        for sock in relay._sockets:
            relay._servers.append(await asyncio.start_server(relay._connected, sock=sock))
        return relay

    @classmethod
    def without_listeners(cls, port: int, route: Route) -> Relay:
        """A relay that binds nothing and serves one leg: its callback comes by `bring`."""
        relay = cls(port, [])
        relay._routes.append(route)
        return relay

    @property
    def rule(self) -> LegRule:
        """What the callback looks like, of the one leg that is served."""
        (route,) = self._routes
        return route.rule

    async def bring(self, pasted: Pasted) -> None:
        """Deliver a callback that a person brought, and was judged, as one that the browser sent."""
        (route,) = self._routes
        request = Request("GET", pasted.target, (("host", pasted.host),))
        _, finish = await self._callback(route, request, pasted.outcome)
        if finish is not None:
            finish()
        else:
            self._finish(route, None)  # the page after it was for a browser that is not here

    @property
    def open_ms(self) -> int:
        """Milliseconds since the listeners were bound."""
        return round((time.monotonic() - self._opened) * 1000)

    async def close(self) -> None:
        """Free the port at once, let answers under way finish for a moment, then close every connection."""
        self._closed = True
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
        for route in self._routes:
            if route.idle_timer is not None:
                route.idle_timer.cancel()
            if route.upstream is not None:
                await route.upstream.close()

    # --- one connection of a browser ---------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:  # accepted before, but its turn came after
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - start_server runs this in a task
        self._tasks.add(task)
        connection = ServerConnection(reader, writer)
        try:
            await self._serve(connection, task)
            await connection.close()
        except asyncio.CancelledError:
            # The relay is closing. asyncio's streams log a cancelled handler as an error, so it ends here.
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            self._waiting.pop(task, None)

    async def _serve(self, connection: ServerConnection, task: asyncio.Task[None]) -> None:
        self._make_room()
        self._waiting[task] = None
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                request = await connection.read_request()
        except TimeoutError:
            self._stray("idle")
            return
        except MalformedRequestError:
            self._stray("malformed")
            await self._respond(connection, self._own(Page.MALFORMED))
            return
        finally:
            self._waiting.pop(task, None)
        if request is None:
            self._stray("idle")
            return
        answer, finish = await self._handle(request)
        await self._respond(connection, answer)
        if finish is not None:
            finish()

    def _make_room(self) -> None:
        if len(self._waiting) >= MAX_WAITING:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.cancel()
            self._stray("idle")

    async def _respond(self, connection: ServerConnection, answer: _Answer) -> None:
        await connection.respond(answer.status, answer.headers, answer.body)

    def _stray(self, reason: RefusalReason) -> None:
        waiting = next((route for route in self._routes if not route.done), None)
        if waiting is not None:
            waiting.observer.stray(reason)

    def _own(self, page: Page) -> _Answer:
        route = next(iter(self._routes), None)
        if route is not None:
            return route.page(page)
        status, headers, body = render(page, cli="the CLI", host="a remote machine")
        return _Answer(status, tuple(headers), body)

    # --- one request -------------------------------------------------------------------------------------------------

    async def _handle(self, request: Request) -> tuple[_Answer, Callable[[], None] | None]:
        """The answer, and what is to be done once the browser has it."""
        head = RequestHead(
            method=request.method,
            target=request.target,
            hosts=tuple(value for name, value in request.headers if name == "host"),
            content_type=request.header("content-type") or "",
            body=request.body,
        )
        match decide(head, self.port, [route.rule for route in self._routes]):
            case Refuse(_, reason):
                self._stray(reason)
                return self._own(_REFUSALS[reason]), None
            case Forward(rule, outcome):
                return await self._callback(self._route(rule), request, outcome)
            case FollowUp(rule):
                return await self._follow_up(self._route(rule), request)

    def _route(self, rule: LegRule) -> Route:
        return next(route for route in self._routes if route.rule is rule)

    async def _callback(
        self, route: Route, request: Request, outcome: Outcome
    ) -> tuple[_Answer, Callable[[], None] | None]:
        if route.answer is not None:
            return await asyncio.shield(route.answer), None
        loop = asyncio.get_running_loop()
        route.answer = loop.create_future()
        route.observer.callback(outcome)
        error: KirotunnelError | None = None
        answer = route.page(Page.UNREACHABLE)
        try:
            answer = await self._exchange(route, request, outcome)
        except KirotunnelError as exc:
            error = exc
        except Exception as exc:  # the login must not wait for an answer that nobody gives any more
            error = InternalError(f"{type(exc).__name__} while the callback was delivered")
            error.__cause__ = exc
        finally:
            route.answer.set_result(answer)
        if route.rule.follow_up is None:
            return answer, lambda: self._finish(route, error)
        route.idle_timer = loop.call_later(FOLLOW_UP_GRACE_S, self._finish, route, None)
        return answer, None

    async def _exchange(self, route: Route, request: Request, outcome: Outcome) -> _Answer:
        upstream = _Upstream(await route.dial())
        try:
            response = await upstream.exchange(request)
        except _NoAnswerError:
            await upstream.close()
            return route.page(Page.DENIED if outcome == "denied" else Page.NO_ANSWER)
        except BaseException:
            await upstream.close()
            raise
        answer, follow_up = self._relayed(route, response)
        if follow_up is None:
            await upstream.close()
        else:
            route.rule = replace(route.rule, follow_up=follow_up)
            route.upstream = upstream
        return answer

    def _relayed(self, route: Route, response: _Response) -> tuple[_Answer, str | None]:
        """The remote's answer as the browser gets it, and the page of this port to which it sends the browser."""
        headers = [(name, value) for name, value in response.headers if name in _RESPONSE_HEADERS]
        location = next((value for name, value in response.headers if name == "location"), None)
        follow_up = None
        if location is not None and 300 <= response.status < 400:
            follow_up = same_origin_target(location, self.port)
            if follow_up is None and not _may_go_to(location, route.policy):
                return route.page(Page.FORBIDDEN_REDIRECT), None
            headers.append(("location", location))
        headers += _QUIETENING
        return _Answer(response.status, tuple(headers), response.body), follow_up

    async def _follow_up(self, route: Route, request: Request) -> tuple[_Answer, Callable[[], None]]:
        upstream, route.upstream = route.upstream, None
        denied = "error=" in urlsplit(request.target).query
        answer = route.page(Page.DENIED if denied else Page.HANDED_OVER)
        if upstream is not None:
            # kiro-cli's SSO leg keeps this connection for 200 to 500 ms, then it is gone and the page is ours.
            with contextlib.suppress(_NoAnswerError):
                response = await upstream.exchange(request)
                if response.status < 300:
                    answer, _ = self._relayed(route, response)
            await upstream.close()
        return answer, lambda: self._finish(route, None)

    def _finish(self, route: Route, error: KirotunnelError | None) -> None:
        if not route.done:
            route.done = True
            route.observer.delivered(error)


_REFUSALS: Final[dict[RefusalReason, Page]] = {
    "path": Page.NOT_HERE,
    "state": Page.NOT_YOURS,
    "host": Page.NOT_YOURS,
    "method": Page.METHOD,
    "malformed": Page.MALFORMED,
    "idle": Page.MALFORMED,
}


def _may_go_to(location: str, policy: UrlPolicy) -> bool:
    """Whether the remote may send the browser there: to a sign-in host that is known or trusted, and nowhere else."""
    try:
        return check_url(location, policy).standing != "unknown"
    except KirotunnelError:
        return False


def _shown(name: tuple[str, int]) -> str:
    address, port = name[:2]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


# --- the remote's side -----------------------------------------------------------------------------------------------


class _NoAnswerError(Exception):
    """The remote closed, or said something that is no HTTP answer."""


@dataclass(slots=True)
class _Response:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(slots=True)
class _Upstream:
    """One connection to the remote listener: the callback, and at most the page after it."""

    stream: RemoteStream
    connection: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    async def exchange(self, request: Request) -> _Response:
        """Send one request and read its answer. Raises _NoAnswerError."""
        try:
            if self.connection.our_state is not h11.IDLE:
                self.connection.start_next_cycle()
            await self._send(request)
            return await self._receive()
        except (h11.ProtocolError, OSError) as exc:
            raise _NoAnswerError from exc

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

    async def _receive(self) -> _Response:
        head: h11.Response | None = None
        body = bytearray()
        while True:
            event = self.connection.next_event()
            if event is h11.NEED_DATA:
                self.connection.receive_data(await self.stream.read(16 * 1024))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_ANSWER:
                    raise _NoAnswerError
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
                return _Response(head.status_code, headers, bytes(body))
            elif not isinstance(event, h11.InformationalResponse):
                raise _NoAnswerError

    async def close(self) -> None:
        await self.stream.close()
