"""On real sockets, since that is what it is about; a test takes milliseconds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import httpx
import pytest

from kirotunnel.errors import CallbackPortsBusyError, LocalPortError
from kirotunnel.events import RefusalReason
from kirotunnel.local import callback_server, loopback_server
from kirotunnel.local.callback_server import CallbackServer
from kirotunnel.local.pages import Page
from kirotunnel.redaction import Secret

STATE = "s3cr3t-state"
GOOD = f"code=c&state={STATE}"


class Listening:
    def __init__(self, server: CallbackServer, refused: list[RefusalReason]) -> None:
        self.server = server
        self.refused = refused

    def url(self, rest: str = f"/oauth/callback?{GOOD}", host: str = "localhost") -> str:
        return f"http://{host}:{self.server.port}{rest}"


@pytest.fixture(params=["get", "form_post"])
async def listening(request: pytest.FixtureRequest) -> AsyncIterator[Listening]:
    refused: list[RefusalReason] = []
    server = await CallbackServer.open(
        (0,),
        leg=1,
        paths={"/oauth/callback"},
        state=Secret(STATE),
        host="box",
        form_post=request.param == "form_post",
        on_refused=refused.append,
    )
    yield Listening(server, refused)
    await server.close()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        yield client


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_the_callback_on_each_address_and_the_page_waits_for_the_end(
    listening: Listening, http: httpx.AsyncClient, host: str
) -> None:
    visit = asyncio.create_task(http.get(listening.url(host=host)))
    callback = await listening.server.callback()
    assert (callback.path, callback.parameters.reveal(), callback.outcome) == (
        "/oauth/callback",
        {"code": "c", "state": STATE},
        "granted",
    )
    assert STATE not in repr(callback)
    await asyncio.sleep(0.02)  # in which it would be answered
    assert not visit.done()
    listening.server.show(Page.SIGNED_IN)
    response = await visit
    assert response.status_code == 200
    assert "You are signed in" in response.text
    assert "kirotunnel on box" in response.text
    assert STATE not in response.text + str(response.headers)


async def test_a_form_is_taken_only_where_one_was_asked_for(
    request: pytest.FixtureRequest, listening: Listening, http: httpx.AsyncClient
) -> None:
    listening.server.show(Page.SIGNED_IN)
    form = {"code": "c", "state": STATE}
    response = await http.post(listening.url("/oauth/callback"), data=form)
    if "form_post" in request.node.name:
        assert response.status_code == 200
        assert (await listening.server.callback()).parameters.reveal() == form
    else:
        assert (response.status_code, response.headers["allow"]) == (405, "GET")


async def test_an_error_counts_before_a_code(listening: Listening, http: httpx.AsyncClient) -> None:
    listening.server.show(Page.DENIED)
    await http.get(listening.url(f"/oauth/callback?error=access_denied&{GOOD}"))
    assert (await listening.server.callback()).outcome == "denied"


async def test_a_browser_that_asks_again_gets_the_same_page_and_nothing_happens_twice(
    listening: Listening, http: httpx.AsyncClient
) -> None:
    visits = [asyncio.create_task(http.get(listening.url())) for _ in range(3)]
    await listening.server.callback()
    other = asyncio.create_task(http.get(listening.url(f"/oauth/callback?code=other&state={STATE}")))
    await asyncio.sleep(0.02)  # until that one waits as well
    listening.server.show(Page.NOT_SIGNED_IN)
    listening.server.show(Page.SIGNED_IN)  # too late
    assert {(await visit).text for visit in [*visits, other]} == {(await visits[0]).text}
    assert "Nobody was signed in" in (await other).text
    assert (await listening.server.callback()).parameters.reveal()["code"] == "c"


@pytest.mark.parametrize(
    ("rest", "status", "reason"),
    [
        ("/favicon.ico", 404, "path"),
        ("/", 404, "path"),
        (f"/oauth/callback/?{GOOD}", 404, "path"),
        (f"/signin/callback?{GOOD}", 404, "path"),
        ("/oauth/callback", 403, "state"),
        ("/oauth/callback?" + urlencode({"code": "c", "state": "wrong"}), 403, "state"),
        ("/oauth/callback?" + urlencode({"error": "access_denied", "state": STATE[:-1]}), 403, "state"),
        (f"/oauth/callback?{GOOD}&state=x", 400, "malformed"),
    ],
)
async def test_strangers_are_answered_and_end_nothing(
    listening: Listening, http: httpx.AsyncClient, rest: str, status: int, reason: RefusalReason
) -> None:
    response = await http.get(listening.url(rest))
    assert (response.status_code, listening.refused) == (status, [reason])
    assert "signed in" not in response.text
    listening.server.show(Page.SIGNED_IN)
    assert (await http.get(listening.url())).status_code == 200


async def test_another_name_that_leads_here_is_refused(listening: Listening, http: httpx.AsyncClient) -> None:
    response = await http.get(listening.url(), headers={"Host": "evil.example"})
    assert (response.status_code, listening.refused) == (403, ["host"])


async def test_silent_connections_are_in_nobodys_way_and_are_closed(
    listening: Listening, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loopback_server, "HEAD_TIMEOUT_S", 0.5)  # the browser among them has it, too
    silent = [await asyncio.open_connection("127.0.0.1", listening.server.port) for _ in range(5)]
    listening.server.show(Page.SIGNED_IN)
    assert (await http.get(listening.url())).status_code == 200
    for reader, writer in silent:
        assert await reader.read() == b""
        writer.close()
    assert listening.refused == ["idle"] * 5


async def test_a_flood_of_silent_connections_closes_the_oldest(
    listening: Listening, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loopback_server, "MAX_WAITING", 3)
    silent = [await asyncio.open_connection("127.0.0.1", listening.server.port) for _ in range(5)]
    listening.server.show(Page.SIGNED_IN)
    assert (await http.get(listening.url())).status_code == 200
    assert "idle" in listening.refused
    for _, writer in silent:
        writer.close()


async def test_garbage_is_answered(listening: Listening) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.server.port)
    writer.write(b"\x16\x03\x01\x02\x00garbage\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    assert listening.refused == ["malformed"]


async def test_a_browser_that_waits_too_long_is_told_to_look_at_the_terminal(
    listening: Listening, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_server, "PAGE_TIMEOUT_S", 0.05)
    assert "Not finished yet" in (await http.get(listening.url())).text


async def test_sent_on_to_another_page(listening: Listening, http: httpx.AsyncClient) -> None:
    listening.server.send_to("https://app.kiro.dev/signin?auth_status=success&redirect_from=kirocli")
    response = await http.get(listening.url())
    assert (response.status_code, response.headers["cache-control"]) == (302, "no-store")
    assert response.headers["location"] == "https://app.kiro.dev/signin?auth_status=success&redirect_from=kirocli"


async def test_closing_gives_the_browser_its_page_and_frees_the_port(
    listening: Listening, http: httpx.AsyncClient
) -> None:
    visit = asyncio.create_task(http.get(listening.url()))
    await listening.server.callback()
    await listening.server.close()
    assert "Nobody was signed in" in (await visit).text
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, listening.server.port))


async def open_on(*ports: int) -> CallbackServer:
    return await CallbackServer.open(ports, leg=1, paths={"/"}, state=Secret(STATE), host="box")


async def test_the_first_free_port_of_a_list_is_taken() -> None:
    first = await open_on(0)
    with pytest.raises(LocalPortError, match="in use"):
        await open_on(first.port)
    with pytest.raises(CallbackPortsBusyError) as caught:
        await open_on(first.port, first.port)
    assert caught.value.code == "KT503"
    second = await open_on(first.port, 0)
    assert second.port != first.port
    await first.close()
    await second.close()
