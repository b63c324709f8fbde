"""Ports of the target that are kept from the remote CLI for a while, so that it takes others.

A `-R` listener that refuses whoever comes is the lightest way: it needs nothing on the target, and others get
EADDRINUSE. OpenSSH lets go of it when told; Dropbear only when the connection ends, so there a second connection holds
it. Where the server forwards nothing back, a program on the target listens, as long as its channel is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Collection
from typing import Final, NoReturn

import asyncssh

from kirotunnel.errors import KirotunnelError
from kirotunnel.ssh.connection import SSHSession, connect
from kirotunnel.ssh.control import ControlShell, start_shell
from kirotunnel.ssh.prompts import Nobody
from kirotunnel.ssh.scripts import assignments, read_script
from kirotunnel.ssh.session import Process, Session
from kirotunnel.wire.records import RecordReader
from kirotunnel.wire.terminal import one_line

EXEC_TIMEOUT_S: Final = 5.0
"""Seconds for a program on the target to say that it holds the ports."""
LISTENING_S: Final = 3.0
"""Seconds for it to listen on them when it has said so."""
_LOOK_AGAIN_S: Final = 0.2
# What these servers listen on for us is free again as soon as they are told so.
_LET_GO_WHEN_TOLD: Final = ("openssh", "asyncssh")


class PortHolds:
    """The ports of one login that are held on its target."""

    def __init__(self, session: Session, shell: ControlShell, *, lease_s: int) -> None:
        self._session = session
        self._shell = shell
        self._lease_s = lease_s
        self._stack = contextlib.AsyncExitStack()

    async def take(self, ports: Collection[int]) -> dict[int, str]:
        """Hold as many of these ports as can be held; gives by which method each is. Never raises for a port."""
        held = await self._by_forward(ports)
        if missing := [port for port in ports if port not in held]:
            held |= await self._by_exec(missing)
        return held

    async def release(self) -> None:
        """Let go of all. May be called more than once; never raises."""
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        with contextlib.suppress(asyncssh.Error, OSError, KirotunnelError):
            await stack.aclose()

    # --- by forwarding -----------------------------------------------------------------------------------------------

    async def _by_forward(self, ports: Collection[int]) -> dict[int, str]:
        first = self._session
        if not isinstance(first, SSHSession):
            return {}
        if any(name in first.server.lower() for name in _LET_GO_WHEN_TOLD):
            return await self._forward(first, ports, self._stack, "forward")
        async with contextlib.AsyncExitStack() as stack:
            try:
                # Nobody is asked a password twice; where the keys do not do, a program on the target does it.
                session = await stack.enter_async_context(connect(first.endpoint, Nobody(), tell=lambda _: None))
                held = await self._forward(session, ports, stack, "second-connection")
            except KirotunnelError:
                return {}
            if held:
                self._stack.push_async_callback(stack.pop_all().aclose)
            return held

    async def _forward(
        self, session: SSHSession, ports: Collection[int], stack: contextlib.AsyncExitStack, method: str
    ) -> dict[int, str]:
        asked = [session.connection.create_server(_refuse, "127.0.0.1", port) for port in ports]
        held = {}
        for port, answer in zip(ports, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            match answer:
                case asyncssh.SSHListener():
                    stack.push_async_callback(_close, answer)
                    held[port] = method
                case asyncssh.ChannelListenError() | asyncssh.Error() | OSError():
                    pass  # refused, or the connection is gone, which is noticed elsewhere
                case BaseException():
                    raise answer
        return held

    # --- by a program on the target ----------------------------------------------------------------------------------

    async def _by_exec(self, ports: Collection[int]) -> dict[int, str]:
        try:
            process = await start_shell(self._session, self._shell)
        except KirotunnelError:
            return {}
        self._stack.push_async_callback(_end, process)
        nonce = secrets.token_hex(12)
        header = assignments(N=nonce, PORTS=" ".join(map(str, ports)), LEASE_S=str(self._lease_s))
        held: dict[int, str] = {}
        try:
            process.stdin.write(f"{header}{read_script('hold.sh')}".encode())
            async with asyncio.timeout(EXEC_TIMEOUT_S):
                said = await _held_by(process, RecordReader(nonce))
        except (TimeoutError, asyncssh.Error, OSError):
            return held
        wanted = {port: f"exec:{tool}" for port, tool in said.items() if port in ports}
        # What is not among the listeners there was said, but not done; or not done yet: socat takes a second to start
        # where much else does.
        there = await self._seen(wanted)
        return {port: method for port, method in wanted.items() if there is None or port in there}

    async def _seen(self, wanted: Collection[int]) -> set[int] | None:
        """Those of the ports that are listened on, all of them if they come in time; None where nobody can say."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LISTENING_S
        while True:
            try:
                rows = await self._shell.listeners() if wanted else None
            except KirotunnelError:
                return None  # that the connection is gone is noticed elsewhere, and all is held again by the next
            if rows is None:
                return None
            there = {row.port for row in rows}
            if there.issuperset(wanted) or loop.time() > until:
                return there
            await asyncio.sleep(_LOOK_AGAIN_S)


def _refuse(host: str, port: int) -> NoReturn:
    # Returning False instead would end the whole connection.
    raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "this port is only held")


async def _close(listener: asyncssh.SSHListener) -> None:
    listener.close()
    await listener.wait_closed()


async def _end(process: Process) -> None:
    """Its end of input is its word to let go; wait until it has."""
    with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
        process.stdin.write_eof()
        async with asyncio.timeout(EXEC_TIMEOUT_S):
            await process.wait_closed()
    process.close()


async def _held_by(process: Process, reader: RecordReader) -> dict[int, str]:
    """The ports that the program says it holds, and its name."""
    said: dict[int, str] = {}
    while data := await process.stdout.read(4096):
        for record in reader.feed(data):
            if record.key == "holding":
                return said
            port, _, tool = record.value.partition(" ")
            if record.key == "held" and port.isdecimal() and len(port) < 6:
                said[int(port)] = one_line(tool, 20)
    return said
