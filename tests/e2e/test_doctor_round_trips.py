"""How often doctor waits for the other side: over a line that is slow both ways."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from e2e.conftest import MakeBox
from kirotunnel.diagnose.probes import look_there
from kirotunnel.profiles.profile import load_profile
from kirotunnel.ssh.config import SSHOptions, resolve_endpoint
from kirotunnel.ssh.connection import connect
from kirotunnel.ssh.prompts import Nobody
from lab.servers import Server

ONE_WAY_S = 1.5
"""So long that what the other side works, more or less as the machine is busy, is little beside half a round trip."""


@dataclass
class Line:
    """A port here that leads there."""

    port: int = 0
    delay_s: float = 0.0
    """In each direction, from now on."""


@contextlib.asynccontextmanager
async def open_line(host: str, port: int) -> AsyncIterator[Line]:
    """A line without delay so far."""
    line, loop = Line(), asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            loop.call_later(line.delay_s, writer.write, data)
        loop.call_later(line.delay_s, writer.close)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        for pair in ((reader, far_writer), (far_reader, writer)):
            tasks.add(asyncio.create_task(pass_on(*pair)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        line.port = server.sockets[0].getsockname()[1]
        yield line
    finally:
        server.close()
        await asyncio.sleep(2 * line.delay_s)  # what is on its way arrives
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def seconds_to_look(config: str, alias: str, line: Line, *options: str) -> float:
    endpoint = await resolve_endpoint(alias, SSHOptions(config_file=config, options=options))
    async with connect(endpoint, Nobody(), lambda _: None) as session:
        line.delay_s = ONE_WAY_S
        began = time.monotonic()
        await look_there(session, cli="kiro-cli", profile=load_profile("kiro-cli"))
        return time.monotonic() - began


async def test_doctor_waits_for_three_round_trips_at_most(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    key = f"HostKeyAlias={sshd.host}" if sshd.port == 22 else f"HostKeyAlias=[{sshd.host}]:{sshd.port}"
    at_once = await seconds_to_look(str(box.config), box.alias, Line())
    async with open_line(sshd.host, sshd.port) as line:
        slow = await seconds_to_look(str(box.config), box.alias, line, "HostName=127.0.0.1", f"Port={line.port}", key)
    round_trips = (slow - at_once) / (2 * ONE_WAY_S)
    assert round_trips < 3.5, f"{round_trips:.1f} round trips"
