"""A shell command as an SSH server runs it: in a session of its own, on a terminal or on pipes. No SSH in here.

The controlling terminal. A command on a terminal must lead a session whose controlling terminal that is, or `/dev/tty`,
Ctrl-C and SIGHUP do nothing. The usual way (fork, then setsid and TIOCSCTTY in the child) is Python code between fork
and exec: `preexec_fn`, unsafe as soon as another thread holds a lock, and asyncio starts threads. So the child does it
alone: `start_new_session` makes it a leader (C code, safe), and then the shell itself opens the terminal by its path.
On Linux and macOS the first terminal that a leader without one opens becomes its controlling terminal. It has to be an
open() of the running child: macOS does not do it for posix_spawn's file actions. It costs one more exec of /bin/sh.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

from kirotunnel.sandbox.remote_processes import group_lives
from kirotunnel.sandbox.remote_terminal import Terminal

_SHELL: Final = "/bin/sh"
_TAKE_TERMINAL: Final = f': <>"$0" && exec {_SHELL} -c "$1"'
_INTERACTIVE: Final = f"exec {_SHELL}"
_PATIENCE: Final = 1.0
"""Seconds for a process group to end after each signal, before the next and harder one."""
_POLL: Final = 0.01
"""Seconds between two looks at a process group whose leader is gone: nothing can be awaited there."""
_QUIET: Final = 0.1
"""Seconds without output after which the terminal of a command that has exited counts as drained."""


class Client(Protocol):
    """Who asked for the command: takes its output, gives its input."""

    def output(self, data: bytes, *, is_stderr: bool) -> None:
        """The command wrote this."""

    def pause_input(self) -> None:
        """The command does not read: send no more for now."""

    def resume_input(self) -> None:
        """The command reads again."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a command finds: its environment, all of it, and its directory."""

    environment: Mapping[str, str]
    directory: Path


class _Input(asyncio.BaseProtocol):
    """The command's stdin, as asyncio sees it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def pause_writing(self) -> None:
        self._client.pause_input()

    def resume_writing(self) -> None:
        # Later, not now: asyncio's pipe transport calls this from within its writing, and if the end of the input comes
        # with the data that waited, it closes the pipe twice.
        asyncio.get_running_loop().call_soon(self._client.resume_input)


class _Output(asyncio.Protocol):
    """The command's stdout or stderr, as asyncio sees it."""

    def __init__(self, client: Client, *, is_stderr: bool) -> None:
        self._client = client
        self._is_stderr = is_stderr
        self.transport: asyncio.ReadTransport | None = None
        self.ended = asyncio.Event()
        self.seen = 0
        self.paused = False
        self.resumed = False
        """Whether it was resumed since `_drain_terminal` looked: what waited may not have been read yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)  # noqa: S101 - connect_read_pipe gives nothing else
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.seen += len(data)
        self._client.output(data, is_stderr=self._is_stderr)

    def connection_lost(self, _exc: Exception | None) -> None:
        # On Linux a terminal ends with EIO, which is no error here.
        self.ended.set()

    def pause(self, *, paused: bool) -> None:
        self.paused, self.resumed = paused, not paused
        if self.transport is None or self.transport.is_closing():
            return
        if paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def abandon(self) -> None:
        if self.transport is not None:
            self.transport.close()


class Command:
    """A command that runs: feed it, wait for its end, or end it."""

    def __init__(self, client: Client, terminal: Terminal | None) -> None:
        self._client = client
        self._terminal = terminal
        self._stdin: asyncio.WriteTransport | None = None
        self._outputs: list[_Output] = []
        self._process: asyncio.subprocess.Process
        self._line_is_open = False

    @classmethod
    async def start(
        cls, line: str | None, surroundings: Surroundings, terminal: Terminal | None, client: Client
    ) -> Self:
        """Start the command line, or a shell where there is none; OSError where the system refuses."""
        command = cls(client, terminal)
        with contextlib.ExitStack() as theirs:
            try:
                stdio = await (command._open_pipes(theirs) if terminal is None else command._use_terminal(terminal))
                command._process = await asyncio.create_subprocess_exec(
                    *_argv(_INTERACTIVE if line is None else line, terminal),
                    stdin=stdio[0],
                    stdout=stdio[1],
                    stderr=stdio[2],
                    start_new_session=True,
                    env=surroundings.environment,
                    cwd=surroundings.directory,
                )
            except BaseException:
                command.close()
                raise
        if terminal is not None:
            terminal.close_slave()
        return command

    async def _open_pipes(self, theirs: contextlib.ExitStack) -> tuple[int, int, int]:
        stdin, ours = _pipe(theirs, child_reads=True)
        await self._connect_stdin(ours)
        ours, stdout = _pipe(theirs, child_reads=False)
        await self._connect_output(ours, is_stderr=False)
        ours, stderr = _pipe(theirs, child_reads=False)
        await self._connect_output(ours, is_stderr=True)
        return stdin, stdout, stderr

    async def _use_terminal(self, terminal: Terminal) -> tuple[int, int, int]:
        # A descriptor for each direction, and the terminal's own for its size: whichever closes first, no number is
        # used again by the others.
        await self._connect_stdin(os.dup(terminal.master))
        await self._connect_output(os.dup(terminal.master), is_stderr=False)
        return terminal.slave, terminal.slave, terminal.slave

    async def _connect_stdin(self, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(descriptor, "wb", 0)
        self._stdin, _ = await loop.connect_write_pipe(lambda: _Input(self._client), pipe)

    async def _connect_output(self, descriptor: int, *, is_stderr: bool) -> None:
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(descriptor, "rb", 0)
        _, output = await loop.connect_read_pipe(lambda: _Output(self._client, is_stderr=is_stderr), pipe)
        self._outputs.append(output)

    def write(self, data: bytes) -> None:
        """Give it input; what a command does not want any more is dropped."""
        if self._stdin is not None and not self._stdin.is_closing():
            self._line_is_open = not data.endswith((b"\n", b"\r"))
            self._stdin.write(data)

    def write_eof(self) -> None:
        """There will be no more input: close its stdin, or type the end-of-file character on its terminal."""
        if self._stdin is None or self._stdin.is_closing():
            return
        if self._terminal is None:
            self._stdin.close()
        else:
            self._stdin.write(self._terminal.end_of_input(line_is_open=self._line_is_open))

    def pause_output(self, *, paused: bool) -> None:
        """The client's window is full, or has room again."""
        for output in self._outputs:
            output.pause(paused=paused)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it to the whole process group, as a terminal and as sshd do."""
        # macOS says EPERM, not ESRCH, where only a zombie is left of the group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def wait(self) -> int:
        """Its exit status (negative: the signal that ended it), after all of its output was delivered."""
        status = await self._process.wait()
        if self._terminal is None:
            # As with sshd, a background process that kept the pipes keeps the session too.
            for output in self._outputs:
                await output.ended.wait()
        else:
            await self._drain_terminal()
        self.close()
        return status

    async def _drain_terminal(self) -> None:
        """Take what the terminal still holds. A background process may keep it open for ever, and must not keep us."""
        for output in self._outputs:
            seen = -1
            while not output.ended.is_set() and (output.paused or output.resumed or seen != output.seen):
                seen, output.resumed = output.seen, False
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_QUIET):
                        await output.ended.wait()

    async def end(self) -> None:
        """End it and its process group, as after the loss of its client: hang up, then ask, then insist.

        What has a session of its own by then (setsid) lives on, as on a real machine; so does what a command left
        behind that has exited before.
        """
        has_exited = self._process.returncode is not None
        self.close()
        if has_exited:
            return
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL):
            self.send_signal(number)
            if await self._group_ends():
                return

    async def _group_ends(self) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._process.wait()
                while await group_lives(self._process.pid):  # noqa: ASYNC110 - no event tells of others' children
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Let go of its stdin, its output and its terminal."""
        if self._stdin is not None:
            _abort(self._stdin)
        for output in self._outputs:
            output.abandon()
        if self._terminal is not None:
            self._terminal.close()


def _argv(line: str, terminal: Terminal | None) -> list[str]:
    if terminal is None:
        return [_SHELL, "-c", line]
    return [_SHELL, "-c", _TAKE_TERMINAL, terminal.path, line]


def _pipe(theirs: contextlib.ExitStack, *, child_reads: bool) -> tuple[int, int]:
    """(read end, write end); the child's one is closed with `theirs`, the other is the caller's."""
    reading, writing = os.pipe()
    theirs.callback(os.close, reading if child_reads else writing)
    return reading, writing


def _abort(stdin: asyncio.WriteTransport) -> None:
    # asyncio's pipe transport breaks when it is aborted after its end was decided; only unsent data keep it alive then.
    if not stdin.is_closing() or stdin.get_write_buffer_size():
        stdin.abort()
