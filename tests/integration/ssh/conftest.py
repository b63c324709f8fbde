"""Routes, agents and further machines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.ssh.people import Route
from lab.keys import ClientKeys
from lab.remote import RemoteMachine
from lab.requirements import require, require_laboratory
from lab.servers import HostEntry

MakeRoute = Callable[..., Route]


@pytest.fixture
def route(tmp_path: Path) -> MakeRoute:
    def make(*entries: HostEntry) -> Route:
        config = tmp_path / "ssh_config"
        config.write_text("\n".join(map(str, entries)))
        return Route(config)

    return make


@pytest.fixture(autouse=True)
async def nothing_unreaped() -> AsyncIterator[None]:
    """Nobody waits for a ProxyCommand that was let go of; asyncio's thread does, and needs this loop to say so."""
    yield
    async with asyncio.timeout(30):
        while any("waitpid-" in thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.01)


@dataclass
class Agent:
    """A real ssh-agent."""

    socket: Path
    pid: int

    def add(self, *keys: Path) -> None:
        env = os.environ | {"SSH_AUTH_SOCK": str(self.socket)}
        subprocess.run(["ssh-add", "-q", *map(str, keys)], env=env, check=True, timeout=20, stdin=subprocess.DEVNULL)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    require("ssh-agent", "ssh-add")
    socket = tmp_path / "agent"
    said = subprocess.run(["ssh-agent", "-s", "-a", str(socket)], capture_output=True, text=True, check=True).stdout
    running = Agent(socket, int(said.split("SSH_AGENT_PID=")[1].split(";")[0]))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def other_machines(tmp_path_factory: pytest.TempPathFactory, client_keys: ClientKeys) -> Iterator[list[RemoteMachine]]:
    """Three more machines, each in namespaces of its own."""
    require_laboratory()
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    with contextlib.ExitStack() as stack:
        machines = [
            stack.enter_context(RemoteMachine(tmp_path_factory.mktemp(f"machine{number}"), keys=client_keys))
            for number in range(3)
        ]
        yield machines
