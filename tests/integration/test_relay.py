"""The relay on real sockets: what reaches the remote, what the browser is shown, and that nothing stays."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from integration.relay_ends import (
    CALLBACK,
    DENIAL,
    PATIENCE,
    STATE,
    Remote,
    Reply,
    answer,
    ask,
    free_port,
    leg,
    request,
    send,
)

from kirotunnel.errors import CallbackUndeliveredError, LocalPortError
from kirotunnel.local.loopback import PortInUseError
from kirotunnel.local.relay import DRAIN_S, MAX_ANSWER, MAX_WAITING, Relay

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
            await Relay.open(port)
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
            await Relay.open(port)
        holder.stdin.close()
    assert f"pid {holder.pid}" in caught.value.message
    assert f"`kill {holder.pid}`" in caught.value.hint


@pytest.mark.parametrize("address", FAMILIES)
async def test_the_callback_is_taken_on_both_addresses(address: str) -> None:
    async with leg() as here:
        reply = await here.ask(CALLBACK, address=address)
        assert (reply.status, reply.title) == (200, "Done")
        assert here.relay.listen == (f"127.0.0.1:{here.port}", f"[::1]:{here.port}")
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
        assert names == {"content-type", "cache-control", "referrer-policy", "x-content-type-options"}
        assert (reply.headers["content-type"], reply.body) == ("text/html; charset=utf-8", "hello")


async def test_an_answer_in_chunks_and_after_an_interim_answer_arrives_whole() -> None:
    said = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with leg(Remote([said])) as here:
        assert (await here.ask(CALLBACK)).body == "abcde"


async def test_an_answer_that_ends_with_the_connection_arrives_whole() -> None:
    async with leg(Remote([b"HTTP/1.0 200 OK\r\n\r\nthe whole body"])) as here:
        assert (await here.ask(CALLBACK)).body == "the whole body"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "404 Not Found", "500 Oops", "299 Odd"])
async def test_every_status_of_the_remote_is_the_browsers(status: str) -> None:
    async with leg(Remote([f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()])) as here:
        assert (await here.ask(CALLBACK)).status == int(status[:3])
        assert here.seen.errors == [None]


async def test_the_same_callback_twice_is_one_request_to_the_remote_and_the_same_answer() -> None:
    async with leg() as here:
        first = await here.ask(CALLBACK, "Sec-Purpose: prefetch")
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
    async with leg_at(port, remote) as here:
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
    async with leg_at(port, Remote([index_page(port), farewell])) as here:
        await here.ask(CALLBACK)
        reply = await here.ask("/index.html")
        assert (reply.status, reply.title) == (200, "Handed over to kiro-cli")
        await here.seen.until(here.seen.errors, 1)
        assert here.seen.errors == [None]


async def test_the_page_after_a_denial_is_no_success() -> None:
    port = free_port()
    remote = Remote([answer("302 Found", f"Location: http://127.0.0.1:{port}/index.html?error=access_denied"), None])
    async with leg_at(port, remote) as here:
        await here.ask(DENIAL)
        assert (await here.ask("/index.html?error=access_denied")).title == "The sign-in was denied"


async def test_the_page_is_there_again_for_a_browser_that_reloads_it() -> None:
    port = free_port()
    page = answer("200 OK", body="<h1>You can close this window</h1>")
    async with leg_at(port, Remote([index_page(port), page])) as here:
        await here.ask(CALLBACK)
        titles = [(await here.ask("/index.html")).title for _ in range(2)]
        assert titles == ["You can close this window", "Handed over to kiro-cli"]
        assert (here.seen.strays, here.seen.errors) == ([], [None])


async def test_other_pages_of_the_port_are_not_the_page_that_was_named() -> None:
    port = free_port()
    async with leg_at(port, Remote([index_page(port), answer("200 OK")])) as here:
        assert (await here.ask("/index.html")).status == 404
        await here.ask(CALLBACK)
        assert [(await here.ask(path)).status for path in ("/index.html?x", "/index", "/favicon.ico")] == [404] * 3
        assert here.remote.targets == [CALLBACK]


async def test_a_browser_that_never_asks_for_the_page_is_not_waited_for_long() -> None:
    port = free_port()
    async with leg_at(port, Remote([index_page(port), answer("200 OK")])) as here:
        await here.ask(CALLBACK)
        await here.seen.until(here.seen.errors, 1)
        assert here.seen.errors == [None]


@asynccontextmanager_leg
async def leg_at() -> None: ...
