"""A login by the library on the embedded remote, whose connections are cut: what the demo could show as well."""

from __future__ import annotations

import pytest

import kirotunnel
from integration.sign_in_world import RobotBrowser
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
