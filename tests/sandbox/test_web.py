"""The web server answers on every address that it was given, and leaves nothing open behind it."""

import asyncio
import errno
import socket
from contextlib import suppress

import pytest

from kirotunnel.local.http1 import Request
from kirotunnel.sandbox.web import BadRequestError, Response, Route, WebServer, origin, query_of
from sandbox.sign_in_client import http_client


def hello(request: Request) -> Response:
    return Response(200, (("Content-Type", "text/plain"),), f"hello {query_of(request).get('name', '')}".encode())


def broken(request: Request) -> Response:
    raise LookupError("a detail")


ROUTES = [
    Route("test", "hello", "GET", "/hello", hello),
    Route("test", lambda request: "by method " + request.method, "POST", "/hello", hello),
    Route("test", "broken", "GET", "/broken", broken),
]


async def test_all_addresses_answer_on_one_port() -> None:
    async with WebServer(listen=("127.0.0.1", "::1", "127.0.0.2")) as web, http_client() as http:
        web.add_routes(ROUTES)
        for address in web.addresses:
            answer = await http.get(f"{origin(address, web.port)}/hello?name=you")
            assert answer.text == "hello you"
        assert web.seen == [("test", "hello")] * 3


async def test_the_port_is_free_again_and_silent_connections_are_closed() -> None:
    async with WebServer() as web:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        port = web.port
    # Aborted, or ended: either way there is nothing more to come.
    with suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    socket.create_server(("127.0.0.1", port)).close()
    with pytest.raises(RuntimeError):
        _ = web.port


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with WebServer() as web:
        web.add_routes(ROUTES)
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        for _ in range(2):
            writer.write(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(6) == b"hello "
        writer.close()
        await writer.wait_closed()


async def test_a_port_that_is_taken_is_an_error_and_leaves_no_socket_open() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use") as caught:
            await WebServer(listen=("127.0.0.1", "127.0.0.2"), port=port).__aenter__()
        assert caught.value.errno == errno.EADDRINUSE
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("listen", [("localhost",), ("",), ()])
def test_only_literal_addresses_are_listened_on(listen: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="address"):
        WebServer(listen=listen)


async def test_unknown_paths_and_methods_are_told_apart_and_recorded_without_their_names() -> None:
    async with WebServer() as web, http_client() as http:
        web.add_routes(ROUTES)
        base = origin("127.0.0.1", web.port)
        assert (await http.get(f"{base}/secret")).status_code == 404
        wrong_method = await http.put(f"{base}/hello")
        assert (wrong_method.status_code, wrong_method.headers["allow"]) == (405, "GET, POST")
        assert (await http.get(f"{base}/favicon.ico")).status_code == 204
        assert (await http.post(f"{base}/hello")).status_code == 200
        assert web.seen == [("none", "unknown path"), ("none", "unknown path"), ("test", "by method POST")]


async def test_head_is_answered_like_get_without_a_body() -> None:
    async with WebServer() as web, http_client() as http:
        web.add_routes(ROUTES)
        answer = await http.head(f"{origin('127.0.0.1', web.port)}/hello")
        assert (answer.status_code, answer.content) == (200, b"")


async def test_a_bug_in_a_handler_is_an_answer_and_a_log_entry(caplog: pytest.LogCaptureFixture) -> None:
    async with WebServer() as web, http_client() as http:
        web.add_routes(ROUTES)
        answer = await http.get(f"{origin('127.0.0.1', web.port)}/broken?code=secret")
        assert answer.status_code == 500
        assert "a detail" not in answer.text
        assert "the handler of GET /broken failed" in caplog.text
        assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET /hello HTTP/1.1\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /hello?a=1&a=2 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ],
)
async def test_what_is_no_good_request_is_refused(request_text: bytes) -> None:
    async with WebServer() as web:
        web.add_routes(ROUTES)
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(request_text)
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        await writer.wait_closed()


def test_a_route_given_twice_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="routed twice"):
        WebServer().add_routes([ROUTES[0], Route("test", "other", "GET", "/hello", hello)])


def test_a_parameter_given_twice_cannot_be_read() -> None:
    with pytest.raises(BadRequestError):
        query_of(Request("GET", "/?a=1&a=2", ()))
