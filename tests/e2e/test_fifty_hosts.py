"""Fifty hosts that all chose the same port: all of them wait at once on one port here, and each gets its own answer."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Final

import pytest

from e2e.chromium import Openings
from e2e.harness import high_water_kb, listening_here, start
from e2e.hosts import MakeHosts, results
from e2e.running_login import RunningLogin
from kirotunnel.sandbox.robot import RobotReport, sign_in

FIFTY: Final = 50
HANDS: Final = 4
"""Pages that are clicked through at the same time."""
PORT: Final = 3128
MEMORY_KB: Final = 80 * 1024


async def approve(urls: list[str]) -> list[RobotReport]:
    hands = asyncio.Semaphore(HANDS)

    async def one(url: str) -> RobotReport:
        async with hands:
            return await sign_in(url, method="google")

    return await asyncio.gather(*map(one, urls))


@pytest.mark.timeout(300)
async def test_fifty_hosts_are_signed_in_through_one_port(make_hosts: MakeHosts, tmp_path: Path) -> None:
    hosts = make_hosts(FIFTY)
    openings = Openings(tmp_path / "opened")
    many = ["--tabs", str(FIFTY), "--max-parallel", str(FIFTY)]
    process = start(*hosts.arguments("login", *hosts.names, "--json", *many, *openings.browser, *hosts.services.trust))
    login = RunningLogin(process, openings)
    try:
        urls = [await asyncio.to_thread(openings.next, 100) for _ in range(FIFTY)]
        # A browser has its address a moment before it counts as started.
        await asyncio.to_thread(login.wait_for, "browser_opened", FIFTY)
        assert listening_here(PORT)
        random.shuffle(urls)
        reports = await approve(urls)
        assert [report for report in reports if not report.ok] == []
        peak_kb = high_water_kb(process.pid)
        ending = asyncio.ensure_future(asyncio.to_thread(login.end, 200))
        while not ending.done():
            peak_kb = max(peak_kb, high_water_kb(process.pid))
            await asyncio.sleep(0.1)
        run = await ending
    finally:
        login.kill()
        openings.close()
    assert run.code == 0, run.stderr
    assert results(run) == dict.fromkeys(hosts.names, (True, None))
    assert {event["port"] for event in run.named("tunnel_opened")} == {PORT}
    # All waited at once: the last page was opened before the first answer came.
    assert run.names.index("callback_received") > len(run.names) - run.names[::-1].index("browser_opened") - 1
    assert 0 < peak_kb < MEMORY_KB
    hosts.assert_each_state_at_its_own_host()
    hosts.assert_no_secret_shown(run)
    assert not listening_here(PORT)
