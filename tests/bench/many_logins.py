"""Logins in a row in one process, and what is left after each.

`python -m bench.many_logins CONFIG ALIAS COUNT TRUSTED...`

Prints one JSON line a login: open descriptors, tasks, memory, and the longest time for which the event loop was kept
from its other work, by the clock and in processor time of its thread.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path

import kirotunnel
from kirotunnel.local.browser import CommandBrowser
from kirotunnel.ssh.config import SSHOptions

ROBOT = Path(__file__).parents[1] / "e2e" / "robot_browser.py"
BEAT_S = 0.002
SETTLED_S = 1.0


async def heartbeat(longest: dict[str, float]) -> None:
    """Notice for how long nobody else had a turn."""
    while True:
        began, used = time.monotonic(), time.thread_time()
        await asyncio.sleep(BEAT_S)
        longest["clock"] = max(longest["clock"], time.monotonic() - began - BEAT_S)
        longest["cpu"] = max(longest["cpu"], time.thread_time() - used)


def memory_kb() -> int:
    """What this process has in memory."""
    return int(Path("/proc/self/status").read_text(encoding="ascii").partition("VmRSS:")[2].split()[0])


def left() -> tuple[int, int]:
    """Open descriptors, and tasks."""
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())


async def settled(last: tuple[int, int]) -> tuple[int, int]:
    """What is left once nothing more is being closed: no more than after the last login, or the same for a while."""
    now, since = left(), time.monotonic()
    while (now[0] > last[0] or now[1] > last[1]) and time.monotonic() - since < SETTLED_S:
        await asyncio.sleep(0.05)
        if (seen := left()) != now:
            now, since = seen, time.monotonic()
    return now


async def main(config: str, alias: str, count: int, trusted: list[str]) -> None:

    browser = CommandBrowser([[sys.executable, str(ROBOT), "google", "allow"]])
    longest = {"clock": 0.0, "cpu": 0.0}
    beating = asyncio.ensure_future(heartbeat(longest))
    last = (0, 0)
    for _ in range(count):
        longest.update(clock=0.0, cpu=0.0)
        result = await kirotunnel.login(
            alias, ssh=SSHOptions(config_file=config), force=True, trust_url_hosts=trusted, browser=browser
        )
        assert result.account.email == "ada@example.com"
        await asyncio.sleep(0.05)  # connections that are being closed
        gc.collect()
        files, tasks = last = await settled(last)
        row = {
            "files": files,
            "tasks": tasks,
            "memory_kb": memory_kb(),
            "block_ms": round(longest["clock"] * 1000, 1),
            "block_cpu_ms": round(longest["cpu"] * 1000, 1),
        }
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
    beating.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
