"""The ProxyCommand of the SSH config: a program whose input and output are the connection to the server.

asyncssh 2.24 runs one by itself, but takes what it says on standard error for the server's words, and the end of its
standard error for the end of the connection. `cloudflared` logs there while the connection stands, `2>/dev/null` is in
many a config, and `sshd -i` closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, cast

import asyncssh

from kirotunnel.redaction import redacted
from kirotunnel.ssh.askpass import Questions, answering
from kirotunnel.ssh.child_process import close_pipes
from kirotunnel.wire.terminal import one_line

_KEPT: Final = 2000
"""Bytes of its complaints: the last ones say why it ended."""
_MAX_NEWS: Final = 8
"""Lines of them that are shown with a question."""


class ProxyCommand:
    """What asyncssh calls a tunnel: one run of the program."""

    def __init__(self, command: str, questions: Questions | None = None) -> None:
        """`command` is a line for the person's shell, as ssh_config(5) has it; `questions` takes what its ssh asks."""
        windows = os.name == "nt"
        shell = os.environ.get("SHELL") or "/bin/sh"  # as ssh does (sshconnect.c, ssh_proxy_connect)
        self._words = ["cmd", "/c", command] if windows else [shell, "-c", f"exec {command}"]
        self.questions = questions
        self._variables: dict[str, str] = {}
        self._said = bytearray()
        self._untold = bytearray()

    @property
    def complaint(self) -> str:
        """The last line that it said on standard error; empty where there is none."""
        return next(reversed(_lines(self._said)), "")

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """While it may ask the person, if there is one."""
        if self.questions is None:
            yield
            return
        async with answering(self.questions, self._news) as self._variables:
            yield

    def _news(self) -> list[str]:
        """The last lines that it has said since this was asked before."""
        lines = _lines(self._untold)[-_MAX_NEWS:]
        self._untold.clear()
        return lines

    def _hear(self, data: bytes) -> None:
        for kept in (self._said, self._untold):
            kept += data
            del kept[:-_KEPT]

    async def create_connection(
        self, factory: Callable[[], asyncssh.SSHClientConnection], host: str, port: int
    ) -> tuple[_Program, asyncssh.SSHClientConnection]:
        """Start the program, as the transport of a new connection. Raises OSError."""
        loop = asyncio.get_running_loop()
        _, program = await loop.subprocess_exec(
            lambda: _Program(factory(), self._hear),
            *self._words,
            start_new_session=os.name != "nt",
            env=os.environ | self._variables,
        )
        program.connection.set_tunnel(program)
        return program, program.connection


class _Program(asyncio.SubprocessProtocol):
    """One run of it, which is also the transport that the connection writes to."""

    def __init__(self, connection: asyncssh.SSHClientConnection, hear: Callable[[bytes], None]) -> None:
        self.connection = connection
        self._hear = hear
        self._transport: asyncio.SubprocessTransport | None = None
        """None before it runs, and from the moment in which we want it to end."""
        self._child: asyncio.SubprocessTransport | None = None
        self._ended = asyncio.Event()

    # --- what asyncio tells ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = self._child = cast("asyncio.SubprocessTransport", transport)
        self.connection.connection_made(cast("asyncio.BaseTransport", self))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self.connection.data_received(data)
        else:
            self._hear(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd != 2:
            self.connection.connection_lost(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, and so have its pipes."""
        if self._child is not None:
            self._child.close()
        self._ended.set()

    # --- what the connection asks of its transport -------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What asyncio knows of the program."""
        return default if self._transport is None else self._transport.get_extra_info(name, default)

    def write(self, data: bytes) -> None:
        """Send it to the program."""
        if self._transport is not None:
            cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0)).write(data)

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._transport is None

    def abort(self) -> None:
        """End the program."""
        self.close()

    def close(self) -> None:
        """End the program, and what it has started: `aws ssm start-session` has a plugin."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if os.name == "nt":
            transport.close()
            return
        if transport.get_returncode() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(transport.get_pid(), signal.SIGHUP)
                os.kill(transport.get_pid(), signal.SIGKILL)  # it itself may take no notice of a hang-up
        close_pipes(transport)

    async def wait_closed(self) -> None:
        """Wait for its end."""
        await self._ended.wait()


def _lines(said: bytearray) -> list[str]:
    shown = (one_line(redacted(line)) for line in said.decode("utf-8", "replace").splitlines())
    return [line for line in shown if line]
