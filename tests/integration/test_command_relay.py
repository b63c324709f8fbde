"""What passes between a browser and a command's listener, over real connections of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from integration.relay_ends import PATIENCE, Leg, Remote, Reply, Witness, answer, free_port, request, send
from kirotunnel.errors import CallbackUndeliveredError
from kirotunnel.local.callback_ports import CallbackPorts
from kirotunnel.local.command_relay import MAX_AT_ONCE, CommandRoute
from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import LegRule, Widening
from kirotunnel.wire.redirect import UrlPolicy

GOOD = "/callback?code=c-1&state=right"
NULL = ("Origin: null", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Sec-Fetch-Site: cross-site")
LEADS_AWAY = answer("302 Found", "Location: https://elsewhere.example/")


@asynccontextmanager
async def open_leg(remote: Remote, *, judge: Callable[..., Any] | None = None, **more: Any) -> AsyncIterator[Leg]:
    port, seen = free_port(), Witness()
    wider = {name: more.pop(name) for name in tuple(more) if name in Widening.__slots__}
    rule = LegRule(
        leg=1, paths=frozenset({"/callback"}), state=Secret("right"), form_post=True, wider=Widening(**wider)
    )
    lease = await CallbackPorts(None).lease(
        CommandRoute(
            rule=rule, port=port, dial=remote.dial, observer=seen, cli="acme", host="dev-box", policy=UrlPolicy(),
            judge=judge, **more,
        )
    )  # fmt: skip
    try:
        yield Leg(lease, remote, seen)
    finally:
        await lease.close()


async def test_the_same_callback_again_gets_the_same_answer_and_is_delivered_once() -> None:
    async with open_leg(Remote()) as leg:
        first, second = await asyncio.gather(leg.ask(GOOD), leg.ask(GOOD))
        assert first == second == await leg.ask(GOOD)
        assert leg.remote.targets == [GOOD]
        assert leg.seen.callbacks == ["granted"]


async def test_after_a_bad_code_a_better_one_is_delivered() -> None:
    async with open_leg(Remote([answer("400 Bad Request", body="<h1>No</h1>")])) as leg:
        assert (await leg.ask(GOOD)).status == 400
        assert (await leg.ask("/callback?code=c-2&state=right")).status == 400
        assert len(leg.remote.targets) == 2
        assert leg.seen.errors == [None, None]


@pytest.mark.parametrize(
    "target", ["/callback?code=c&state=wrong", "/callback", "/favicon.ico", "/", "/callback?code=c"]
)
async def test_strays_never_reach_it(target: str) -> None:
    async with open_leg(Remote()) as leg:
        assert (await leg.ask(target)).status in {403, 404}
        assert leg.remote.streams == []
        assert len(leg.seen.strays) == 1


async def test_cookies_stay_here_both_ways() -> None:
    remote = Remote([answer("200 OK", "Set-Cookie: a=b", "Content-Type: text/html", body="x")])
    async with open_leg(remote, pages=True) as leg:
        reply = await leg.ask(GOOD, "Cookie: secret=1")
        assert "secret" not in remote.requests[0]
        assert "set-cookie" not in reply.headers


async def test_a_posted_answer_goes_through_with_its_type_and_body() -> None:
    async with open_leg(Remote()) as leg:
        form = ("Content-Type: application/x-www-form-urlencoded",)
        sent = request("/callback", leg.port, *form, method="POST", body="code=c&state=right")
        assert Reply.read(await send(leg.port, sent)) is not None
        (came,) = leg.remote.requests
        assert came.startswith("POST /callback ")
        assert "content-type: application/x-www-form-urlencoded" in came.lower()
        assert came.endswith("\r\n\r\ncode=c&state=right")


async def test_the_answer_in_the_fragment_goes_by_a_page_whose_script_has_no_origin() -> None:
    async with open_leg(Remote(), fragment=True) as leg:
        token = "/token?access_token=t&state=right"
        assert (await leg.ask(token, *NULL)).status == 404  # no page of the remote's is there yet
        page = await leg.ask("/callback")
        policy = page.headers["content-security-policy"]
        assert "sandbox allow-scripts allow-forms;" in policy
        assert "allow-same-origin" not in policy
        assert f"connect-src http://localhost:{leg.port} " in policy
        reply = await leg.ask(token, *NULL)
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, "null")
        assert leg.remote.targets == ["/callback", token]
        assert leg.seen.callbacks == ["granted"]


async def test_what_such_a_script_may_send_is_answered_here() -> None:
    async with open_leg(Remote(), fragment=True) as leg:
        await leg.ask("/callback")
        asked = (*NULL, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")
        reply = await leg.ask("/token", *asked, method="OPTIONS")
        assert reply.headers["access-control-allow-methods"] == "POST"
        assert reply.headers["access-control-allow-headers"] == "content-type"
        assert leg.remote.targets == ["/callback"]


async def test_the_sign_in_pages_own_script_may_send_the_answer_and_read_what_is_said_to_it() -> None:
    origin = "https://app.acme.example"
    site = (f"Origin: {origin}", *NULL[1:])
    asked = (*site, "Access-Control-Request-Method: POST", "Access-Control-Request-Private-Network: true")
    async with open_leg(Remote(), origins=frozenset({origin})) as leg:
        may = await leg.ask("/success", *asked, method="OPTIONS")
        assert (may.status, may.headers["access-control-allow-origin"]) == (204, origin)
        assert may.headers["access-control-allow-private-network"] == "true"
        assert leg.remote.targets == []
        said = await leg.ask("/success?token=t", *site)
        assert (said.status, said.headers["access-control-allow-origin"]) == (200, origin)
        stranger = await leg.ask("/success?token=t", "Origin: https://evil.example", *NULL[1:])
        assert stranger.status in {403, 404, 405}
        assert "access-control-allow-origin" not in stranger.headers
        assert leg.remote.targets == ["/success?token=t"]
        assert leg.seen.callbacks == ["granted"]


async def test_without_a_reason_pages_of_the_remote_run_no_script() -> None:
    async with open_leg(Remote()) as leg:
        assert (await leg.ask(GOOD)).headers["content-security-policy"].startswith("sandbox; default-src 'none'")


async def test_the_browser_that_goes_away_does_not_break_off_what_the_command_is_about() -> None:
    async with open_leg(Remote()) as leg:
        leg.remote.free.clear()
        _, writer = await asyncio.open_connection("127.0.0.1", leg.port)
        writer.write(request(GOOD, leg.port))
        await leg.seen.until(leg.seen.callbacks, 1)
        writer.transport.abort()
        leg.remote.free.set()
        await leg.seen.until(leg.seen.errors, 1)
        assert leg.seen.errors == [None]


async def test_the_answer_is_of_the_sign_in_whose_callback_it_was() -> None:
    async with open_leg(Remote()) as leg:
        leg.remote.free.clear()
        asking = asyncio.create_task(leg.ask(GOOD))
        await leg.seen.until(leg.seen.callbacks, 1)
        route, another = leg.lease.route, Witness()
        assert isinstance(route, CommandRoute)
        route.become(replace(route, observer=another))
        leg.remote.free.set()
        await asking
        assert (leg.seen.errors, another.errors) == ([None], [])


async def test_who_is_not_patient_gets_a_page_of_ours_while_the_command_goes_on() -> None:
    async with open_leg(Remote(), patience_s=0.05) as leg:
        leg.remote.free.clear()
        assert "still at work" in (await leg.ask(GOOD)).body
        leg.remote.free.set()
        await leg.seen.until(leg.seen.errors, 1)
        assert "Done" in (await leg.ask(GOOD)).body
        assert leg.remote.targets == [GOOD]


@pytest.mark.parametrize(("yes", "status"), [(True, 302), (False, 200)])
async def test_where_an_answer_leads_the_browser_is_judged(yes: bool, status: int) -> None:
    judged: list[tuple[str, bool]] = []

    async def judge(location: str, after_callback: bool) -> bool:
        judged.append((location, after_callback))
        return yes

    async with open_leg(Remote([LEADS_AWAY]), judge=judge) as leg:
        reply = await leg.ask(GOOD)
        assert (reply.status, "elsewhere" in reply.headers.get("location", "")) == (status, yes)
        assert judged == [("https://elsewhere.example/", True)]


async def test_a_page_that_it_begins_with_may_not_lead_just_anywhere() -> None:
    async def judge(location: str, after_callback: bool) -> bool:
        return False

    async with open_leg(Remote([LEADS_AWAY]), judge=judge, start=Secret("/auth?state=right")) as leg:
        reply = await leg.ask("/auth?state=right")
        assert (reply.status, reply.title) == (502, "Redirect refused")
        assert leg.seen.callbacks == []


async def test_the_page_after_the_callback_is_fetched_and_ours_where_the_command_is_gone() -> None:
    remote = Remote([answer("302 Found", "Location: /done")])
    async with open_leg(remote) as leg:
        assert (await leg.ask(GOOD)).headers["location"] == "/done"
        remote.refuses = CallbackUndeliveredError("gone")
        reply = await leg.ask("/done")
        assert (reply.status, reply.title) == (200, "Handed over to acme")
        assert leg.seen.errors == [None]


async def test_a_callback_that_nobody_takes_is_said_on_both_sides() -> None:
    async with open_leg(Remote(refuses=CallbackUndeliveredError("nobody"))) as leg:
        assert (await leg.ask(GOOD)).title == "acme is no longer waiting"
        assert isinstance(leg.seen.errors[0], CallbackUndeliveredError)


async def test_an_answer_that_never_comes_ends_with_the_leg() -> None:
    async with open_leg(Remote()) as leg:
        leg.remote.free.clear()
        asking = asyncio.create_task(leg.ask(GOOD))
        await leg.seen.until(leg.seen.callbacks, 1)
    with pytest.raises(AssertionError, match="closed without an answer"):
        await asking


START = "/auth?state=right"


async def flooded(leg: Leg, target: str = START) -> list[asyncio.StreamWriter]:
    """Sixteen requests, each of which waits for the command."""
    leg.remote.free.clear()
    writers = []
    for number in range(MAX_AT_ONCE):
        _, writer = await asyncio.open_connection("127.0.0.1", leg.port)
        writer.write(request(target.format(number), leg.port))
        writers.append(writer)
    await until(lambda: len(leg.remote.requests) == MAX_AT_ONCE)
    return writers


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.01)


async def test_pages_beyond_what_a_sign_in_needs_are_answered_here_and_keep_no_callback_out() -> None:
    async with open_leg(Remote(), start=Secret(START)) as leg:
        writers = await flooded(leg)
        reply = await leg.ask(START)
        assert (reply.status, reply.title) == (503, "Too much at once")
        assert leg.seen.strays == ["idle"]
        asking = asyncio.create_task(leg.ask(GOOD))
        await leg.seen.until(leg.seen.callbacks, 1)
        leg.remote.free.set()
        assert (await asking).status == 200
        assert leg.remote.targets == [START] * MAX_AT_ONCE + [GOOD]
        for writer in writers:
            writer.transport.abort()


async def test_so_are_callbacks_without_end() -> None:
    async with open_leg(Remote()) as leg:
        writers = await flooded(leg, "/callback?code=many-{}&state=right")
        assert (await leg.ask(GOOD)).status == 503
        for writer in writers:  # a callback goes on without who brought it
            writer.transport.abort()
        leg.remote.free.set()
        await leg.seen.until(leg.seen.errors, MAX_AT_ONCE)
        assert (await leg.ask(GOOD)).status == 200


async def test_a_page_that_nobody_waits_for_any_more_is_let_go_of() -> None:
    async with open_leg(Remote(), start=Secret(START)) as leg:
        for writer in await flooded(leg):
            writer.transport.abort()
        await until(lambda: all(stream.closed for stream in leg.remote.streams))
        leg.remote.free.set()
        assert (await leg.ask(START)).status == 200
