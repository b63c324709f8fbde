"""A login by the library on the embedded remote, whose connections are cut: what the demo could show as well."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
from collections.abc import Iterator
from typing import Final

import pytest

import kirotunnel
from integration.sign_in_world import Notes, RobotBrowser
from kirotunnel import events as ev
from kirotunnel.errors import ConnectionLostError, LoginTimedOutError
from kirotunnel.flows.environment import Environment
from kirotunnel.flows.remote_login import LoginOptions, login
from kirotunnel.local.terminal import Terminal
from kirotunnel.sandbox.services import SignInServices
from kirotunnel.sandbox.sshd import EmbeddedRemote
from kirotunnel.ssh.config import SSHOptions
from kirotunnel.ssh.control import ControlShell
from kirotunnel.wire.redirect import TrustedHost

PROFILES: Final = {"KIRO_STANDIN_PROFILES": '[["one", "arn:aws:x:1"], ["two", "arn:aws:x:2"]]'}
MENU: Final = "Select an IAM Identity Center profile"


class DroppingBrowser(RobotBrowser):
    """Signs in on each page, once the connection to the remote was cut."""

    remote: EmbeddedRemote

    async def open(self, url: str) -> str:
        self.remote.drop()
        return await super().open(url)


@pytest.mark.parametrize(("method", "pages"), [("google", 1), ("idc", 2)])
async def test_a_login_whose_connection_is_cut_at_each_page(method: str, pages: int) -> None:
    events: list[kirotunnel.Event] = []
    async with (
        SignInServices() as services,
        EmbeddedRemote(services.environment()) as remote,
    ):
        browser = DroppingBrowser(method)
        browser.remote = remote
        result = await kirotunnel.login(
            remote.alias,
            ssh=SSHOptions(config_file=str(remote.ssh_config)),
            browser=browser,
            trust_url_hosts=[f"127.0.0.1:{services.port}"],
            timeout_s=60,
            on_event=events.append,
        )
        assert list(remote.tmp.iterdir()) == []
        assert remote.connections_seen == pages + 1
    names = [event.name() for event in events]
    assert result.account.email is not None
    assert (names.count("connection_lost"), names.count("reconnected")) == (pages, pages)
    assert names.count("callback_received") == pages


class CutOnArrival(Notes):
    """Cuts the first connection as soon as it stands."""

    remote: EmbeddedRemote

    def event(self, event: ev.Event) -> None:
        super().event(event)
        if isinstance(event, ev.Connected):
            self.remote.drop()


class TurnThatNeverComes:
    """A turn that is waited for in vain."""

    longest_s = 3600.0
    waits = 0

    async def wait(self) -> float:
        self.waits += 1
        assert self.waits == 1
        raise LoginTimedOutError("demo-host waited in vain for its turn at the browser")


async def test_a_turn_that_never_comes_is_not_waited_for_again_after_a_drop() -> None:
    notes, turn = CutOnArrival(), TurnThatNeverComes()
    async with EmbeddedRemote({}) as remote:
        notes.remote = remote
        options = LoginOptions(target=remote.alias, ssh=SSHOptions(config_file=str(remote.ssh_config)))
        with pytest.raises(LoginTimedOutError):
            await login(options, Environment(conversation=notes, turn=turn))
    assert turn.waits == 1
    assert notes.names.count("connection_lost") == 1


# --- the answer to the start alone is lost ---------------------------------------------------------------------------


def lose_the_answer_to_the_start(remote: EmbeddedRemote, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CLI is started, and the connection cut before that is known here."""
    start_cli = ControlShell.start_cli

    async def unanswered(self: ControlShell, **how: object) -> None:
        await start_cli(self, **how)  # type: ignore[arg-type]  # as it was called
        # This remote ends the process group of who is cut off, as sshd does not: the holder is to have left it by then.
        while not any(file.stat().st_size for file in remote.tmp.glob("kirotunnel.*/holder.pid")):
            await asyncio.sleep(0.01)
        remote.drop()
        raise ConnectionLostError("reset by peer")

    monkeypatch.setattr(ControlShell, "start_cli", unanswered)


class AtTheMenu(Notes):
    """Sees the CLI's menu."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = asyncio.Event()

    def remote(self, text: str) -> None:
        super().remote(text)
        if MENU in "".join(self.said):
            self.drawn.set()


@contextlib.contextmanager
def a_terminal() -> Iterator[tuple[Terminal, int]]:
    """A terminal, and where its keys are pressed."""
    keys, far_end = pty.openpty()
    try:
        with open(far_end, "w", encoding="utf-8") as out:
            yield Terminal(far_end, out), keys
    finally:
        os.close(keys)


async def test_the_keys_reach_a_cli_whose_start_only_the_next_connection_knew_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes = AtTheMenu()

    async def press_enter(keys: int) -> None:
        await notes.drawn.wait()
        while True:
            os.write(keys, b"\n")
            await asyncio.sleep(0.2)

    async with SignInServices() as services, EmbeddedRemote(services.environment() | PROFILES) as remote:
        lose_the_answer_to_the_start(remote, monkeypatch)
        options = LoginOptions(
            target=remote.alias,
            ssh=SSHOptions(config_file=str(remote.ssh_config)),
            trusted_hosts=(TrustedHost.parse(f"127.0.0.1:{services.port}"),),
            timeout_s=60,
        )
        with a_terminal() as (terminal, keys):
            environment = Environment(conversation=notes, browser=RobotBrowser("idc"), terminal=terminal)
            pressing = asyncio.ensure_future(press_enter(keys))
            try:
                result = await login(options, environment)
            finally:
                pressing.cancel()
    assert result.account.email is not None
    assert (notes.names.count("login_started"), notes.names.count("reconnected")) == (1, 1)


class LeavesAtTheDrop(Notes):
    """Presses Ctrl-C when the connection is lost."""

    login: asyncio.Future[object]

    def event(self, event: ev.Event) -> None:
        super().event(event)
        if isinstance(event, ev.ConnectionLost):
            self.login.cancel()


async def test_who_leaves_then_is_told_that_the_target_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = LeavesAtTheDrop()
    async with EmbeddedRemote({}) as remote:
        lose_the_answer_to_the_start(remote, monkeypatch)
        options = LoginOptions(target=remote.alias, ssh=SSHOptions(config_file=str(remote.ssh_config)))
        notes.login = asyncio.ensure_future(login(options, Environment(conversation=notes)))
        with pytest.raises(asyncio.CancelledError):
            await notes.login
    assert any("cannot be told that this sign-in is over" in sentence for sentence in notes.said)
