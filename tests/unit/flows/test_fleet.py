"""Many targets at once: no failure stops the others, and a few at a time have their turn at the person."""

from __future__ import annotations

import asyncio

import pytest

from kirotunnel import events as ev
from kirotunnel.errors import HostNotFoundError
from kirotunnel.flows.fleet import Outcome, Turns, run_each

TARGETS = [f"web{number}" for number in range(20)]


async def test_one_failure_does_not_stop_the_others() -> None:
    ended: list[str] = []

    async def work(target: str) -> str:
        await asyncio.sleep(0)
        if target == "web3":
            raise HostNotFoundError("web3 has no address")
        if target == "web4":
            raise ZeroDivisionError
        return target.upper()

    outcomes: list[Outcome[str]] = await run_each(TARGETS, work, ended=lambda outcome: ended.append(outcome.target))
    assert [outcome.target for outcome in outcomes] == TARGETS
    assert sorted(ended) == sorted(TARGETS)
    errors = {outcome.target: outcome.error.code for outcome in outcomes if outcome.error}
    assert errors == {"web3": "KT202", "web4": "KT900"}
    assert outcomes[5].done == "WEB5"


async def test_so_many_at_once_and_no_more() -> None:
    now, most = 0, 0

    async def work(_: str) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    await run_each(TARGETS, work, max_parallel=4)
    assert most == 4


async def test_who_cancels_waits_until_each_has_cleaned_up() -> None:
    cleaned: list[str] = []
    started = asyncio.Event()

    async def work(target: str) -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(target)

    run = asyncio.ensure_future(run_each(TARGETS, work, max_parallel=5))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert sorted(cleaned) == TARGETS[:5]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_turns_are_first_come_first_served() -> None:
    turns = Turns(2)
    order: list[str] = []

    async def take(name: str) -> None:
        await turns.turn(name).wait()
        order.append(name)

    tasks = [asyncio.ensure_future(take(name)) for name in ("a", "b", "c", "d")]
    await settle()
    assert order == ["a", "b"]
    turns.give_back()
    await settle()
    assert order == ["a", "b", "c"]
    turns.give_back()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c", "d"]


async def test_a_turn_is_over_when_the_browser_came_back() -> None:
    turns = Turns(1)
    first, second = turns.turn("a"), turns.turn("b")
    assert await first.wait() >= 0
    waiting = asyncio.ensure_future(second.wait())
    await settle()
    assert not waiting.done()
    first.notice(ev.BrowserRequested(leg=1, authorize_host="app.kiro.dev", redirect_port=3128))
    await settle()
    assert not waiting.done()
    first.notice(ev.CallbackReceived(leg=1, outcome="granted"))
    await settle()
    assert waiting.done()


async def test_a_second_page_of_the_same_sign_in_waits_for_nobody_and_holds_the_next_back() -> None:
    turns = Turns(1)
    first, second, third = turns.turn("a"), turns.turn("b"), turns.turn("c")
    await first.wait()
    first.notice(ev.CallbackReceived(leg=1, outcome="granted"))
    await second.wait()
    first.notice(ev.BrowserRequested(leg=2, authorize_host="oidc.example", redirect_port=49153))
    waiting = asyncio.ensure_future(third.wait())
    second.end()
    await settle()
    assert not waiting.done()
    first.end()
    first.end()  # a second end gives nothing more back
    await settle()
    assert waiting.done()
    assert not turns.free


async def test_a_login_that_begins_anew_has_its_turn_still_and_takes_no_second_one() -> None:
    held_back: list[str] = []
    turns = Turns(1)
    first, second = (turns.turn(name, held_back=lambda name=name: held_back.append(name)) for name in "ab")
    await first.wait()
    again, waiting = asyncio.ensure_future(first.wait()), asyncio.ensure_future(second.wait())
    await settle()
    assert again.done()
    assert again.result() == 0
    assert held_back == ["b"]
    first.end()
    await settle()
    assert waiting.done()


async def test_who_leaves_the_queue_takes_no_turn() -> None:
    turns = Turns(1)
    await turns.turn("a").wait()
    impatient, patient = (asyncio.ensure_future(turns.turn(name).wait()) for name in "bc")
    await settle()
    impatient.cancel()
    await settle()
    turns.give_back()
    await settle()
    assert impatient.cancelled()
    assert patient.done()


async def test_who_leaves_just_as_the_turn_comes_gives_it_to_the_next() -> None:
    turns = Turns(1)
    await turns.turn("a").wait()
    unlucky, next_one = (asyncio.ensure_future(turns.turn(name).wait()) for name in "bc")
    await settle()
    turns.give_back()
    unlucky.cancel()
    await settle()
    assert unlucky.cancelled()
    assert next_one.done()
