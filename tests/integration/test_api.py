"""The library's own functions for this machine: sign in, who, token, sign out, against the sandbox's services."""

from __future__ import annotations

import pytest

import kirotunnel
from integration.sign_in_world import RobotBrowser
from kirotunnel.sandbox.services import SignInServices


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
