"""Many legs on one port of this machine, on real sockets: each callback at its own remote, each page at its own tab."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from html import unescape
from typing import Final

import pytest

from integration.relay_ends import PATIENCE, Leg, Remote, Reply, Witness, answer, ask, free_port, route_to
from integration.test_relay import FAMILIES, is_bound
from kirotunnel.errors import KirotunnelError
from kirotunnel.local import callback_ports
from kirotunnel.local.callback_ports import CallbackPorts
from kirotunnel.local.channel import answers
from kirotunnel.local.relay import Route

PORTAL: Final = "https://app.kiro.dev/signin?auth_status=success"


def callback_of(state: str, code: str = "s3cr3t-code") -> str:
    return f"/oauth/callback?code={code}&state={state}"


def greeting(host: str) -> Remote:
    return Remote([answer("200 OK", "Content-Type: text/html", body=f"<h1>Done on {host}</h1>")])


class Ports:
    """One owner of ports, and legs that come and go at one of them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.number = free_port()
        self.owner = CallbackPorts()
        self._stack = stack

    async def leg(self, state: str | None, remote: Remote | None = None, **more: bool) -> Leg:
        name = state or "anybody"
        remote, seen = remote or greeting(name), Witness()
        route = route_to(remote, seen, self.number, state=state, host=name)
        for option, value in more.items():
            setattr(route, option, value)
        lease = await self.owner.lease(route)
        self._stack.push_async_callback(lease.close)
        return Leg(lease, remote, seen)

    async def ask(self, target: str, address: str = "127.0.0.1") -> Reply:
        return await ask(self.number, target, address=address)


@pytest.fixture
async def ports() -> AsyncIterator[Ports]:
    async with AsyncExitStack() as stack:
        yield Ports(stack)


async def test_each_callback_reaches_the_remote_of_its_state_and_no_other(ports: Ports) -> None:
    legs = [await ports.leg(f"state{i:02}") for i in range(50)]
    order = [*range(49, -1, -2), *range(0, 50, 2)]
    replies = await asyncio.gather(
        *(ports.ask(callback_of(f"state{i:02}"), list(FAMILIES)[i % 2]) for i in order),
    )
    assert [reply.title for reply in replies] == [f"Done on state{i:02}" for i in order]
    assert [leg.remote.targets for leg in legs] == [[callback_of(f"state{i:02}")] for i in range(50)]
    assert [leg.seen.callbacks for leg in legs] == [["granted"]] * 50


async def test_the_port_is_free_with_the_last_leg_and_not_before(ports: Ports) -> None:
    first, second = await ports.leg("one"), await ports.leg("two")
    assert first.lease.listen == second.lease.listen == (f"127.0.0.1:{ports.number}", f"[::1]:{ports.number}")
    await first.lease.close()
    assert (await ports.ask(callback_of("one"))).status == 403
    third = await ports.leg("three")
    await second.lease.close()
    assert (await ports.ask(callback_of("three"))).title == "Done on three"
    await third.lease.close()
    assert not any(is_bound(address, ports.number) for address in FAMILIES)
    assert (first.remote.targets, second.remote.targets) == ([], [])


async def test_a_leg_that_ends_lets_its_own_answer_finish_and_leaves_the_others_alone(ports: Ports) -> None:
    slow, other = await ports.leg("slow"), await ports.leg("other")
    slow.remote.free.clear()
    asking = asyncio.create_task(ports.ask(callback_of("slow")))
    await slow.seen.until(slow.seen.callbacks, 1)
    closing = asyncio.create_task(slow.lease.close())
    assert (await ports.ask(callback_of("other"))).title == "Done on other"
    slow.remote.free.set()
    assert (await asking).title == "Done on slow"
    await closing
    assert other.seen.errors == [None]


async def test_the_time_of_a_leg_counts_from_its_own_lease(ports: Ports) -> None:
    first = await ports.leg("one")
    await asyncio.sleep(0.05)  # the time that is measured
    second = await ports.leg("two")
    open_ms = second.lease.open_ms  # asked first: whatever passes until the other is asked makes that one larger
    assert first.lease.open_ms - open_ms >= 40


@pytest.mark.parametrize("same", ["one", None], ids=["state", "without a state"])
async def test_a_second_leg_that_could_take_the_callback_of_the_first_is_refused(
    ports: Ports, same: str | None
) -> None:
    first = await ports.leg(same)
    thief = greeting("thief")
    with pytest.raises(KirotunnelError) as caught:
        await ports.leg(same, thief)
    assert caught.value.code == ("KT504" if same is None else "KT619")
    assert (await ports.ask(callback_of("one"))).status == 200
    assert (len(first.remote.targets), thief.targets) == (1, [])


async def test_a_leg_without_a_state_gets_what_is_nobody_elses(ports: Ports) -> None:
    anybody, own = await ports.leg(None), await ports.leg("own")
    assert (await ports.ask(callback_of("own"))).title == "Done on own"
    await own.lease.close()
    # A tab of the leg that is over, loaded again: not for whoever takes anything.
    assert (await ports.ask(callback_of("own"))).title == "Not part of this sign-in"
    assert anybody.remote.targets == []
    assert (await ports.ask(callback_of("another"))).title == "Done on anybody"
    assert own.remote.targets == [callback_of("own")]


async def test_a_stray_is_reported_once_to_the_leg_that_waits_longest(ports: Ports) -> None:
    legs = [await ports.leg(state) for state in ("one", "two", "three")]
    await ports.ask("/favicon.ico")
    assert [leg.seen.strays for leg in legs] == [["path"], [], []]
    await ports.ask(callback_of("one"))
    await ports.ask(callback_of("nobody"))
    assert [leg.seen.strays for leg in legs] == [["path"], ["state"], []]


@pytest.mark.parametrize("order", ["as they came", "the other way round"])
@pytest.mark.parametrize("fragment", ["", "#x"])
async def test_pages_of_one_name_come_from_the_remote_that_named_them(ports: Ports, order: str, fragment: str) -> None:
    hosts = ("one", "two", "three")
    remotes = {
        host: Remote(
            [
                answer("302 Found", f"Location: http://127.0.0.1:{ports.number}/index.html{fragment}"),
                answer("200 OK", "Content-Type: text/html", body=f"<h1>Close this, {host}</h1>"),
            ]
        )
        for host in hosts
    }
    legs = [await ports.leg(host, remotes[host]) for host in hosts]
    locations = {host: (await ports.ask(callback_of(host))).headers["location"] for host in hosts}
    assert len(set(locations.values())) == 3
    for host in hosts if order == "as they came" else reversed(hosts):
        target, _, rest = locations[host].removeprefix(f"http://127.0.0.1:{ports.number}").partition("#")
        assert rest == fragment[1:]
        assert (await ports.ask(target)).title == f"Close this, {host}"
    # What tells them apart is ours, and the remote does not see it.
    assert [leg.remote.targets for leg in legs] == [[callback_of(host), "/index.html"] for host in hosts]
    assert [leg.seen.errors for leg in legs] == [[None]] * 3
    assert [leg.seen.strays for leg in legs] == [[]] * 3


# --- The page on which a tab ends, where there are several ------------------------------------------------------------

ENDS: Final = {
    "the portal's page": (answer("302 Found", f"Location: {PORTAL}"), "Handed over to kiro-cli", PORTAL),
    "a page of its own": (answer("302 Found", "Location: /index.html"), "Handed over to kiro-cli", None),
    "an answer": (answer("200 OK", body="<h1>Hello</h1>"), "Handed over to kiro-cli", None),
    "an error of the portal": (
        answer("302 Found", f"Location: {PORTAL.replace('success', 'error')}"),
        "kiro-cli answered with an error",
        PORTAL.replace("success", "error"),
    ),
    "an error": (answer("302 Found", "Location: /index.html?error=x"), "kiro-cli answered with an error", None),
    "a status": (answer("500 Oops"), "kiro-cli answered with an error", None),
    "elsewhere": (answer("302 Found", "Location: https://evil.example/"), "Redirect refused", None),
    "no web page": (answer("302 Found", "Location: javascript:alert(1)"), "Redirect refused", None),
    "nothing": (None, "No answer from kiro-cli", None),
}


@pytest.mark.parametrize("end", ENDS)
async def test_the_page_of_ours_says_whose_sign_in_it_was(ports: Ports, end: str) -> None:
    says, title, link = ENDS[end]
    box = await ports.leg("box-7", Remote([says]), own_page=True)
    reply = await ports.ask(callback_of("box-7"))
    assert (reply.title, "location" in reply.headers) == (title, False)
    assert "kiro-cli on box-7" in reply.body
    assert "box-7" in reply.body.partition("<title>")[2].partition("</title>")[0]
    found = unescape(reply.body).partition('href="')[2].partition('"')[0] or None
    assert found == link
    await box.seen.until(box.seen.errors, 1)
    assert box.seen.errors == [None]
    assert len(box.remote.targets) == 1


async def test_a_denial_ends_on_a_page_that_says_so(ports: Ports) -> None:
    await ports.leg("box-7", Remote([answer("302 Found", f"Location: {PORTAL}")]), own_page=True)
    assert (await ports.ask("/oauth/callback?error=access_denied&state=box-7")).title == "The sign-in was denied"


# --- Coming and going -------------------------------------------------------------------------------------------------


async def test_ports_that_are_ours_are_not_busy(ports: Ports) -> None:
    await ports.leg("one")
    assert await ports.owner.busy([ports.number]) == {}
    assert list(await CallbackPorts(None).busy([ports.number])) == [ports.number]


async def test_a_port_whose_holder_leaves_while_it_is_asked_is_not_busy(
    ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = socket.create_server(("127.0.0.1", ports.number))

    def leave(address: str, patience_s: float) -> bool | None:
        holder.close()
        return answers(address, patience_s)

    monkeypatch.setattr(callback_ports, "answers", leave)
    assert await ports.owner.busy([ports.number]) == {}


async def test_a_port_that_is_just_taken_over_is_not_busy(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback_ports, "TRANSITION_S", PATIENCE)
    said: list[bool | None] = []
    asked = threading.Event()

    def ask(address: str, patience_s: float) -> bool | None:
        said.append(answers(address, patience_s))
        asked.set()
        return said[-1]

    monkeypatch.setattr(callback_ports, "answers", ask)
    first = await ports.leg("one")
    lease = await CallbackPorts().lease(route_to(greeting("two"), Witness(), ports.number, state="two"))
    leaving = asyncio.create_task(first.lease.close())
    looking = asyncio.create_task(CallbackPorts().busy([ports.number]))
    await asyncio.sleep(0)
    assert asked.wait(PATIENCE)  # not awaited: in this very loop the guest would take it over
    assert await looking == {}
    assert (said[0], said[-1]) == (None, True)
    await leaving
    await lease.close()


async def test_a_strangers_port_is_busy_at_once(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback_ports, "TRANSITION_S", 1000.0)
    with socket.create_server(("127.0.0.1", ports.number)):
        assert list(await ports.owner.busy([ports.number])) == [ports.number]


async def test_legs_that_come_at_once_share_the_port(ports: Ports) -> None:
    legs = await asyncio.gather(*(ports.leg(f"s{i}") for i in range(20)))
    await asyncio.gather(*(ports.ask(callback_of(f"s{i}")) for i in range(20)))
    assert all(len(leg.remote.targets) == 1 for leg in legs)


async def test_a_leg_that_is_given_up_while_its_port_is_bound_leaves_nothing(ports: Ports) -> None:
    for moment in range(12):
        leasing = asyncio.ensure_future(ports.leg("one"))
        for _ in range(moment):
            await asyncio.sleep(0)
        leasing.cancel()
        await asyncio.wait([leasing])
        if not leasing.cancelled():
            await leasing.result().lease.close()
            assert moment > 1, "it was never in the midst of it"
        assert not any(is_bound(address, ports.number) for address in FAMILIES)


async def test_a_port_that_was_just_given_up_is_had_again_at_once(ports: Ports) -> None:
    for turn in range(5):
        leg = await ports.leg(f"turn {turn}".replace(" ", "-"))
        closing = asyncio.create_task(leg.lease.close())
        await asyncio.sleep(0)
        again = await ports.leg("again")
        assert (await ports.ask(callback_of("again"))).title == "Done on again"
        await asyncio.gather(closing, again.lease.close())


def test_a_route_that_ends_twice_is_no_error() -> None:
    async def twice() -> None:
        route: Route = route_to(greeting("x"), Witness(), free_port())
        lease = await CallbackPorts().lease(route)
        await asyncio.gather(lease.close(), lease.close())

    asyncio.run(twice())
