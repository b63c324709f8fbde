"""A run whose port is given up in an awkward moment: it must not stay bound for the rest of the process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

import kirotunnel
from integration.relay_ends import PATIENCE, free_port
from kirotunnel import events as ev
from kirotunnel.errors import ConnectionLostError
from kirotunnel.flows import run_steps as m
from kirotunnel.flows.environment import Environment
from kirotunnel.flows.run import RunOptions, Streams, _Run
from kirotunnel.local.callback_ports import CallbackPorts, Lease
from kirotunnel.local.loopback import busy_on_loopback
from kirotunnel.local.relay import Route
from kirotunnel.sandbox.services import SignInServices
from kirotunnel.sandbox.sshd import EmbeddedRemote
from kirotunnel.ssh.config import SSHOptions
from kirotunnel.ssh.this_machine import this_machine
from kirotunnel.wire.gate import LegRule
from kirotunnel.wire.redirect import UrlPolicy

# On an address that is not ours, as the embedded remote has no loopback of its own for other commands.
LISTENS = """
import socket, subprocess, sys, time
server = socket.create_server(("127.0.0.2", int(sys.argv[1])))
subprocess.run(["xdg-open", sys.argv[2]], check=True)
time.sleep(600)  # no test waits for it: the connection is cut, or the run given up
"""


class NoBrowser:
    async def open(self, url: str) -> str:
        return "none"


async def listening(remote: EmbeddedRemote, port: int, hear: Callable[[ev.Event], None], out: int) -> int:
    """Run a command that signs in, and wait for it."""
    redirect = quote(f"http://localhost:{port}/callback", safe="")
    page = f"https://idp.example/authorize?response_type=code&redirect_uri={redirect}&state=s-1"
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        return await kirotunnel.run(
            remote.alias,
            [sys.executable, "-c", LISTENS, str(port), page],
            ssh=SSHOptions(config_file=str(remote.ssh_config)),
            trust_url_hosts=["idp.example"],
            browser=NoBrowser(),
            timeout_s=2 * PATIENCE,
            stdin=nothing,
            stdout=out,
            stderr=out,
            on_event=hear,
        )
    finally:
        os.close(nothing)


@pytest.fixture
def out(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


async def test_when_the_connection_is_lost_the_port_is_free_again(out: int) -> None:
    events: list[ev.Event] = []
    port = free_port()
    async with SignInServices() as services, EmbeddedRemote(services.environment()) as remote:

        def hear(event: ev.Event) -> None:
            events.append(event)
            if isinstance(event, ev.TunnelOpened):
                remote.drop()

        with pytest.raises(ConnectionLostError):
            await listening(remote, port, hear, out)
        assert busy_on_loopback([port]) == {}
    assert [event.name() for event in events].count("tunnel_closed") == 1


async def test_nothing_is_left_though_who_hears_of_it_raises(out: int) -> None:
    port, opened = free_port(), asyncio.Event()

    def hear(event: ev.Event) -> None:
        if isinstance(event, ev.TunnelOpened):
            opened.set()
        if isinstance(event, ev.TunnelClosed):
            raise EOFError

    async with SignInServices() as services, EmbeddedRemote(services.environment()) as remote:
        running = asyncio.ensure_future(listening(remote, port, hear, out))
        await opened.wait()
        running.cancel()
        with pytest.raises(EOFError):
            await running
        assert busy_on_loopback([port]) == {}
        assert list(remote.tmp.iterdir()) == []


class SlowPorts(CallbackPorts):
    """Has a port only once it is told to."""

    def __init__(self) -> None:
        super().__init__(None)
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def lease(self, route: Route) -> Lease:
        self.asked.set()
        await self.go.wait()
        return await super().lease(route)


async def test_a_port_that_is_closed_while_it_is_being_opened_is_not_had_afterwards() -> None:
    ports, port = SlowPorts(), free_port()
    rule = LegRule(leg=0, paths=frozenset(), state=None)
    async with this_machine() as session, asyncio.timeout(PATIENCE):
        options = RunOptions(target="box", command=("true",))
        run = _Run(options, Environment(ports=ports), session, Streams(takes_interrupts=False), None)
        async with run:
            await run._perform(m.OpenTunnel(port, ("127.0.0.1",), rule, UrlPolicy()))
            await ports.asked.wait()
            await run._perform(m.CloseTunnel(port))
            assert await run._queue.get() == m.TunnelEnded(port)
            ports.go.set()
            while run._tasks:
                await asyncio.sleep(0.01)
            assert busy_on_loopback([port]) == {}
