"""Against `oidc-provider`, which is certified and not ours, with a real Chromium for the person."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import sync_playwright

from integration.openid_provider import running_provider
from integration.sign_in_world import Notes
from kirotunnel import events as ev
from kirotunnel.errors import DiscoveryError, OAuthError, SessionEndedError, TokenRequestError
from kirotunnel.flows.native_login import SignInResult, sign_in
from kirotunnel.flows.session import SESSION, Choice, Sessions
from kirotunnel.flows.sign_in_environment import SignInEnvironment
from kirotunnel.flows.sign_in_route import SignInOptions
from kirotunnel.flows.sign_in_steps import SignInSteps
from kirotunnel.local.session_store import SessionStore
from kirotunnel.oauth import openid_provider as openid
from kirotunnel.oauth.authorization import Granted, read_response
from kirotunnel.oauth.http import HttpClient
from kirotunnel.oauth.session import dump
from lab.requirements import find, require

pytestmark = [pytest.mark.browser]

CLIENT_ID = "kirotunnel-test"
ANY = Choice()


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with running_provider() as url:
        yield url


class Chromium:
    """Opens pages in a real browser, where a person signs in and allows or cancels.

    Playwright works in a thread of its own: its greenlets and our event loop would be in each other's way.
    """

    def __init__(self, profile: Path) -> None:
        self.decision: Literal["allow", "deny"] = "allow"
        self.visits: list[Future[str]] = []
        self._profile = profile
        self._thread = ThreadPoolExecutor(1, "chromium")

    def start(self) -> None:
        self._thread.submit(self._start).result()

    def _start(self) -> None:
        switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        self._playwright = sync_playwright().start()
        self._context = self._playwright.chromium.launch_persistent_context(
            self._profile, executable_path=find("chromium"), args=switches
        )
        self._context.set_default_timeout(45_000)

    def stop(self) -> None:
        self._thread.submit(self._context.close).result()
        self._thread.submit(self._playwright.stop).result()
        self._thread.shutdown()

    async def open(self, url: str) -> str:
        self.visits.append(self._thread.submit(self._visit, url))
        return "chromium"

    def _visit(self, url: str) -> str:
        """What the browser shows in the end."""
        page = self._context.new_page()
        page.goto(url)
        for _ in range(6):
            if page.locator("input[name=login]").count():
                if self.decision == "deny":
                    with page.expect_navigation():
                        page.get_by_text("[ Cancel ]").click()
                    break
                page.fill("input[name=login]", "ada")
                page.fill("input[name=password]", "not-checked")
            button = page.locator("button[type=submit]").first
            if not button.count():
                break
            with page.expect_navigation():
                button.click()
        page.wait_for_load_state()
        return page.inner_text("body")

    async def shown(self) -> str:
        """What the last page says."""
        return await asyncio.wrap_future(self.visits[-1])


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Chromium]:
    require("chromium")
    browser = Chromium(tmp_path / "profile")
    browser.start()
    yield browser
    browser.stop()


@pytest.fixture
def environment(tmp_path: Path, chromium: Chromium) -> SignInEnvironment:
    return SignInEnvironment(store=SessionStore(tmp_path / "kirotunnel"), conversation=Notes(), browser=chromium)


async def signed_in(issuer: str, environment: SignInEnvironment, **options: Any) -> SignInResult:
    return await sign_in(SignInOptions(issuer=issuer, client_id=CLIENT_ID, timeout_s=60, **options), environment)


def later(environment: SignInEnvironment, seconds: float) -> SignInEnvironment:
    return replace(environment, now=lambda: time.time() + seconds)


async def test_code_with_pkce_then_renewal_with_rotation_then_revocation(
    issuer: str, environment: SignInEnvironment, chromium: Chromium
) -> None:
    result = await signed_in(issuer, environment)
    assert result.account == ev.Account(type="external-idp", email="ada@example.com")
    assert "You are signed in" in await chromium.shown()
    first = await Sessions(environment).fresh(ANY)

    second = await Sessions(later(environment, 3600)).fresh(ANY)
    assert second.tokens.access_token != first.tokens.access_token
    assert second.tokens.refresh_token != first.tokens.refresh_token

    assert (await Sessions(environment).end(ANY)).revoked
    # The provider knows it, too: what was revoked renews nothing.
    await environment.store.put(SESSION + second.key, dump(second), make_current=True)
    with pytest.raises(SessionEndedError):
        await Sessions(later(environment, 9000)).fresh(ANY)
    assert await environment.store.names() == ()


async def test_a_refresh_token_that_was_spent_ends_the_session(issuer: str, environment: SignInEnvironment) -> None:
    await signed_in(issuer, environment)
    first = await Sessions(environment).fresh(ANY)
    await Sessions(later(environment, 3600)).fresh(ANY)
    await environment.store.put(SESSION + first.key, dump(first), make_current=True)
    with pytest.raises(SessionEndedError, match="invalid_grant"):
        await Sessions(later(environment, 3600)).fresh(ANY)


async def test_by_one_time_code(issuer: str, environment: SignInEnvironment) -> None:
    hasty = replace(environment, sleep=lambda seconds: asyncio.sleep(min(seconds, 0.5)))
    result = await signed_in(issuer, hasty, flow="device")
    assert result.account.email == "ada@example.com"
    notes = environment.conversation
    assert isinstance(notes, Notes)
    (code,) = [event for event in notes.events if isinstance(event, ev.DeviceCode)]
    assert code.user_code in code.url


async def test_cancelled(issuer: str, environment: SignInEnvironment, chromium: Chromium) -> None:
    chromium.decision = "deny"
    with pytest.raises(OAuthError, match="denied") as caught:
        await signed_in(issuer, environment)
    assert caught.value.code == "KT601"
    assert "The sign-in was denied" in await chromium.shown()


async def test_another_issuer_in_the_metadata(environment: SignInEnvironment, chromium: Chromium) -> None:
    with (
        running_provider(sayIssuer="https://evil.example") as issuer,
        pytest.raises(DiscoveryError, match=r"another issuer, https://evil\.example"),
    ):
        await signed_in(issuer, environment)
    assert chromium.visits == []


async def test_no_provider_there(issuer: str, environment: SignInEnvironment, chromium: Chromium) -> None:
    with pytest.raises(DiscoveryError) as caught:
        await signed_in(f"{issuer}/elsewhere", environment)
    assert (caught.value.code, chromium.visits) == ("KT605", [])


async def test_a_code_that_expired(environment: SignInEnvironment, chromium: Chromium) -> None:
    def slow() -> float:
        time.sleep(2.2)  # between the callback and the exchange
        return time.time()

    with running_provider(ttl={"AuthorizationCode": 1}) as issuer:
        with pytest.raises(TokenRequestError, match="invalid_grant") as caught:
            await signed_in(issuer, replace(environment, now=slow), force=True)
        assert caught.value.code == "KT603"
        assert "Nobody was signed in" in await chromium.shown()


async def test_a_code_is_good_for_one_use(issuer: str, environment: SignInEnvironment) -> None:
    client = openid.Client(issuer=issuer, client_id=CLIENT_ID)
    async with HttpClient() as http, SignInSteps(environment) as steps:
        provider = await openid.OpenIdProvider.discover(http, environment.endpoints, client)
        leg = await steps.begin_leg(
            (0,),
            {"/oauth/callback"},
            redirect="http://127.0.0.1:{port}/oauth/callback",
            issuer=issuer,
            expects_iss=True,
        )
        callback = await steps.visit(leg, openid.authorize_url(provider.metadata, client, leg.request))
        granted = read_response(leg.request, callback.parameters.reveal())
        assert isinstance(granted, Granted)
        tokens = await provider.exchange(leg.request, granted.code, time.time())
        assert tokens.refresh_token is not None
        with pytest.raises(TokenRequestError, match="invalid_grant") as caught:
            await provider.exchange(leg.request, granted.code, time.time())
        assert granted.code.reveal() not in str(caught.value)
        # The second use revoked what the first one gave (RFC 6749 §4.1.2).
        with pytest.raises(SessionEndedError):
            await openid.renew(http, provider.grant(), tokens.refresh_token, time.time())


async def test_a_verifier_of_another_request(issuer: str, environment: SignInEnvironment) -> None:
    client = openid.Client(issuer=issuer, client_id=CLIENT_ID)
    async with HttpClient() as http, SignInSteps(environment) as steps:
        provider = await openid.OpenIdProvider.discover(http, environment.endpoints, client)
        leg = await steps.begin_leg((0,), {"/oauth/callback"}, redirect="http://127.0.0.1:{port}/oauth/callback")
        callback = await steps.visit(leg, openid.authorize_url(provider.metadata, client, leg.request))
        granted = read_response(leg.request, callback.parameters.reveal())
        assert isinstance(granted, Granted)
        other = replace(leg.request, verifier=type(leg.request.verifier).generate())
        with pytest.raises(TokenRequestError, match="invalid_grant"):
            await provider.exchange(other, granted.code, time.time())
