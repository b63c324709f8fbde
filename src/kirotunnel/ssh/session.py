"""What every flow needs of a target, by whatever way it is reached: a place where commands run, and its ports.

There are three: an SSH connection (`connection`), a container on any of these (`container`), and this machine itself
(`this_machine`). What differs beyond this (forwarding, held ports) is asked of the kind.
"""

from __future__ import annotations

import asyncio
from subprocess import PIPE
from typing import Protocol

from kirotunnel.errors import ConnectionLostError
from kirotunnel.wire.terminal import one_line


class ByteReader(Protocol):
    """The output of a process."""

    async def read(self, n: int = -1, /) -> bytes:
        """Up to n bytes; empty at the end. Raises OSError or asyncssh.Error where it breaks."""


class ByteWriter(Protocol):
    """The input of a process."""

    def write(self, data: bytes, /) -> None:
        """Send it, sooner or later."""

    def write_eof(self) -> None:
        """Say that this was all."""

    async def drain(self) -> None:
        """Wait until more may be sent. Raises OSError or asyncssh.Error where it breaks."""

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""

    def close(self) -> None:
        """Send what is left, and no more."""


class Process(Protocol):
    """A command that runs there."""

    @property
    def stdin(self) -> ByteWriter:
        """Its input."""

    @property
    def stdout(self) -> ByteReader:
        """Its output; with a terminal, all of it."""

    @property
    def stderr(self) -> ByteReader:
        """Its words of complaint."""

    @property
    def exit_status(self) -> int | None:
        """Once it has ended; None where a signal ended it, or where nobody knows."""

    @property
    def exit_signal(self) -> tuple[str, bool, str, str] | None:
        """The signal that ended it, as RFC 4254 §6.10 has it: name, core dumped, message, language."""

    async def wait_closed(self) -> None:
        """Wait for its end."""

    def change_terminal_size(self, width: int, height: int, /) -> None:
        """Columns and rows of its terminal."""

    def terminate(self) -> None:
        """Ask it to end. May do nothing where that cannot be asked."""

    def close(self) -> None:
        """Let go of it; never raises."""


class ByteStream(Protocol):
    """A connection to a port there."""

    async def read(self, limit: int) -> bytes:
        """Up to `limit` bytes; empty at the end. Raises OSError, or ConnectionLostError where the target is gone."""

    async def write(self, data: bytes) -> None:
        """Send all of it. Raises as `read` does."""

    async def close(self) -> None:
        """Close it; never raises."""


class Host(Protocol):
    """Where commands run."""

    @property
    def network(self) -> str | None:
        """The network that it shares with us, as Linux calls it (namespaces(7)); None for another machine."""

    @property
    def where(self) -> str:
        """How messages call it."""

    @property
    def host_key(self) -> str:
        """`SHA256:…` of its server's key; empty where there is no server."""

    @property
    def lost(self) -> asyncio.Future[str]:
        """Done when nothing can be started there any more, with the reason."""

    async def start(
        self,
        command: str,
        *,
        term_type: str | None = None,
        term_size: tuple[int, int] | None = None,
        stdin: int = PIPE,
    ) -> Process:
        """Run a command, on a terminal where `term_type` is given. `stdin` is PIPE or DEVNULL.

        The command is `exec` and words that no shell would read otherwise than they stand: nobody knows which login
        shell gets to see them. Raises SessionRefusedError or ConnectionLostError.
        """


class Session(Host, Protocol):
    """A target that was reached."""

    @property
    def server(self) -> str:
        """What lets us in: an SSH server's version line, a container engine."""

    async def dial(self, port: int, address: str = "127.0.0.1") -> ByteStream:
        """One connection to that port there, at the literal loopback address; kiro-cli binds 127.0.0.1.

        Raises CallbackUndeliveredError where nothing listens, ForwardingRefusedError where there is no such way.
        """


def connection_lost(where: str, why: object) -> ConnectionLostError:
    """The error of a connection that is gone, with what somebody else says of the reason."""
    words = one_line(str(why))
    return ConnectionLostError(f"the connection to {where} was lost" + (f": {words}" if words else ""))


def raise_if_lost(session: Session) -> None:
    """Raises ConnectionLostError where the target is gone, as what fails then should say."""
    if session.lost.done():
        raise connection_lost(session.where, session.lost.result())


def broken_stream(session: Session, cause: Exception) -> OSError:
    """The error of a stream that broke. Raises ConnectionLostError where the target is gone with it."""
    raise_if_lost(session)
    return ConnectionResetError(str(cause))
