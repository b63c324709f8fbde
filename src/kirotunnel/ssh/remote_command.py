"""A command of the person's own on the target, as `ssh -t` runs one: its streams, its terminal, its exit code."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import asyncssh

from kirotunnel.errors import SessionRefusedError
from kirotunnel.ssh.reading import pieces
from kirotunnel.ssh.session import ByteReader, Process, Session

_EXTRA_DIRECTORIES: Final = ("$HOME/.local/bin", "$HOME/bin", "/usr/local/bin", "$HOME/.cargo/bin", "/opt/homebrew/bin")
"""Where CLIs are often installed and only a login shell looks; at the end, so that nothing else is found there."""

Sink = Callable[[bytes], Awaitable[None]]


class RemoteCommand:
    """One run of the command; made by `start`."""

    def __init__(self, process: Process, session: Session) -> None:
        self._process = process
        self._session = session

    @classmethod
    async def start(
        cls, session: Session, directory: str, *, terminal: tuple[str, tuple[int, int]] | None
    ) -> RemoteCommand:
        """Run the runner of that directory. `terminal`: type and (columns, rows) for a PTY; None for none."""
        command = f"exec /bin/sh {directory}/run"
        if terminal is None:
            return cls(await session.start(command), session)
        return cls(await session.start(command, term_type=terminal[0], term_size=terminal[1]), session)

    async def output(self, sink: Sink) -> None:
        """Pass its output on until it ends. The command waits where the sink does."""
        await _pass_on(self._process.stdout, sink)

    async def errors(self, sink: Sink) -> None:
        """Pass its standard error on until it ends; with a terminal there is none."""
        await _pass_on(self._process.stderr, sink)

    async def exit_code(self) -> int:
        """As a shell says it: 128 and the number where a signal ended it. Raises SessionRefusedError where the session
        ended instead."""
        await self._process.wait_closed()
        if self._process.exit_signal is not None:
            return 128 + _number(self._process.exit_signal[0])
        # asyncssh returns here without a status when the connection is lost, too: that is no exit of the command.
        if self._process.exit_status is None:
            raise SessionRefusedError(f"the session on {self._session.where} ended without an exit code")
        return self._process.exit_status

    async def write(self, data: bytes) -> None:
        """Send it to the command's input, as fast as it takes it. What comes too late is nobody's."""
        if self._process.stdin.is_closing():
            return
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (asyncssh.Error, OSError):
            return

    def type(self, keys: bytes) -> None:
        """Send keys to the command's terminal."""
        if not self._process.stdin.is_closing():
            self._process.stdin.write(keys)

    def end_input(self) -> None:
        """Say that no more input will come."""
        if not self._process.stdin.is_closing():
            self._process.stdin.write_eof()

    def resize(self, columns: int, rows: int) -> None:
        """Tell the command's terminal its new size."""
        self._process.change_terminal_size(columns, rows)

    def close(self) -> None:
        """Let go of the channel."""
        self._process.close()


async def _pass_on(reader: ByteReader, sink: Sink) -> None:
    try:
        async for data in pieces(reader):
            await sink(data)
    except (asyncssh.Error, OSError):
        return  # the connection broke, which `exit_code` tells, or the sink, which has told its own side


def _number(name: str) -> int:
    """The number of a signal as RFC 4254 §6.10 names it; 0 for one that this machine does not know."""
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        return 0


def command_runner(
    words: Sequence[str],
    *,
    unset: Sequence[str],
    variables: Mapping[str, str],
    defaults: Mapping[str, str],
    openers: Sequence[str],
) -> str:
    """The script that becomes the command: our openers first on PATH, and none of the variables by which a CLI takes
    itself for remote, where it would not open a browser at all.

    Several words are the command to the letter; a single one is a line for the person's own shell there, as with ssh.
    `variables` are set, `defaults` only where the target has not set them.
    """
    lines = [
        "d=${0%/*}",
        'printf "%s\\n" "$$" >"$d/pid.new" && mv "$d/pid.new" "$d/pid"',
        # Whoever stops it makes the one first, and looks for the other then; or has removed both.
        '[ ! -e "$d/stop" ] && [ -e "$d/pid" ] || exit 143',
        *([f"unset {' '.join(unset)}"] if unset else []),
        *(f'[ -n "${{{name}+set}}" ] || export {name}={shlex.quote(value)}' for name, value in defaults.items()),
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        # Without a terminal Python would keep the URL in its buffer until the login is over.
        "[ -t 1 ] || export PYTHONUNBUFFERED=1",
        *([f"export BROWSER=$d/bin/{openers[0]}"] if openers else []),
        f'export PATH="$d/bin:$PATH:{":".join(_EXTRA_DIRECTORIES)}"',
    ]
    if len(words) == 1:
        lines.append(f'exec "${{SHELL:-/bin/sh}}" -c {shlex.quote(words[0])}')
    else:
        name = shlex.quote(words[0])
        lines += [
            f'command -v {name} >/dev/null 2>&1 || {{ printf "%s: command not found\\n" {name} >&2; exit 127; }}',
            f"exec {shlex.join(words)}",
        ]
    return "\n".join(lines) + "\n"
