"""Connections to a port of the target's loopback over a real sshd."""

from __future__ import annotations

import asyncio
import shlex
from typing import Final

import pytest

from integration.ssh.conftest import MakeRoute
from kirotunnel.ssh.connection import SSHSession
from lab.servers import Server

BUSY: Final = """\
import socket, sys
server = socket.create_server(("127.0.0.1", 0), backlog=0)
waiting = [socket.socket() for _ in range(4)]
for each in waiting:
    each.setblocking(False)
    each.connect_ex(server.getsockname())
print(server.getsockname()[1], flush=True)
sys.stdin.readline()
while True:
    visitor, _ = server.accept()
    visitor.sendall(b"here")
"""
"""A listener whose queue is full until it is told to go on."""


async def test_a_listener_that_is_busy_is_waited_for_as_long_as_the_server_answers(
    sshd: Server, route: MakeRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()
    forwards = SSHSession.forwards

    async def noticed(session: SSHSession) -> bool:
        answer = await forwards(session)
        asked.set()
        return answer

    monkeypatch.setattr(SSHSession, "forwards", noticed)
    async with route(sshd.entry("box", "bash")).to("box") as session, asyncio.timeout(60):
        busy = await session.start(f"exec python3 -c {shlex.quote(BUSY)}")
        port = int(await busy.stdout.readline())
        dialling = asyncio.create_task(session.dial(port))
        await asked.wait()
        assert not dialling.done()
        busy.stdin.write(b"\n")
        stream = await dialling
        assert await stream.read(10) == b"here"
        assert not session.lost.done()
        await stream.close()
        busy.terminate()
        await busy.wait_closed()
