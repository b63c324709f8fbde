"""A login by the library on the embedded remote, whose connections are cut: what the demo could show as well."""

from __future__ import annotations

import pytest

import kirotunnel
from integration.sign_in_world import Notes, RobotBrowser
from kirotunnel import events as ev
from kirotunnel.errors import LoginTimedOutError
from kirotunnel.flows.environment import Environment
from kirotunnel.flows.remote_login import LoginOptions, login
from kirotunnel.sandbox.services import SignInServices
from kirotunnel.sandbox.sshd import EmbeddedRemote
from kirotunnel.ssh.config import SSHOptions


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
