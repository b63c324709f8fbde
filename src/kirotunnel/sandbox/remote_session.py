"""One SSH session of the embedded server: a channel on one side, a shell command on the other."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping

import asyncssh

from kirotunnel.sandbox.remote_command import Command, Surroundings
from kirotunnel.sandbox.remote_terminal import Terminal

Start = Callable[[Coroutine[None, None, None]], None]
"""Runs a coroutine in a task group that outlives the session's connection: a command must be ended after its loss."""


class RemoteSession(asyncssh.SSHServerSession[bytes]):
    """Runs the one command of a session, and carries bytes, sizes and signals between it and the client."""

    def __init__(self, surroundings: Surroundings, start: Start) -> None:
        self._surroundings = surroundings
        self._start = start
        self._channel: asyncssh.SSHServerChannel[bytes]
        self._terminal: Terminal | None = None
        self._line: str | None = None
        self._started = False
        self._command: Command | None = None
        # What the client sends before the command is there to take it.
        self._early = bytearray()
        self._eof = False
        self._lost = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    # --- What asyncssh tells us ------------------------------------------------------------------------------------

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is open."""
        self._channel = chan
        # Paused as soon as anything waits to be sent, so that `_room` means: all output is on its way.
        chan.set_write_buffer_limits(high=0)

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed, by whomever."""
        self._lost.set()
        self._room.set()
        if self._terminal is not None and not self._started:
            self._terminal.close()

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        """Open a terminal; refused where this system has none to give."""
        try:
            self._terminal = Terminal.open(term_type, term_size[0], term_size[1], term_modes)
        except OSError:
            return False
        return True

    def shell_requested(self) -> bool:
        """`ssh HOST` without a command."""
        return True

    def exec_requested(self, command: str) -> bool:
        """`ssh HOST COMMAND`."""
        self._line = command
        return True

    def session_started(self) -> None:
        """The client has its answer: start."""
        self._started = True
        self._start(self._run())

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Input for the command."""
        if self._command is None:
            self._early += data
        else:
            self._command.write(data)

    def eof_received(self) -> bool:
        """No more input. The channel stays open for the output."""
        self._eof = True
        if self._command is not None:
            self._command.write_eof()
        return True

    def pause_writing(self) -> None:
        """Output waits to be sent."""
        self._room.clear()
        if self._command is not None:
            self._command.pause_output(paused=True)

    def resume_writing(self) -> None:
        """All output is sent."""
        self._room.set()
        if self._command is not None:
            self._command.pause_output(paused=False)

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """The person resized their window."""
        if self._terminal is not None:
            self._terminal.resize(width, height)

    def signal_received(self, signal_name: str) -> None:
        """A signal for the command, by its name without SIG (RFC 4254 §6.9); unknown ones are ignored."""
        number = getattr(signal, f"SIG{signal_name}", None)
        if self._command is not None and isinstance(number, signal.Signals):
            self._command.send_signal(number)

    # --- What the command tells us ---------------------------------------------------------------------------------

    def output(self, data: bytes, *, is_stderr: bool) -> None:
        """The command wrote this."""
        if not self._lost.is_set() and not self._channel.is_closing():
            self._channel.write(data, asyncssh.EXTENDED_DATA_STDERR if is_stderr else None)

    def pause_input(self) -> None:
        """The command does not read: the client's window fills up."""
        self._channel.pause_reading()

    def resume_input(self) -> None:
        """The command reads again."""
        if not self._lost.is_set():
            self._channel.resume_reading()

    # --- The session's life ----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            command = await Command.start(self._line, self._with_ssh_variables(), self._terminal, self)
        except OSError as exc:
            self.output(f"kirotunnel sandbox: cannot start the command: {exc}\n".encode(), is_stderr=True)
            self._channel.exit(126)
            return
        self._take_over(command)
        status = await self._until_the_end(command)
        await self._room.wait()
        if not self._lost.is_set():
            self._report(status)

    def _take_over(self, command: Command) -> None:
        self._command = command
        command.pause_output(paused=not self._room.is_set())
        if self._early:
            command.write(bytes(self._early))
            self._early.clear()
        if self._eof:
            command.write_eof()

    async def _until_the_end(self, command: Command) -> int:
        async with asyncio.TaskGroup() as tasks:
            ending = tasks.create_task(command.wait())
            leaving = tasks.create_task(self._lost.wait())
            await asyncio.wait((ending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                await command.end()
            leaving.cancel()
        return ending.result()

    def _report(self, status: int) -> None:
        if status >= 0:
            self._channel.exit(status)
            return
        try:
            name = signal.Signals(-status).name.removeprefix("SIG")
        except ValueError:
            name = str(-status)
        self._channel.exit_with_signal(name)

    def _with_ssh_variables(self) -> Surroundings:
        """The surroundings, with what sshd(8) sets for each session."""
        client_host, client_port = self._channel.get_extra_info("peername")[:2]
        server_host, server_port = self._channel.get_extra_info("sockname")[:2]
        variables = {
            "SSH_CLIENT": f"{client_host} {client_port} {server_port}",
            "SSH_CONNECTION": f"{client_host} {client_port} {server_host} {server_port}",
        }
        if self._terminal is not None:
            variables |= {"SSH_TTY": self._terminal.path, "TERM": self._terminal.kind}
        return Surroundings({**self._surroundings.environment, **variables}, self._surroundings.directory)
