"""Blocking calls in threads: their results come back, and the one that hangs keeps nobody from ending."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kirotunnel.cli import threads
from kirotunnel.cli.threads import DaemonThreads


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """Set when the test is over."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
async def pool() -> DaemonThreads:
    made = DaemonThreads()
    asyncio.get_running_loop().set_default_executor(made)
    return made


async def test_results_and_errors_come_back(pool: DaemonThreads) -> None:
    assert await asyncio.to_thread(lambda x, *, y: (x, y), 1, y=2) == (1, 2)
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(lambda: 1 // 0)


async def test_many_run_side_by_side_and_no_more(pool: DaemonThreads) -> None:
    running, most, lock = 0, 0, threading.Lock()
    full = threading.Event()

    def call(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == threads.AT_ONCE:
                full.set()
        assert full.wait(10)
        with lock:
            running -= 1
        return number

    count = 2 * threads.AT_ONCE
    assert await asyncio.gather(*(asyncio.to_thread(call, number) for number in range(count))) == list(range(count))
    assert most == threads.AT_ONCE


async def test_one_that_hangs_is_left_behind(
    pool: DaemonThreads, never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "GRACE_S", 0.05)
    hangs = asyncio.ensure_future(asyncio.to_thread(never.wait))
    await asyncio.sleep(0)
    pool.shutdown()
    assert not hangs.done()
    hangs.cancel()


async def test_what_is_being_done_has_a_moment_to_end(pool: DaemonThreads, tmp_path: Path) -> None:
    begun = threading.Event()

    def write() -> None:
        begun.set()
        threading.Event().wait(0.1)
        (tmp_path / "file").write_text("whole")

    writing = asyncio.ensure_future(asyncio.to_thread(write))
    await asyncio.sleep(0)
    begun.wait(10)
    pool.shutdown()
    assert (tmp_path / "file").read_text() == "whole"
    writing.cancel()


def test_the_interpreter_ends_too() -> None:
    program = (
        "import asyncio, threading\n"
        "from kirotunnel.cli import threads\n"
        "threads.GRACE_S = 0.05\n"
        "async def main():\n"
        "    asyncio.get_running_loop().set_default_executor(threads.DaemonThreads())\n"
        "    waits = asyncio.ensure_future(asyncio.to_thread(threading.Event().wait))\n"
        "    await asyncio.sleep(0.05)\n"
        "    waits.cancel()\n"
        "asyncio.run(main())\n"
        "print('ended')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")
