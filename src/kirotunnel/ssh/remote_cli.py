"""The CLI's login as it runs on the target: its output, its keys, its end."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import DEVNULL
from typing import Final

import asyncssh

from kirotunnel.errors import SessionRefusedError
from kirotunnel.ssh.session import Process, Session

CHUNK: Final = 16 * 1024
MAX_OUTPUT: Final = 8 * 1024 * 1024
"""Bytes: ten minutes of a spinner are some 400 KiB, so this is a CLI that prints without end."""
WIDE_TERMINAL: Final = (250, 50)
"""Columns and rows where no person looks: wide, so that nothing is wrapped."""


class RemoteCLI:
    """One run of the CLI's login; made by `start`."""

    def __init__(self, process: Process, session: Session) -> None:
        self._process = process
        self._session = session

    @classmethod
    async def start(
        cls, session: Session, directory: str, *, terminal: tuple[str, tuple[int, int]] | None
    ) -> RemoteCLI:
        """Run the runner of that directory. `terminal`: type and (columns, rows) for a PTY; None for none."""
        command = f"exec /bin/sh {directory}/run"
        if terminal is None:
            return cls(await session.start(command, stdin=DEVNULL), session)
        return cls(await session.start(command, term_type=terminal[0], term_size=terminal[1]), session)

    async def output(self, sink: Callable[[bytes], None]) -> bool:
        """Pass on the output, as it comes, until it ends. False where it was too much and was given up."""
        total = 0
        try:
            while data := await self._process.stdout.read(CHUNK):
                total += len(data)
                sink(data)
                if total > MAX_OUTPUT:
                    return False
        except (asyncssh.Error, OSError):
            return True  # the connection broke: `exit_code` tells
        return True

    async def exit_code(self) -> int | None:
        """The exit code; None where a signal ended it. Raises SessionRefusedError where the session ended instead."""
        await self._process.wait_closed()
        # asyncssh returns here without a status when the connection is lost, too: that is no exit of the CLI.
        if self._process.exit_status is None and self._process.exit_signal is None:
            raise SessionRefusedError(f"the session on {self._session.where} ended without an exit code")
        return self._process.exit_status if self._process.exit_signal is None else None

    def type(self, keys: bytes) -> None:
        """Send keys to the CLI's terminal."""
        if not self._process.stdin.is_closing():
            self._process.stdin.write(keys)

    def resize(self, columns: int, rows: int) -> None:
        """Tell the CLI's terminal its new size."""
        self._process.change_terminal_size(columns, rows)

    def close(self) -> None:
        """Let go of the channel."""
        self._process.close()
