"""The CLI's login as the target holds it: its output, its keys, its end, through any number of connections.

The holder on the target keeps all that comes of the login; this side counts what it has got, so that after a dropped
connection nothing is lost and nothing comes twice. Where the target has nothing that gives a terminal of its own, the
CLI runs on a channel of the connection instead, and ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from subprocess import DEVNULL
from typing import Final, Literal, Protocol

import asyncssh

from kirotunnel.errors import SessionRefusedError
from kirotunnel.ssh.control import ControlShell
from kirotunnel.ssh.jobs import printf_format
from kirotunnel.ssh.reading import pieces
from kirotunnel.ssh.session import Process, Session
from kirotunnel.wire.records import Record, decoded

MAX_OUTPUT: Final = 8 * 1024 * 1024
"""Bytes: ten minutes of a spinner are some 400 KiB, so this is a CLI that prints without end."""
LAST_OUTPUT_S: Final = 5.0
"""Seconds that the rest of the output has once the CLI's end is known, and again after each piece of it."""
WIDE_TERMINAL: Final = (250, 50)
"""Columns and rows where no person looks: wide, so that nothing is wrapped."""
_MAX_UNSAID: Final = 1000
"""Keys whose arrival was not confirmed; who types more into a dead connection leans on the keyboard."""
MAX_TYPED: Final = 32 * 1024
"""Bytes of keys in one login: less than a FIFO holds (64 KiB on Linux). Where the CLI reads none of them, as of a paste
by mistake, our shell there would wait at a full one and answer nothing any more."""

Ending = Literal["exited", "too-much", "no-terminal", "gone"]
Terminal = tuple[str, tuple[int, int]]
"""Its type, and (columns, rows)."""


class Watcher(Protocol):
    """Who is told what comes of the login. Called in the event loop; must not block."""

    def url(self, url: str) -> None:
        """The CLI called its opener."""

    def printed(self, data: bytes) -> None:
        """The CLI printed this."""

    def ended(self, how: Ending, code: int | None) -> None:
        """Nothing more will come. The code is None where a signal ended the CLI."""


class RemoteCLI(Protocol):
    """A login that runs: what a person at the keyboard does with it."""

    def type(self, keys: bytes) -> None:
        """Send keys to the CLI's terminal."""

    def resize(self, columns: int, rows: int) -> None:
        """Tell the CLI's terminal its new size."""


@dataclass(slots=True)
class _Keys:
    number: int
    format: str
    """For printf."""

    @property
    def script(self) -> str:
        return f"typed {self.number} '{self.format}'\n"


class HeldCLI:
    """A login that outlives its connections. `hear` gets the records of whichever shell there is now."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._shell: ControlShell | None = None
        self._unsaid: list[_Keys] = []
        self._typed = 0
        self._room = MAX_TYPED
        self._size: tuple[int, int] | None = None
        self._exit: tuple[str, int] | None = None
        self._late: asyncio.TimerHandle | None = None
        self._over = False
        self.token = secrets.token_hex(12)
        """By which a later connection knows the login's directory as ours."""
        self.urls = 0
        """Calls of the opener that were heard of."""
        self.received = 0
        """Bytes of output that were heard of."""

    def use(self, shell: ControlShell | None) -> None:
        """Talk to it by this shell from now on: say again what the last one may not have heard."""
        self._shell = shell
        if self._late is not None:
            self._late.cancel()
        if shell is not None:
            for keys in self._unsaid:
                shell.tell(keys.script)
            if self._size is not None:
                shell.tell(_resize(*self._size))

    def hear(self, record: Record) -> None:
        """Something came of the login."""
        key, value = record.key, record.value
        match key:
            case "url":
                number, _, url = value.partition(" ")
                if number == str(self.urls + 1):
                    self.urls += 1
                    self._watcher.url(url)
            case "out64" | "out16":
                self._printed(decoded(key, value))
            case "typed":
                self._unsaid = [keys for keys in self._unsaid if str(keys.number) != value]
            case "exited":
                code, _, size = value.partition(" ")
                self._exit = (code, int(size) if size.isdecimal() and len(size) < 12 else 0)
                self._end_when_whole()
            case "gone":
                self._end("gone", None)

    def _printed(self, data: bytes) -> None:
        if self._over:
            return
        self.received += len(data)
        self._watcher.printed(data)
        if self.received > MAX_OUTPUT:
            self._end("too-much", None)
        elif self._exit is not None:
            self._end_when_whole()

    def _end_when_whole(self) -> None:
        assert self._exit is not None  # noqa: S101 - both callers have just seen it
        code, size = self._exit
        if code == "full":
            self._end("too-much", None)
        elif code == "not-begun":
            self._end("no-terminal", None)
        elif self.received >= size:
            self._end("exited", _exit_code(code))
        else:  # it has that time from each piece on
            if self._late is not None:
                self._late.cancel()
            loop = asyncio.get_running_loop()
            self._late = loop.call_later(LAST_OUTPUT_S, self._end, "exited", _exit_code(code))

    def _end(self, how: Ending, code: int | None) -> None:
        if self._late is not None:
            self._late.cancel()
        if not self._over:
            self._over = True
            self._watcher.ended(how, code)

    def type(self, keys: bytes) -> None:
        """Send keys to the CLI's terminal; once, whatever becomes of the connection. What is too much is left out."""
        if not keys or len(self._unsaid) >= _MAX_UNSAID or len(keys) > self._room:
            return
        self._room -= len(keys)
        self._typed += 1
        said = _Keys(self._typed, printf_format(keys))
        self._unsaid.append(said)
        if self._shell is not None:
            self._shell.tell(said.script)

    def resize(self, columns: int, rows: int) -> None:
        """Tell the CLI's terminal its new size."""
        self._size = (columns, rows)
        if self._shell is not None:
            self._shell.tell(_resize(columns, rows))


def _resize(columns: int, rows: int) -> str:
    return f"resize {columns} {rows}\n"


def _exit_code(text: str) -> int | None:
    """What the shell says of its child: 128 and the signal where one ended it."""
    code = int(text) if text.isdecimal() and len(text) < 6 else None
    return None if code is None or 128 < code <= 192 else code


class AttachedCLI:
    """A login on a channel of the connection, whose end is its own."""

    def __init__(self, process: Process, session: Session, watcher: Watcher) -> None:
        self._process = process
        self._session = session
        self._watcher = watcher

    @classmethod
    async def start(
        cls, session: Session, directory: str, watcher: Watcher, *, terminal: Terminal | None
    ) -> AttachedCLI:
        """Run the runner of that directory."""
        command = f"exec /bin/sh {directory}/run"
        if terminal is None:
            return cls(await session.start(command, stdin=DEVNULL), session, watcher)
        kind, size = terminal
        return cls(await session.start(command, term_type=kind, term_size=size), session, watcher)

    async def follow(self) -> None:
        """Tell the watcher all of it. Raises SessionRefusedError where the session ended without the CLI's end."""
        total = 0
        with contextlib.suppress(asyncssh.Error, OSError):  # the connection broke: there is no exit code then
            async for data in pieces(self._process.stdout):
                total += len(data)
                self._watcher.printed(data)
                if total > MAX_OUTPUT:
                    self._watcher.ended("too-much", None)
                    return
        await self._process.wait_closed()
        # asyncssh returns here without a status when the connection is lost, too: that is no exit of the CLI.
        if self._process.exit_status is None and self._process.exit_signal is None:
            raise SessionRefusedError(f"the session on {self._session.where} ended without an exit code")
        status = self._process.exit_status
        self._watcher.ended("exited", None if status is None else _exit_code(str(status)))

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
