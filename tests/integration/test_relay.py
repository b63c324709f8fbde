"""The relay on real sockets: what reaches the remote, what the browser is shown, and that nothing stays."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from integration.relay_ends import (
    CALLBACK,
    DENIAL,
    PATIENCE,
    STATE,
    Remote,
    Reply,
    Witness,
    answer,
    ask,
    free_port,
    leased,
    leg,
    request,
    route_to,
    send,
)
from kirotunnel.errors import CallbackUndeliveredError, InternalError, LocalPortError
from kirotunnel.events import Outcome
from kirotunnel.local import loopback_server, relay
from kirotunnel.local.callback_ports import CallbackPorts
from kirotunnel.local.loopback import PortInUseError
from kirotunnel.local.loopback_server import MAX_WAITING
from kirotunnel.local.upstream import MAX_ANSWER

FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
PORTAL_SUCCESS = "https://app.kiro.dev/signin?auth_status=success"


def index_page(port: int) -> bytes:
    """The redirect with which kiro-cli's second legs answer."""
    return answer("302 Found", f"Location: http://127.0.0.1:{port}/index.html")


def is_bound(address: str, port: int) -> bool:
    """Whether anybody listens there."""
    with socket.socket(FAMILIES[address]) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError:
            return True
        return False


@contextmanager
def listening(family: socket.AddressFamily, address: str) -> Iterator[int]:
    """Somebody else who listens on a port of that address."""
    with socket.socket(family) as sock:
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, free_port()))
        sock.listen()
        yield sock.getsockname()[1]


@pytest.fixture(autouse=True)
async def complaints() -> AsyncIterator[None]:
    """A connection's handler that fails is only logged by asyncio: here it fails the test."""
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    yield
    assert said == []


# --- Binding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::"),
    ],
    ids=["127.0.0.1", "::1", "0.0.0.0", "::"],
)
async def test_a_port_that_is_taken_on_either_family_is_refused_and_its_holder_named(
    family: socket.AddressFamily, address: str
) -> None:
    with listening(family, address) as port:
        with pytest.raises(PortInUseError) as caught:
            await leased(port)
        assert (caught.value.code, caught.value.exit_code) == ("KT501", 7)
        assert f"(pid {os.getpid()}" in caught.value.message
        assert f":{port} is already in use by" in caught.value.message
        other = "127.0.0.1" if family is socket.AF_INET6 else "::1"
        assert not is_bound(other, port), "one of the two stayed bound"


async def test_the_holder_in_another_process_is_named_with_what_ends_it() -> None:
    port = free_port()
    code = f"import socket; s = socket.create_server(('127.0.0.1', {port})); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        await asyncio.to_thread(holder.stdout.readline)
        with pytest.raises(LocalPortError) as caught:
            await leased(port)
        holder.stdin.close()
    assert f"pid {holder.pid}" in caught.value.message
    assert f"`kill {holder.pid}`" in caught.value.hint


@pytest.mark.parametrize("address", FAMILIES)
async def test_the_callback_is_taken_on_both_addresses(address: str) -> None:
    async with leg() as here:
        reply = await here.ask(CALLBACK, address=address)
        assert (reply.status, reply.title) == (200, "Done")
        assert here.lease.listen == (f"127.0.0.1:{here.port}", f"[::1]:{here.port}")
        assert here.remote.targets == [CALLBACK]


# --- One callback -----------------------------------------------------------------------------------------------------


async def test_the_remote_is_dialled_once_with_the_callback_and_closed_when_it_is_answered() -> None:
    async with leg() as here:
        assert here.remote.streams == []
        await here.ask(CALLBACK)
        await here.seen.until(here.seen.errors, 1)
        assert (here.seen.callbacks, here.seen.errors, here.seen.strays) == (["granted"], [None], [])
        assert [stream.closed for stream in here.remote.streams] == [True]


async def test_a_denial_is_delivered_as_one() -> None:
    async with leg() as here:
        await here.ask(DENIAL)
        assert (here.seen.callbacks, here.remote.targets) == (["denied"], [DENIAL])


async def test_the_remote_gets_the_request_and_neither_cookies_nor_other_headers_of_the_browser() -> None:
    private = ["Cookie: session=s3cr3t", "Authorization: Basic czpz", "Referer: http://localhost/x", "X-Odd: y"]
    async with leg() as here:
        await here.ask(CALLBACK, "User-Agent: Probe/1", "Accept: */*", "Connection: keep-alive", *private)
        head = here.remote.requests[0].lower().split("\r\n")
        assert head[0] == f"get {CALLBACK} http/1.1".lower()
        assert sorted(head[1:-2]) == ["accept: */*", f"host: localhost:{here.port}", "user-agent: probe/1"]


async def test_the_browser_gets_the_page_and_neither_cookies_nor_other_headers_of_the_remote() -> None:
    kept = ["Content-Type: text/html; charset=utf-8", "Cache-Control: no-store"]
    dropped = [
        "Set-Cookie: a=b; Path=/",
        "Strict-Transport-Security: max-age=9",
        "Refresh: 0;url=http://evil.example",
        'Clear-Site-Data: "*"',
        "Service-Worker-Allowed: /",
        "Access-Control-Allow-Origin: *",
        "Alt-Svc: h2=evil.example:443",
        "Link: <//evil.example>; rel=preload",
    ]
    async with leg(Remote([answer("200 OK", *kept, *dropped, body="hello")])) as here:
        reply = await here.ask(CALLBACK)
        names = set(reply.headers) - {"date", "connection", "content-length"}
        quiet = {"content-security-policy", "referrer-policy", "x-content-type-options"}
        assert names == {"content-type", "cache-control", *quiet}
        assert reply.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert (reply.headers["content-type"], reply.body) == ("text/html; charset=utf-8", "hello")


async def test_a_header_that_is_not_ascii_is_passed_on_as_it_came() -> None:
    async with leg() as here:
        await here.ask(CALLBACK, "Accept-Language: fr-é")
        assert "accept-language: fr-" in here.remote.requests[0].lower()


async def test_an_answer_in_chunks_and_after_an_interim_answer_arrives_whole() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with leg(Remote([interim + final])) as here:
        assert (await here.ask(CALLBACK)).body == "abcde"


async def test_an_answer_that_ends_with_the_connection_arrives_whole() -> None:
    async with leg(Remote([b"HTTP/1.0 200 OK\r\n\r\nthe whole body"])) as here:
        assert (await here.ask(CALLBACK)).body == "the whole body"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "404 Not Found", "500 Oops", "299 Odd"])
async def test_every_status_of_the_remote_is_the_browsers(status: str) -> None:
    async with leg(Remote([f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()])) as here:
        assert (await here.ask(CALLBACK)).status == int(status[:3])
        assert here.seen.errors == [None]


async def test_a_callback_that_is_fetched_ahead_is_delivered_when_somebody_goes_there() -> None:
    async with leg() as here:
        early = await here.ask(CALLBACK, "Sec-Purpose: prefetch", "Sec-Fetch-Mode: navigate")
        assert (early.status, here.remote.requests, here.seen.strays) == (405, [], ["method"])
        clicked = await here.ask(CALLBACK, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
        assert (clicked.status, here.remote.targets, here.seen.callbacks) == (200, [CALLBACK], ["granted"])


async def test_the_same_callback_twice_is_one_request_to_the_remote_and_the_same_answer() -> None:
    async with leg() as here:
        first = await here.ask(CALLBACK)
        second = await here.ask(CALLBACK)
        assert (first.status, first.body) == (second.status, second.body)
        assert here.remote.targets == [CALLBACK]
        assert (here.seen.callbacks, here.seen.errors) == (["granted"], [None])


async def test_the_same_callback_while_the_first_is_under_way_waits_for_its_answer() -> None:
    remote = Remote()
    remote.free.clear()
    async with leg(remote) as here:
        both = [asyncio.create_task(here.ask(CALLBACK, address=address)) for address in FAMILIES]
        await here.seen.until(here.seen.callbacks, 1)
        assert not any(task.done() for task in both)
        remote.free.set()
        assert [reply.title for reply in await asyncio.gather(*both)] == ["Done", "Done"]
        assert remote.targets == [CALLBACK]


async def test_another_code_with_the_same_state_does_not_reach_the_remote_any_more() -> None:
    async with leg() as here:
        await here.ask(CALLBACK)
        reply = await here.ask(CALLBACK.replace("s3cr3t-code", "another"))
        assert (reply.title, here.remote.targets) == ("Done", [CALLBACK])


async def test_a_posted_response_reaches_the_remote_with_its_body() -> None:
    body = f"code=s3cr3t-code&state={STATE}"
    form = "Content-Type: application/x-www-form-urlencoded"
    async with leg(form_post=True) as here:
        data = request("/oauth/callback", here.port, form, method="POST", body=body)
        reply = Reply.read(await send(here.port, data))
        assert reply is not None
        assert reply.title == "Done"
        assert here.remote.requests[0].endswith(f"\r\n\r\n{body}")


async def test_a_posted_response_in_chunks_reaches_the_remote_whole() -> None:
    body = f"code=s3cr3t-code&state={STATE}"
    form = ["Content-Type: application/x-www-form-urlencoded", "Transfer-Encoding: chunked"]
    async with leg(form_post=True) as here:
        head = request("/oauth/callback", here.port, *form, method="POST")
        reply = Reply.read(await send(here.port, head + f"{len(body):x}\r\n{body}\r\n0\r\n\r\n".encode()))
        assert reply is not None
        assert reply.title == "Done"
        assert here.remote.requests[0].endswith(f"\r\n\r\n{body}")


async def test_a_browser_that_leaves_before_the_answer_does_not_stop_the_delivery() -> None:
    remote = Remote()
    remote.free.clear()
    async with leg(remote) as here:
        _, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(request(CALLBACK, here.port))
        await here.seen.until(here.seen.callbacks, 1)
        writer.transport.abort()
        remote.free.set()
        await here.seen.until(here.seen.errors, 1)
        assert here.seen.errors == [None]


# --- The page after it ------------------------------------------------------------------------------------------------


async def test_the_page_that_the_answer_names_comes_over_the_same_connection_to_the_remote() -> None:
    port = free_port()
    page = answer("200 OK", "Content-Type: text/html", body="<h1>You can close this window</h1>")
    remote = Remote([index_page(port), page])
    async with leg(remote, port=port) as here:
        first = await here.ask(CALLBACK)
        assert (first.status, first.headers["location"]) == (302, f"http://127.0.0.1:{port}/index.html")
        assert here.seen.errors == [], "delivered before the page was asked for"
        second = await here.ask("/index.html")
        assert (second.status, second.title) == (200, "You can close this window")
        assert (remote.targets, len(remote.streams)) == ([CALLBACK, "/index.html"], 1)
        await here.seen.until(here.seen.errors, 1)
        assert remote.streams[0].closed


@pytest.mark.parametrize("farewell", [None, b"\x15\x03\x01 no HTTP", answer("404 Not Found"), index_page(1)])
async def test_a_remote_that_is_gone_before_the_page_is_replaced_by_a_page_of_ours(farewell: bytes | None) -> None:
    port = free_port()
    async with leg(Remote([index_page(port), farewell]), port=port) as here:
        await here.ask(CALLBACK)
        reply = await here.ask("/index.html")
        assert (reply.status, reply.title) == (200, "Handed over to kiro-cli")
        await here.seen.until(here.seen.errors, 1)
        assert here.seen.errors == [None]


async def test_the_page_after_a_denial_is_no_success() -> None:
    port = free_port()
    remote = Remote([answer("302 Found", f"Location: http://127.0.0.1:{port}/index.html?error=access_denied"), None])
    async with leg(remote, port=port) as here:
        await here.ask(DENIAL)
        assert (await here.ask("/index.html?error=access_denied")).title == "The sign-in was denied"


async def test_the_page_is_there_again_for_a_browser_that_reloads_it() -> None:
    port = free_port()
    page = answer("200 OK", body="<h1>You can close this window</h1>")
    async with leg(Remote([index_page(port), page]), port=port) as here:
        await here.ask(CALLBACK)
        titles = [(await here.ask("/index.html")).title for _ in range(2)]
        assert titles == ["You can close this window", "Handed over to kiro-cli"]
        assert (here.seen.strays, here.seen.errors) == ([], [None])


async def test_other_pages_of_the_port_are_not_the_page_that_was_named() -> None:
    port = free_port()
    async with leg(Remote([index_page(port), answer("200 OK")]), port=port) as here:
        assert (await here.ask("/index.html")).status == 404
        await here.ask(CALLBACK)
        assert [(await here.ask(path)).status for path in ("/index.html?x", "/index", "/favicon.ico")] == [404] * 3
        assert here.remote.targets == [CALLBACK]


async def test_a_browser_that_never_asks_for_the_page_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "FOLLOW_UP_GRACE_S", 0.1)
    port = free_port()
    async with leg(Remote([index_page(port), answer("200 OK")]), port=port) as here:
        await here.ask(CALLBACK)
        await here.seen.until(here.seen.errors, 1)
        assert here.seen.errors == [None]


# --- A remote that fails ----------------------------------------------------------------------------------------------


async def test_who_is_told_of_the_callback_and_raises_ends_the_wait_for_it() -> None:
    class Raises(Witness):
        def callback(self, outcome: Outcome) -> None:
            raise EOFError

    remote, seen = Remote(), Raises()
    lease = await CallbackPorts().lease(route_to(remote, seen, free_port()))
    try:
        reply = await ask(lease.port, CALLBACK)
        await seen.until(seen.errors, 1)
    finally:
        await lease.close()
    assert reply.status == 502
    assert isinstance(seen.errors[0], InternalError)
    assert remote.requests == []


@pytest.mark.parametrize("target", [CALLBACK, DENIAL], ids=["granted", "denied"])
async def test_a_remote_that_refuses_is_told_to_the_browser_and_to_the_login(target: str) -> None:
    error = CallbackUndeliveredError("nothing takes the callback on port 3128 of dev-box any more")
    async with leg(Remote(refuses=error)) as here:
        reply = await here.ask(target)
        assert (reply.status, reply.title) == (502, "kiro-cli is no longer waiting")
        await here.seen.until(here.seen.errors, 1)
        assert here.seen.errors == [error]


# What is no answer, and how it ends: the second is what a remote says before it closes.
NO_ANSWERS: dict[str, bytes | None] = {
    "closes at once": None,
    "closes within the head": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "closes within the body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "bytes": bytes(range(256)) * 8,
    "a forged second answer": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\nx",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a switch of protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "a body without end": b"HTTP/1.1 200 OK\r\n\r\n" + bytes(MAX_ANSWER + 1),
    "chunks without end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + bytes(0x8000),
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000,
}


@pytest.mark.parametrize("said", NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_a_remote_without_an_answer_is_told_as_such(said: bytes | None) -> None:
    async with leg(Remote([said])) as here:
        reply = await here.ask(CALLBACK)
        assert (reply.status, reply.title) == (502, "No answer from kiro-cli")
        await here.seen.until(here.seen.errors, 1)
        # It may well be signed in: the login goes on, and asks whoami.
        assert here.seen.errors == [None]
        assert here.remote.streams[0].closed


async def test_a_denial_without_an_answer_is_shown_as_a_denial() -> None:
    async with leg(Remote([None])) as here:
        reply = await here.ask(DENIAL)
        assert (reply.status, reply.title) == (200, "The sign-in was denied")


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "file:/etc/passwd",
        "javascript:alert(1)",
        "javascript:/alert(1)",
        "data:text/html,x",
        "vscode://file/etc",
        "http://192.168.1.1/",
        "http://[::1]:22/",
        "http://127.0.0.1:1/index.html",
        "http://localhost/",
        "https://10.0.0.1/",
        "http://app.kiro.dev/signin",
        "https://kiro@app.kiro.dev/",
        "https:/evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "/\t/evil.example/",
        "https://evil.example\\@app.kiro.dev/",
        "http://localhost:{port}@evil.example/",
    ],
)
async def test_a_redirect_to_where_no_page_should_lead_is_not_passed_on(location: str) -> None:
    port = free_port()
    said = answer("302 Found", f"Location: {location.replace('{port}', str(port))}")
    async with leg(Remote([said]), port=port) as here:
        reply = await here.ask(CALLBACK)
        assert (reply.status, reply.title) == (502, "Redirect refused")
        assert "location" not in reply.headers
        await here.seen.until(here.seen.errors, 1)
        assert here.seen.errors == [None]


async def test_a_redirect_to_the_portal_is_passed_on() -> None:
    async with leg(Remote([answer("302 Found", f"Location: {PORTAL_SUCCESS}")])) as here:
        reply = await here.ask(CALLBACK)
        assert (reply.status, reply.headers["location"]) == (302, PORTAL_SUCCESS)


async def test_a_location_without_a_redirect_is_not_passed_on() -> None:
    async with leg(Remote([answer("200 OK", "Location: file:///etc/passwd", body="ok")])) as here:
        reply = await here.ask(CALLBACK)
        assert (reply.status, "location" in reply.headers) == (200, False)


# --- Strays -----------------------------------------------------------------------------------------------------------


async def test_strays_are_answered_here_and_the_remote_is_not_dialled() -> None:
    wrong_state = CALLBACK.replace(STATE, "9876543210")
    async with leg() as here:
        port = here.port
        strays = {
            request("/favicon.ico", port): (404, "path"),
            request(wrong_state, port): (403, "state"),
            request(CALLBACK, port, host="evil.example"): (403, "host"),
            request(CALLBACK, port, method="HEAD"): (405, "method"),
            request(CALLBACK, port, method="OPTIONS"): (405, "method"),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc": (400, "malformed"),
            request(CALLBACK, port).replace(b"HTTP/1.1", b"HTTP/2.0"): (400, "malformed"),
            request(CALLBACK, port, f"X: {'x' * 17_000}"): (400, "malformed"),
            request(CALLBACK, port, "Expect: 100-continue", "Content-Length: 5", method="HEAD"): (400, "malformed"),
        }
        for data, (status, reason) in strays.items():
            method = "HEAD" if data.startswith(b"HEAD") else "GET"
            reply = Reply.read(await send(port, data, end=True), method)
            assert reply is not None, data
            assert (reply.status, here.seen.strays[-1:]) == (status, [reason]), data
        assert (len(here.seen.strays), here.remote.streams, here.seen.callbacks) == (len(strays), [], [])


async def test_a_refused_method_names_the_right_one() -> None:
    async with leg() as here:
        for method in ("HEAD", "OPTIONS", "DELETE"):
            reply = await here.ask(CALLBACK, method=method)
            assert (reply.status, reply.headers["allow"], here.remote.streams) == (405, "GET", [])


async def test_pages_of_ours_are_not_stored_framed_or_scripted_and_do_not_tell_where_one_came_from() -> None:
    async with leg() as here:
        headers = (await here.ask("/favicon.ico")).headers
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def test_a_connection_without_a_request_is_closed_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback_server, "HEAD_TIMEOUT_S", 0.2)
    async with leg() as here:
        began = [b"", b"GET /oauth/callback HTTP/1.1\r\nHost: loc", request("/x", here.port)[:-2]]
        assert await asyncio.gather(*(send(here.port, data) for data in began)) == [b"", b"", b""]
        assert here.seen.strays == ["idle"] * 3


async def test_a_connection_that_is_closed_at_once_is_reported_and_nothing_more() -> None:
    async with leg() as here:
        assert await send(here.port, b"", end=True) == b""
        await here.seen.until(here.seen.strays, 1)
        assert (here.seen.strays, here.remote.streams) == (["idle"], [])


async def test_more_silent_connections_than_there_is_room_for_do_not_keep_the_callback_out() -> None:
    many = MAX_WAITING + 72
    async with leg() as here:
        silent = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", here.port) for _ in range(many)))
        await here.seen.until(here.seen.strays, many - MAX_WAITING)
        assert (await here.ask(CALLBACK)).title == "Done"
        assert set(here.seen.strays) == {"idle"}
        for _, writer in silent:
            writer.transport.abort()


CROWD = """
import resource, socket, sys, time
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
port, count, forever = map(int, sys.argv[1:])
crowd, number = [], 0
while forever or len(crowd) < count:
    sock = socket.socket(socket.AF_INET6 if len(crowd) % 2 else socket.AF_INET)
    sock.setblocking(False)
    sock.connect_ex(("::1" if len(crowd) % 2 else "127.0.0.1", port))
    crowd.append(sock)
    if len(crowd) > count:
        crowd.pop(0).close()
        if not (number := number + 1) % 300:
            time.sleep(0.03)
    if len(crowd) == count // 2:
        print("there", flush=True)
print("all", flush=True)
sys.stdin.read()
"""


@contextmanager
def crowd(port: int, count: int, *, forever: bool = False) -> Iterator[None]:
    """Another process of this machine with so many silent connections, or so many and again and again new ones."""
    command = [sys.executable, "-c", CROWD, str(port), str(count), str(int(forever))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


@pytest.fixture
def few_files() -> Iterator[None]:
    """As many open files as macOS allows a process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_files")
async def test_a_thousand_connections_at_once_neither_use_up_the_open_files_nor_keep_the_callback_out() -> None:
    async with leg() as here:
        with crowd(here.port, 1000):
            await here.seen.until(here.seen.strays, 900)
            assert len(os.listdir("/proc/self/fd")) < 200
            assert (await here.ask(CALLBACK)).title == "Done"
        assert set(here.seen.strays) == {"idle"}
        assert here.remote.targets == [CALLBACK]


async def test_a_flood_of_new_connections_does_not_push_a_browser_out_before_it_is_heard() -> None:
    async with leg() as here:
        with crowd(here.port, 400, forever=True):
            for _ in range(20):
                assert (await here.ask("/favicon.ico")).status == 404
            assert (await here.ask(CALLBACK)).title == "Done"
        assert here.remote.targets == [CALLBACK]


async def test_strays_after_the_callback_are_not_reported_for_a_leg_that_is_over() -> None:
    async with leg() as here:
        await here.ask(CALLBACK)
        await here.seen.until(here.seen.errors, 1)
        assert (await here.ask("/favicon.ico")).status == 404
        assert here.seen.strays == []


# --- The end ----------------------------------------------------------------------------------------------------------


async def test_the_port_is_free_on_both_addresses_as_soon_as_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback_server, "DRAIN_S", 60)
    async with leg() as here:
        silent = [await asyncio.open_connection(address, here.port) for address in FAMILIES]
        async with asyncio.timeout(PATIENCE):  # nobody is being answered, so nobody is waited for
            await here.lease.close()
        assert not any(is_bound(address, here.port) for address in FAMILIES)
        await (await leased(here.port)).close()
        for reader, writer in silent:
            assert await _rest(reader) == b""
            writer.transport.abort()


async def test_closing_twice_is_no_error() -> None:
    async with leg() as here:
        await here.lease.close()
        await here.lease.close()


async def test_a_callback_under_way_is_answered_while_the_port_is_free_already() -> None:
    remote = Remote()
    remote.free.clear()
    async with leg(remote) as here:
        asking = asyncio.create_task(here.ask(CALLBACK))
        await here.seen.until(here.seen.callbacks, 1)
        closing = asyncio.create_task(here.lease.close())
        await asyncio.sleep(0)  # the listeners close at the first step of the task
        with pytest.raises(ConnectionRefusedError):
            await send(here.port, b"")
        assert not any(is_bound(address, here.port) for address in FAMILIES)
        remote.free.set()
        assert (await asking).title == "Done"
        await closing
        assert (here.seen.errors, remote.streams[0].closed) == ([None], True)


async def test_a_callback_that_is_never_answered_does_not_keep_the_relay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback_server, "DRAIN_S", 0.1)
    remote = Remote()
    remote.free.clear()
    async with leg(remote) as here:
        asking = asyncio.create_task(send(here.port, request(CALLBACK, here.port)))
        await here.seen.until(here.seen.callbacks, 1)
        await here.lease.close()
        assert await asking == b""
        assert remote.streams[0].closed


async def test_a_browser_that_does_not_read_its_answer_does_not_keep_the_relay_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loopback_server, "DRAIN_S", 0.1)
    before = asyncio.all_tasks()
    async with leg(Remote([answer("200 OK", body="x" * (MAX_ANSWER - 1000))])) as here:
        # A buffer so small that the answer does not fit in it: the relay's writing waits for the browser.
        with socket.socket() as browser:
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            browser.connect(("127.0.0.1", here.port))
            browser.sendall(request(CALLBACK, here.port))
            await here.seen.until(here.seen.callbacks, 1)
            async with asyncio.timeout(PATIENCE):
                await here.lease.close()
            assert asyncio.all_tasks() - before == set()


async def test_a_connection_that_comes_as_the_relay_closes_is_not_served() -> None:
    async with leg() as here:
        _, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(request(CALLBACK, here.port))
        with socket.create_connection(("127.0.0.1", here.port)) as late:
            late.sendall(request(CALLBACK, here.port))
            await here.lease.close()
        # asyncio's own may still be handing over what it had accepted: what comes of that is no connection.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others or not (await asyncio.wait(others, timeout=PATIENCE))[1]
        assert (here.remote.streams, here.seen.callbacks) == ([], [])
        writer.transport.abort()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """What is still to be read; a reset is an end."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    except ConnectionError:
        return b""
