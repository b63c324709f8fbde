"""Shells beside the control shell on its own channel, where the server gives no second one (sshd's MaxSessions 1).

What would be a channel's input is written by the control shell into a pipe, and what would be its output comes in
pieces between its answers. So whatever talks to a shell of its own talks to one of these alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_SLICE: Final = 4096
"""Bytes of input in one line of the control shell: each becomes four characters."""


def printf_format(data: bytes) -> str:
    """These bytes as a format for printf, which every shell has, and which takes every byte."""
    return "".join(f"\\{byte:03o}" for byte in data)


class Job:
    """A process, by what it can do for us: it has neither an exit code nor a standard error."""

    exit_status: None = None
    exit_signal: None = None

    def __init__(self, number: int, tell: Callable[[str], None]) -> None:
        self.stdin = JobInput(number, tell)
        self.stdout = asyncio.StreamReader()
        self.stderr = asyncio.StreamReader()
        self.stderr.feed_eof()
        self.ended = asyncio.Event()

    def over(self) -> None:
        """It has ended, or its shell has."""
        if not self.ended.is_set():
            self.ended.set()
            self.stdout.feed_eof()

    async def wait_closed(self) -> None:
        """Wait for its end."""
        await self.ended.wait()

    def change_terminal_size(self, width: int, height: int, /) -> None:
        """It has no terminal."""

    def terminate(self) -> None:
        """Its end of input is all that it hears of."""
        self.stdin.close()

    def close(self) -> None:
        """Let go of it."""
        self.stdin.close()
        self.over()


class JobInput:
    """The input of a job."""

    def __init__(self, number: int, tell: Callable[[str], None]) -> None:
        self._number = number
        self._tell = tell
        self._closed = False

    def write(self, data: bytes, /) -> None:
        """Send it."""
        for start in range(0, len(data), _SLICE):
            self._tell(f"job_input {self._number} '{printf_format(data[start : start + _SLICE])}'\n")

    async def drain(self) -> None:
        """What is written is small, and is on its way."""

    def write_eof(self) -> None:
        """Say that this was all."""
        self.close()

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closed

    def close(self) -> None:
        """Send no more."""
        if not self._closed:
            self._closed = True
            self._tell(f"job_end {self._number}\n")
