"""A small web server for the sign-in services: from method and path to handler, within an `async with`."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import logging
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import SplitResult, parse_qsl, urlsplit

from kirotunnel.local.http1 import MalformedRequestError, Request, ServerConnection

_log: Final = logging.getLogger(__name__)

IDLE_S: Final = 90.0
"""How long a connection may wait for its next request: longer than any person needs between two pages."""
_PORT_ATTEMPTS: Final = 16
# RFC 9110 §7.2, without what no client of ours sends: anything else must not end up in a URL that we print.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class BadRequestError(Exception):
    """The request cannot be read: a broken body, a parameter given twice, no usable Host."""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer, whole."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The value of that header; None where it is missing."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


Handler = Callable[[Request], Response]
Operation = str | Callable[[Request], str]


@dataclass(frozen=True, slots=True)
class Route:
    """What a method and a path lead to, and under which name it is recorded."""

    service: str
    operation: Operation
    method: str
    path: str
    handler: Handler

    def name(self, request: Request) -> tuple[str, str]:
        """The service and the operation, as recorded: never a value out of the request."""
        operation = self.operation if isinstance(self.operation, str) else self.operation(request)
        return self.service, operation


def json_response(status: int, body: object, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """An answer in JSON; token answers are never cached (RFC 6749 §5.1), so none is."""
    fixed = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
    return Response(status, (*fixed, *headers), json.dumps(body).encode())


def redirect(url: str) -> Response:
    """Send the browser elsewhere by GET.

    303, not 307: a form that was posted here must not be posted there (RFC 9700 §4.12).
    """
    return Response(303, (("Location", url), ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer")))


def path_of(request: Request) -> str:
    """The path of the request target, as sent."""
    return request.target.partition("?")[0]


def query_of(request: Request) -> dict[str, str]:
    """The query parameters; one given twice is an error (RFC 6749 §3.1)."""
    return _single(request.target.partition("?")[2])


def form_of(request: Request) -> dict[str, str]:
    """The parameters of a form body (RFC 6749 §4.1.3)."""
    content_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if content_type != "application/x-www-form-urlencoded":
        raise BadRequestError("The body must be application/x-www-form-urlencoded")
    try:
        return _single(request.body.decode("ascii"))
    except UnicodeDecodeError as exc:
        raise BadRequestError("The form is not ASCII") from exc


def json_of(request: Request) -> dict[str, object]:
    """The members of a JSON body."""
    try:
        value = json.loads(request.body)
    except ValueError as exc:
        raise BadRequestError("The body is not JSON") from exc
    if not isinstance(value, dict):
        raise BadRequestError("The body is not a JSON object")
    return value


def asked_origin(request: Request) -> str:
    """The origin by which this client reaches the server: machines on several networks know it by several addresses."""
    host = request.header("host") or ""
    if not _HOST.fullmatch(host):
        raise BadRequestError("The Host header is no host")
    return f"http://{host}"


def web_address(text: str) -> SplitResult | None:
    """The parts of an http or https URL; None for anything else."""
    try:
        url = urlsplit(text)
    except ValueError:
        return None
    return url if url.scheme in {"http", "https"} and url.hostname else None


def _single(encoded: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True, max_num_fields=64):
        if name in values:
            raise BadRequestError("A parameter is given twice")
        values[name] = value
    return values


def origin(address: str, port: int) -> str:
    """The http origin by which a server on this literal address and port can be reached."""
    if ipaddress.ip_address(address).is_unspecified:
        address = "::1" if ":" in address else "127.0.0.1"
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


class WebServer:
    """Answers requests by its routes on every given address, all on one port."""

    def __init__(self, *, listen: Sequence[str] = ("127.0.0.1",), port: int = 0) -> None:
        self.addresses = tuple(str(ipaddress.ip_address(address)) for address in listen)
        if not self.addresses:
            raise ValueError("a server needs an address to listen on")
        self.seen: list[tuple[str, str]] = []
        """What arrived, in order: (service, operation)."""
        self._wanted_port = port
        self._port = 0
        self._routes: dict[tuple[str, str], Route] = {}
        self._servers: list[asyncio.Server] = []
        self._closing = False
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def port(self) -> int:
        """The port, the same on all addresses; known once the server is entered."""
        if not self._port:
            raise RuntimeError("the server is not listening")
        return self._port

    def add_routes(self, routes: Iterable[Route]) -> None:
        """Answer these as well. Two routes of one method and path are a mistake of ours."""
        for route in routes:
            if self._routes.setdefault((route.method, route.path), route) is not route:
                raise ValueError(f"{route.method} {route.path} is routed twice")

    async def __aenter__(self) -> Self:
        sockets = _bind(self.addresses, self._wanted_port)
        self._port = sockets[0].getsockname()[1]
        self._servers = [await asyncio.start_server(self._accept, sock=sock) for sock in sockets]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for server in self._servers:
            server.close()
        # Browsers keep silent connections open for minutes; aborted, since a close would wait for them to read.
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()
        self._servers, self._port, self._closing = [], 0, False

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closing:  # it was accepted just before the listener was closed
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(ServerConnection(reader, writer)))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _serve(self, connection: ServerConnection) -> None:
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    request = await connection.read_request()
                if request is None:
                    return
                response = self._answer(request)
                body = b"" if request.method == "HEAD" else response.body
                await connection.respond(response.status, response.headers, body, close=False)
                if not connection.reusable:
                    return
                connection.next_cycle()
        except MalformedRequestError:
            await connection.respond(400, (), b"")
        except TimeoutError:
            return
        finally:
            await connection.close()

    def _answer(self, request: Request) -> Response:
        if request.count("host") != 1:
            return _text(400, "A request has exactly one Host header")
        method = "GET" if request.method == "HEAD" else request.method
        path = path_of(request)
        route = self._routes.get((method, path))
        if route is None:
            return self._unrouted(path)
        try:
            self.seen.append(route.name(request))
            return route.handler(request)
        except BadRequestError as exc:
            return _text(400, str(exc))
        except Exception:
            _log.exception("the handler of %s %s failed", method, path)
            return _text(500, "The sign-in service has a bug; its log has the details")

    def _unrouted(self, path: str) -> Response:
        if path == "/favicon.ico":
            return Response(204)
        self.seen.append(("none", "unknown path"))
        allowed = ", ".join(sorted(method for method, known in self._routes if known == path))
        if allowed:
            return _text(405, "Not this way", (("Allow", allowed),))
        return _text(404, "There is no such page")


def _text(status: int, text: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    fixed = (("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"))
    return Response(status, (*fixed, *headers), f"{text}\n".encode())


def _bind(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Listening sockets on one port of every address; with port 0 a port that is free on all of them."""
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        try:
            return _bind_once(addresses, port)
        except OSError as exc:
            if port or exc.errno != errno.EADDRINUSE or attempt == _PORT_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _bind_once(addresses: Sequence[str], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = socket.create_server((address, port), family=family)
            sockets.append(sock)
            port = sock.getsockname()[1]
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets
