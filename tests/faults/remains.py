"""What a login may leave on this side: listeners, tasks, descriptors, a terminal in another mode."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

TESTS: Final = Path(__file__).parents[1]
HIDE_CURSOR: Final = "\x1b[?25l"
SHOW_CURSOR: Final = "\x1b[?25h"
SETTLING_S: Final = 3.0
"""Seconds for transports that are closed to be gone."""


def local_listeners() -> set[int]:
    """The ports that are listened on in this process's network."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


class InProcess:
    """The tasks and descriptors of this process at one moment."""

    def __init__(self) -> None:
        self._tasks = asyncio.all_tasks()
        self._descriptors = set(descriptors())

    async def left(self, ours: Callable[[], set[int]]) -> list[str]:
        """What is there now and was not then, once it has had a moment to go; but for the tests' own descriptors."""
        end = asyncio.get_running_loop().time() + SETTLING_S
        while (found := self._more(ours())) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
        return found

    def _more(self, ours: set[int]) -> list[str]:
        tasks = [task for task in asyncio.all_tasks() - self._tasks if not _is_of_the_tests(task)]
        more = {fd: what for fd, what in descriptors().items() if fd not in self._descriptors | ours}
        return [f"task: {task!r}" for task in tasks] + [f"descriptor: {fd} {what}" for fd, what in more.items()]


def _is_of_the_tests(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and Path(code.co_filename).is_relative_to(TESTS)


def descriptors() -> dict[int, str]:
    """The open descriptors of this process."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # that of the listing itself
    return found


def terminal_left(before: list[Any], after: list[Any], drawn: str) -> list[str]:
    """What a login has changed at its terminal."""
    changed = [] if before == after else ["the terminal is in another mode"]
    hidden = drawn.rfind(HIDE_CURSOR) > drawn.rfind(SHOW_CURSOR)
    return changed + (["the cursor is hidden"] if hidden else [])
