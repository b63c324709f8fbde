"""A server that opens channels which nobody asked for: each is refused, nothing here is reached, the login goes on.

The server is asyncssh's, as the demo has it; what it sends is what a server that means harm would (RFC 4254 §5.1).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import asyncssh
import pytest
from asyncssh.packet import String, UInt32

import kirotunnel
from integration.sign_in_world import RobotBrowser
from kirotunnel.sandbox.services import SignInServices
from kirotunnel.sandbox.sshd import EmbeddedRemote
from kirotunnel.ssh.config import SSHOptions

X11_BASE: Final = 6000
HELD: Final = 3128
"""The first port that the CLI would take: busy here, and held there for us."""
REQUEST_FAILURE: Final = 82
"""SSH_MSG_REQUEST_FAILURE (RFC 4250 §4.1.2)."""


class Bait:
    """What a server would like to reach on this machine: an agent, a display, a service; and whether it was reached."""

    def __init__(self, directory: Path) -> None:
        self.agent_path = str(directory / "agent")
        self._agent = socket.socket(socket.AF_UNIX)
        self._agent.bind(self.agent_path)
        self._agent.listen()
        self._display = socket.create_server(("127.0.0.1", 0))
        self._service = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._service.getsockname()[1]
        self.display = f"127.0.0.1:{self._display.getsockname()[1] - X11_BASE}"
        for listener in self._listeners:
            listener.setblocking(False)

    @property
    def _listeners(self) -> tuple[socket.socket, ...]:
        return self._agent, self._display, self._service

    def visitors(self) -> int:
        """How many have come since this was asked last."""
        count = 0
        for listener in self._listeners:
            while True:
                try:
                    visitor, _ = listener.accept()
                except BlockingIOError:
                    break
                visitor.close()
                count += 1
        return count

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()


@pytest.fixture
def bait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bait]:
    made = Bait(tmp_path)
    monkeypatch.setenv("DISPLAY", made.display)
    monkeypatch.setenv("SSH_AUTH_SOCK", made.agent_path)
    yield made
    made.close()


def openings(bait: Bait) -> list[tuple[bytes, ...]]:
    """Each kind of channel with what its request says."""
    return [
        (b"session",),
        (b"direct-tcpip", *of_port(bait.port)),
        (b"forwarded-tcpip", *of_port(bait.port)),
        (b"forwarded-tcpip", *of_port(HELD)),
        (b"x11", String("127.0.0.1"), UInt32(1)),
        (b"auth-agent@openssh.com",),
        (b"auth-agent",),
        (b"direct-streamlocal@openssh.com", String(bait.agent_path), String(""), UInt32(0)),
        (b"forwarded-streamlocal@openssh.com", String(bait.agent_path), String("")),
        (b"tun@openssh.com", UInt32(1), UInt32(0)),
        (b"something@else.example",),
    ]


def of_port(port: int) -> tuple[bytes, ...]:
    return String("127.0.0.1"), UInt32(port), String("127.0.0.1"), UInt32(1)


async def refused(server: asyncssh.SSHServerConnection, *request: bytes) -> bool:
    """Whether the client refuses that channel."""
    channel = server.create_tcp_channel()
    try:
        await channel._open(*request)
    except asyncssh.ChannelOpenError:
        return True
    return False


class ReachingBrowser(RobotBrowser):
    """Signs in on each page, once the server has tried all that it could open."""

    remote: EmbeddedRemote
    bait: Bait

    def __init__(self, method: str) -> None:
        super().__init__(method)
        self.taken: list[bytes] = []
        self.tried = 0

    async def open(self, url: str) -> str:
        (server,) = self.remote._clients
        for request in openings(self.bait):
            self.tried += 1
            if not await refused(server, *request):
                self.taken.append(request[0])
        listening, _ = await server._make_global_request(b"tcpip-forward", String("127.0.0.1"), UInt32(0))
        if listening != REQUEST_FAILURE:
            self.taken.append(b"tcpip-forward")
        return await super().open(url)


async def test_no_channel_that_the_server_opens_is_taken_and_the_login_goes_on(bait: Bait) -> None:
    events: list[kirotunnel.Event] = []
    async with SignInServices() as services, EmbeddedRemote(services.environment()) as remote:
        browser = ReachingBrowser("idc")
        browser.remote, browser.bait = remote, bait
        config = remote.ssh_config.read_text(encoding="utf-8")
        asks_for_all = "  ForwardAgent yes\n  ForwardX11 yes\n  ForwardX11Trusted yes\n  IdentityAgent none\n"
        remote.ssh_config.write_text(config + asks_for_all, encoding="utf-8")
        with socket.create_server(("::1", HELD), family=socket.AF_INET6):  # the remote shares 127.0.0.1 with us
            result = await kirotunnel.login(
                remote.alias,
                ssh=SSHOptions(config_file=str(remote.ssh_config)),
                browser=browser,
                trust_url_hosts=[f"127.0.0.1:{services.port}"],
                timeout_s=60,
                on_event=events.append,
            )
        assert remote.connections_seen == 1
    assert result.account.email is not None
    assert "port_steered" in [event.name() for event in events]
    assert (browser.tried, browser.taken, bait.visitors()) == (2 * len(openings(bait)), [], 0)
