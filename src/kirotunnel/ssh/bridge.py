"""One connection to a port of the target's loopback: by forwarding, and where the server forbids that, over a command.

The gated request is small and goes one way and back, so whatever the target has that can open a socket will carry it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from typing import Final, Literal

import asyncssh

from kirotunnel.errors import CallbackUndeliveredError, ForwardingRefusedError, KirotunnelError
from kirotunnel.ssh.container import ContainerSession
from kirotunnel.ssh.control import ControlShell, start_shell
from kirotunnel.ssh.forwards import forwards_to_target
from kirotunnel.ssh.scripts import assignments, read_script
from kirotunnel.ssh.session import ByteStream, Process, Session, broken_stream, raise_if_lost

CONNECT_S: Final = 15.0
"""Seconds for the command on the target to say that it has connected."""
_MAX_GREETING: Final = 64 * 1024

Way = Literal["direct-tcpip", "exec"]


async def way_to_target(session: Session) -> Way:
    """How the target's ports will be reached, as far as trying tells (PermitOpen may allow some ports only).

    Raises TargetKindUnavailableError where its ports are those of this machine.
    """
    if isinstance(session, ContainerSession):
        session.check_ports()
    try:
        return "direct-tcpip" if await forwards_to_target(session) else "exec"
    except KirotunnelError:
        return "direct-tcpip"  # the connection is gone, and says so by itself


async def dial_target(
    session: Session, port: int, addresses: Sequence[str] = ("127.0.0.1",), *, beside: ControlShell | None = None
) -> ByteStream:
    """One connection to that port of the target's loopback, made once; the next address is tried where one refuses.

    `beside` is the control shell, whose channel carries it where there is no other.

    Raises CallbackUndeliveredError where nothing listens, ForwardingRefusedError where the server forbids forwarding
    and the target has nothing to carry it instead.
    """
    *others, last = addresses
    for address in others:
        with contextlib.suppress(CallbackUndeliveredError):
            return await _dial(session, port, address, beside)
    return await _dial(session, port, last, beside)


async def _dial(session: Session, port: int, address: str, beside: ControlShell | None) -> ByteStream:
    try:
        return await session.dial(port, address)
    except ForwardingRefusedError as refused:
        # Refused before anything was dialled there: the CLI's listener has seen nothing yet.
        return await _by_command(session, port, address, refused, beside)


async def _by_command(
    session: Session, port: int, address: str, refused: ForwardingRefusedError, beside: ControlShell | None
) -> ByteStream:
    nonce = secrets.token_hex(12)
    try:
        process = await start_shell(session, beside)
    except KirotunnelError as exc:
        raise ForwardingRefusedError(f"{refused.message}, and starts no other session either") from exc
    try:
        process.stdin.write(f"{assignments(N=nonce, A=address, P=str(port))}{read_script('bridge.sh')}".encode())
        async with asyncio.timeout(CONNECT_S):
            said, rest = await _greeting(process, nonce)
    except (TimeoutError, asyncssh.Error, OSError) as exc:
        process.close()
        raise ForwardingRefusedError(f"{refused.message}, and no command there carried it instead") from exc
    except BaseException:
        process.close()
        raise
    if said.startswith("connected"):
        return _CommandStream(process, rest, session)
    process.close()
    if said == "refused":
        where = session.where
        raise CallbackUndeliveredError(f"nothing takes the callback on port {port} of {where} any more")
    tried = "python3, perl, bash, socat, ncat, nc, busybox, curl"
    raise ForwardingRefusedError(f"{refused.message}, and has nothing to carry it instead (tried {tried})")


async def _greeting(process: Process, nonce: str) -> tuple[str, bytes]:
    """What the script said, and what came of the connection already. Raises OSError where it ends without a word."""
    received = b""
    mark = f"{nonce} ".encode()
    while len(received) < _MAX_GREETING:
        data = await process.stdout.read(4096)
        if not data:
            break
        received += data
        _, found, after = received.partition(mark)
        if found and b"\n" in after:
            said, _, rest = after.partition(b"\n")
            return said.decode("ascii", "replace").strip(), rest
    raise ConnectionResetError("the command ended without a word")


class _CommandStream:
    """The standard input and output of the command as the byte stream of its connection."""

    def __init__(self, process: Process, received: bytes, session: Session) -> None:
        self._process = process
        self._received = received
        self._session = session

    async def read(self, limit: int) -> bytes:
        """Up to `limit` bytes; empty at the end. Raises OSError, or ConnectionLostError where the target is gone."""
        if self._received:
            data, self._received = self._received[:limit], self._received[limit:]
            return data
        try:
            data = await self._process.stdout.read(limit)
        except (asyncssh.Error, OSError) as exc:
            raise broken_stream(self._session, exc) from exc
        if not data:
            raise_if_lost(self._session)
        return data

    async def write(self, data: bytes) -> None:
        """Send all of it. Raises as `read` does."""
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (asyncssh.Error, OSError) as exc:
            raise broken_stream(self._session, exc) from exc

    async def close(self) -> None:
        """End the command by its end of input, then let go of the channel; never raises."""
        with contextlib.suppress(asyncssh.Error, OSError):
            self._process.stdin.write_eof()
        self._process.close()
