"""This machine as a place where commands run, with no SSH server: for containers that are here.

A command has a process group of its own, without a controlling terminal: Ctrl-C of the person's terminal is ours, and
what is left of it is ended as a whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
import signal
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import PIPE
from typing import Final

from kirotunnel.errors import SessionRefusedError
from kirotunnel.ssh.child_process import close_pipes
from kirotunnel.ssh.session import ByteReader, ByteWriter, Process

_BUFFER: Final = 256 * 1024
"""Bytes of output that wait to be read; what comes then waits in the terminal, or in the pipe."""
_END_S: Final = 2.0
"""Seconds for killed processes to be gone."""


class ThisMachine:
    """The processes that were started here; `this_machine()` makes it, and ends them."""

    where: Final = "this machine"
    host_key: Final = ""

    def __init__(self) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Never done."""
        self._started: list[_Started] = []

    @property
    def network(self) -> str | None:
        """Our own; None where the system has no such name."""
        with contextlib.suppress(OSError):
            return str(Path("/proc/self/ns/net").readlink())
        return None

    async def start(
        self,
        command: str,
        *,
        term_type: str | None = None,
        term_size: tuple[int, int] | None = None,
        stdin: int = PIPE,
    ) -> Process:
        """Run `exec WORD…`: no shell, only its quotes. Raises SessionRefusedError."""
        _, *words = shlex.split(command)
        terminal = _Terminal(term_size or (80, 24)) if term_type else None
        output = terminal.far_end if terminal else PIPE
        loop = asyncio.get_running_loop()
        try:
            # As asyncio.create_subprocess_exec does it, which keeps the transport to itself.
            transport, protocol = await loop.subprocess_exec(
                lambda: asyncio.subprocess.SubprocessStreamProtocol(limit=_BUFFER, loop=loop),
                *words,
                stdin=terminal.far_end if terminal else stdin,
                stdout=output,
                stderr=output,
                env={**os.environ, "TERM": term_type} if term_type else None,
                start_new_session=True,
            )
        except OSError as exc:
            if terminal is not None:
                terminal.close()
            raise SessionRefusedError(f"{words[0]} cannot be started here: {exc.strerror}") from exc
        finally:
            if terminal is not None:
                terminal.hand_over()
        started = _Started(asyncio.subprocess.Process(transport, protocol, loop), transport, terminal)
        self._started.append(started)
        return started

    async def end_all(self) -> None:
        """End what still runs, and wait for it."""
        for started in self._started:
            started.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                for started in self._started:
                    await started.wait_closed()
        for started in self._started:
            started.forget()


@contextlib.asynccontextmanager
async def this_machine() -> AsyncIterator[ThisMachine]:
    """This machine; what was started on it ends with the context."""
    machine = ThisMachine()
    try:
        yield machine
    finally:
        await machine.end_all()


class _Started:
    """A process of ours, with the face of one over SSH."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        transport: asyncio.SubprocessTransport,
        terminal: _Terminal | None,
    ) -> None:
        self._process = process
        self._transport = transport
        self._terminal = terminal
        ended = asyncio.StreamReader()
        ended.feed_eof()
        self.stdin: ByteWriter = terminal or process.stdin or _Nowhere()
        self.stdout: ByteReader = terminal.output if terminal else process.stdout or ended
        self.stderr: ByteReader = process.stderr or ended

    @property
    def exit_status(self) -> int | None:
        """The exit code; None where a signal ended it."""
        code = self._process.returncode
        return code if code is not None and code >= 0 else None

    @property
    def exit_signal(self) -> tuple[str, bool, str, str] | None:
        """The signal that ended it."""
        code = self._process.returncode
        if code is None or code >= 0:
            return None
        return (signal.Signals(-code).name.removeprefix("SIG"), False, "", "")

    async def wait_closed(self) -> None:
        """Wait for its end."""
        await self._process.wait()

    def change_terminal_size(self, width: int, height: int, /) -> None:
        """Columns and rows. Without a controlling terminal the kernel tells nobody, so we do."""
        if self._terminal is not None and self._process.returncode is None:
            self._terminal.resize((width, height))
            self._signal(signal.SIGWINCH)

    def terminate(self) -> None:
        """Ask its process group to end."""
        self._signal(signal.SIGTERM)

    def close(self) -> None:
        """Close our ends, and kill its process group. What runs as root by sudo sees only the former."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._terminal is not None:
            self._terminal.close()
        if self._process.returncode is None:
            self._signal(signal.SIGKILL)
        close_pipes(self._transport)

    def forget(self) -> None:
        """Let go of what could not be ended; nothing where it has."""
        with contextlib.suppress(PermissionError):
            self._transport.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class _Terminal:
    """A pseudo-terminal: our end of it as a pair of streams."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._near, self.far_end = os.openpty()
        os.set_blocking(self._near, False)
        self.resize(size)
        self.output = asyncio.StreamReader(limit=_BUFFER)
        # The reader pauses its transport when too much waits.
        self.output.set_transport(_Pausing(self))  # type: ignore[arg-type]  # only these two methods of it are called
        self._loop = asyncio.get_running_loop()
        self._open = True
        self.resume_reading()

    def hand_over(self) -> None:
        """The process has the far end now."""
        os.close(self.far_end)

    def resize(self, size: tuple[int, int]) -> None:
        """Set columns and rows."""
        import fcntl
        import termios

        columns, rows = size
        fcntl.ioctl(self._near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def pause_reading(self) -> None:
        self._loop.remove_reader(self._near)

    def resume_reading(self) -> None:
        if self._open:
            self._loop.add_reader(self._near, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._near, 16 * 1024)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody holds the far end any more
            data = b""
        if data:
            self.output.feed_data(data)
        else:
            self._loop.remove_reader(self._near)
            self.output.feed_eof()

    def write(self, data: bytes, /) -> None:
        """Type these keys. What the terminal has no room for is lost, as with a keyboard."""
        if self._open:
            try:
                os.write(self._near, data)
            except OSError as exc:
                if exc.errno not in {errno.EAGAIN, errno.EIO}:
                    raise

    def write_eof(self) -> None:
        """Terminals have none; closing it is the end."""

    async def drain(self) -> None:
        """Nothing waits."""

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return not self._open

    def close(self) -> None:
        """Hang up."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._near)
            os.close(self._near)
            self.output.feed_eof()


class _Pausing:
    """What asyncio.StreamReader needs of a transport."""

    def __init__(self, terminal: _Terminal) -> None:
        self.pause_reading = terminal.pause_reading
        self.resume_reading = terminal.resume_reading


class _Nowhere:
    """The input of a process that has none."""

    def write(self, data: bytes, /) -> None:
        """Nobody reads it."""

    def write_eof(self) -> None:
        """It has ended."""

    async def drain(self) -> None:
        """Nothing waits."""

    def is_closing(self) -> bool:
        """It is closed."""
        return True

    def close(self) -> None:
        """It is closed."""
