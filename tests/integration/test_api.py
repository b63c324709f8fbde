"""The library's own functions, by the sandbox: this machine's sign-in from end to end, and a command on another."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

import kirotunnel
from integration.sign_in_world import RobotBrowser
from kirotunnel.events import BrowserOpened, TunnelClosed
from kirotunnel.sandbox.services import SignInServices
from kirotunnel.sandbox.sshd import EmbeddedRemote
from kirotunnel.ssh.config import SSHOptions


async def test_a_session_from_sign_in_to_sign_out(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    async with SignInServices() as services:
        for name, value in services.environment().items():
            monkeypatch.setenv(name, value)
        assert await kirotunnel.whoami() is None
        result = await kirotunnel.login_here(
            method="google",
            flow="callback",
            browser=RobotBrowser("google"),
            trust_url_hosts=[f"127.0.0.1:{services.port}"],
            on_event=lambda event: events.append(event.name()),
        )
        assert result.account.email == "ada@example.com"
        assert await kirotunnel.whoami() == result.account
        token = await kirotunnel.token()
        assert token.reveal()
        assert str(token) == "***"
        assert (await kirotunnel.logout()).revoked
        assert await kirotunnel.whoami() is None
        with pytest.raises(kirotunnel.KirotunnelError):
            await kirotunnel.token()
    assert events[-1] == "signed_in"


async def test_a_login_leaves_nothing_there_though_who_hears_of_it_raises() -> None:
    opened = asyncio.Event()

    def hear(event: kirotunnel.Event) -> None:
        if isinstance(event, BrowserOpened):
            opened.set()
        if isinstance(event, TunnelClosed):
            raise EOFError

    class Unused:
        async def open(self, url: str) -> str:
            return "nothing"

    async with SignInServices() as services, EmbeddedRemote(services.environment()) as remote:
        login = asyncio.ensure_future(
            kirotunnel.login(
                remote.alias,
                ssh=SSHOptions(config_file=str(remote.ssh_config)),
                browser=Unused(),
                trust_url_hosts=[f"127.0.0.1:{services.port}"],
                on_event=hear,
            )
        )
        await opened.wait()
        login.cancel()
        with pytest.raises(EOFError):
            await login
        assert list(remote.tmp.iterdir()) == []


async def test_a_command_leaves_ctrl_c_to_the_program_that_calls_us(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        async with SignInServices() as services, EmbeddedRemote(services.environment()) as remote:
            ssh = SSHOptions(config_file=str(remote.ssh_config))
            assert await kirotunnel.run(remote.alias, ["echo", "hello"], ssh=ssh, stdin=nothing, stdout=out) == 0
    finally:
        os.close(out)
        os.close(nothing)
    assert (tmp_path / "out").read_text() == "hello\n"
    assert signal.getsignal(signal.SIGINT) is before
