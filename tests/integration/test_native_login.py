"""Signing in on this machine by all five methods, against the sandbox's services, with a robot for the browser."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from integration.sign_in_world import Notes, Person, World, a_world
from kirotunnel import events as ev
from kirotunnel.errors import (
    CallbackPortsBusyError,
    DeviceCodeExpiredError,
    FlowUnavailableError,
    LoginTimedOutError,
    OAuthError,
    PromptUnansweredError,
    ServiceUnreachableError,
    SessionNotSavedError,
    SettingsError,
    StateMismatchError,
    TokenRequestError,
    WrongAccountError,
    WrongMethodError,
)
from kirotunnel.flows.native_login import sign_in
from kirotunnel.flows.sign_in_route import SignInOptions
from kirotunnel.local.browser import PrintedOnly
from kirotunnel.local.loopback import bind_loopback
from kirotunnel.local.remote_session import Remoteness
from kirotunnel.oauth.kiro_service import PORTS
from kirotunnel.oauth.session import Method
from kirotunnel.redaction import Secret
from kirotunnel.sandbox import robot
from kirotunnel.sandbox.behaviour import Behaviour
from kirotunnel.sandbox.identity_provider import CLIENT_ID

START_URL = "https://example.awsapps.com/start"
IDC = {"start_url": START_URL, "region": "us-east-1"}
EMAILS: dict[Method, str] = {
    "google": "ada@example.com",
    "github": "grace@example.com",
    "builder-id": "alan@example.com",
    "idc": "katherine@example.com",
    "external-idp": "edsger@example.com",
}
SSH = Remoteness("ssh", "an SSH session")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path / "kirotunnel") as made:
        yield made


@pytest.mark.parametrize("method", EMAILS)
async def test_the_portal_chooses_and_whatever_was_chosen_is_signed_in(world: World, method: Method) -> None:
    result = await world.sign_in(as_=method)
    assert (result.account.email, result.already) == (EMAILS[method], False)
    session = await world.session()
    assert session is not None
    assert (session.method, session.account) == (method, result.account)
    assert session.tokens.is_fresh(world.clock[0])
    reports = await world.browser.reports()
    assert all(report.ok for report in reports)
    assert len(reports) == (1 if method in {"google", "github"} else 2)
    assert world.notes.names[0] == "login_started"
    assert world.notes.names[-1] == "signed_in"


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({"method": "builder-id"}, "builder-id"),
        ({"method": "idc", **IDC}, "idc"),
        ({"method": "idc", **IDC, "flow": "callback"}, "idc"),
        ({"start_url": START_URL, "region": "us-east-1"}, "idc"),
    ],
    ids=str,
)
async def test_aws_methods_need_no_portal(world: World, options: dict[str, str], method: Method) -> None:
    result = await world.sign_in(as_=method, **options)
    assert result.account.email == EMAILS[method]
    assert world.seen("portal") == []
    assert world.seen("aws-sso-oidc") == ["RegisterClient", "authorize", "decision", "CreateToken"]
    query = parse_qs(urlsplit(world.browser.urls[0]).query)
    assert query["redirect_uri"][0].startswith("http://127.0.0.1:")
    assert query["redirect_uri"][0].endswith("/oauth/callback")


async def test_an_identity_provider_that_was_named(world: World) -> None:
    result = await world.sign_in(as_="external-idp", issuer=world.services.issuer_url, client_id=CLIENT_ID)
    assert result.account == ev.Account(type="external-idp", email="edsger@example.com")
    assert world.seen("portal") == []
    assert world.seen("idp") == ["discovery", "authorize", "decision", "token", "jwks"]
    query = {name: value for name, (value,) in parse_qs(urlsplit(world.browser.urls[0]).query).items()}
    assert query["scope"] == "openid profile email offline_access"
    assert urlsplit(query["redirect_uri"]).hostname == "localhost"
    assert urlsplit(query["redirect_uri"]).port in PORTS
    assert query["nonce"] != query["state"]


@pytest.mark.parametrize("method", ["google", "github", "builder-id", "idc"])
async def test_by_one_time_code(world: World, method: Method) -> None:
    options = IDC if method == "idc" else {}
    result = await world.sign_in(method=method, flow="device", **options)
    assert result.account.email == EMAILS[method]
    (code,) = [event for event in world.notes.events if isinstance(event, ev.DeviceCode)]
    assert code.expires_in_s == 600
    assert code.user_code in code.url
    assert world.notes.urls == [code.url]
    assert "browser_requested" not in world.notes.names


async def test_by_one_time_code_at_an_identity_provider(world: World) -> None:
    result = await world.sign_in(
        as_="external-idp", issuer=world.services.issuer_url, client_id=CLIENT_ID, flow="device"
    )
    assert result.account.email == "edsger@example.com"


async def test_no_one_time_code_for_a_provider_behind_the_portal(world: World) -> None:
    with pytest.raises(FlowUnavailableError):
        await world.sign_in(method="external-idp", flow="device")


async def test_slow_down_and_hiccups_are_lived_through(tmp_path: Path) -> None:
    behaviour = Behaviour(slow_down_once=True, pending_polls=3)
    async with a_world(tmp_path, behaviour=behaviour) as world:
        for error in ("InternalServerException", "InternalServerException"):
            world.services.fail_next("aws-sso-oidc", "CreateToken", error)
        await world.sign_in(method="builder-id", flow="device")
        # Trouble twice, then slow_down, then pending: exponential, then five seconds more for good.
        assert world.slept[:5] == [1, 2, 4, 6, 6]
        world.slept.clear()
        world.services.fail_next("kiro-auth", "device poll", "503")
        await world.sign_in(method="google", flow="device")
        assert world.slept[:4] == [1, 2, 6, 6]


@pytest.mark.parametrize(
    ("method", "flow"), [("google", "auto"), ("builder-id", "auto"), ("google", "device"), ("builder-id", "device")]
)
async def test_a_denial_is_said_and_the_session_before_stays(world: World, method: Method, flow: str) -> None:
    await world.sign_in(as_="github")
    before = await world.session()
    with pytest.raises(OAuthError, match="denied") as caught:
        await world.sign_in(method=method, flow=flow, decision="deny")
    assert caught.value.code == "KT601"
    assert await world.session() == before
    reports = await world.browser.reports()
    assert {report.outcome for report in reports} <= {"denied", None}


async def test_a_denial_at_the_identity_provider(world: World) -> None:
    with pytest.raises(OAuthError) as caught:
        await world.sign_in(as_="external-idp", issuer=world.services.issuer_url, client_id=CLIENT_ID, decision="deny")
    assert caught.value.code == "KT601"


class Nobody:
    """Opens nothing, and time passes."""

    def __init__(self, clock: list[float]) -> None:
        self._clock = clock

    async def open(self, url: str) -> str:
        del url
        self._clock[0] += 2
        return "printed"


async def test_a_one_time_code_that_nobody_confirms(tmp_path: Path) -> None:
    async with a_world(tmp_path, behaviour=Behaviour(device_lifetime_s=1)) as world:
        for method in ("google", "builder-id"):
            with pytest.raises(DeviceCodeExpiredError) as caught:
                await sign_in(
                    SignInOptions(method=method, flow="device"), replace(world.environment, browser=Nobody(world.clock))
                )
            assert caught.value.code == "KT604"


async def test_a_code_that_expired_on_the_way(tmp_path: Path) -> None:
    async with a_world(tmp_path, behaviour=Behaviour(code_lifetime_s=0)) as world:
        for method in ("google", "builder-id"):
            with pytest.raises(TokenRequestError, match="expired") as caught:
                await world.sign_in(as_=method, **({"method": method} if method == "builder-id" else {}))
            assert caught.value.code == "KT603"
            (report,) = await world.browser.reports()
            assert report.outcome != "signed-in"


async def test_another_method_than_was_asked_for_is_refused(world: World) -> None:
    with pytest.raises(WrongMethodError, match="GitHub was chosen"):
        await world.sign_in(method="google", as_="github")
    assert await world.session() is None


async def test_another_account_than_was_expected_is_not_kept(world: World) -> None:
    with pytest.raises(WrongAccountError) as caught:
        await world.sign_in(as_="google", expect="somebody@example.com")
    assert caught.value.exit_code == 6
    assert await world.session() is None
    await world.sign_in(as_="google", expect="ADA@example.com")


async def test_who_is_signed_in_already_is_not_asked_again(world: World) -> None:
    await world.sign_in(as_="google")
    result = await world.sign_in()
    assert (result.already, world.browser.urls) == (True, [])
    result = await world.sign_in(force=True)
    assert (result.already, len(world.browser.urls)) == (False, 1)


async def test_accounts_are_kept_apart_and_the_last_is_current(world: World) -> None:
    await world.sign_in(as_="google")
    await world.sign_in(method="idc", **IDC)
    await world.sign_in(method="idc", start_url="https://other.awsapps.com/start", region="us-east-1")
    current = await world.session()
    assert current is not None
    assert current.account.start_url == "https://other.awsapps.com/start"
    assert len(await world.sessions.all()) == 3
    again = await world.sign_in(method="idc", start_url=START_URL)
    assert again.already
    current = await world.session()
    assert current is not None
    assert current.account.start_url == START_URL


async def test_start_url_and_region_are_remembered_but_never_mixed(world: World) -> None:
    await world.sign_in(method="idc", **IDC)
    result = await world.sign_in(method="idc", force=True)
    assert result.account.start_url == START_URL
    with pytest.raises(SettingsError, match="needs the Region"):
        await world.sign_in(method="idc", start_url="https://other.awsapps.com/start")


async def test_a_registration_is_used_until_it_expires(world: World) -> None:
    for _ in range(2):
        await world.sign_in(method="builder-id", force=True)
        await world.sign_in(method="builder-id", force=True, flow="device")
    assert world.seen("aws-sso-oidc").count("RegisterClient") == 2
    world.clock[0] += 91 * 86400
    await world.sign_in(method="builder-id", force=True)
    assert world.seen("aws-sso-oidc").count("RegisterClient") == 3


async def test_a_registration_that_was_forgotten_there_is_made_anew(world: World) -> None:
    await world.sign_in(method="builder-id", flow="device")
    world.services.fail_next("aws-sso-oidc", "StartDeviceAuthorization", "InvalidClientException")
    await world.sign_in(method="builder-id", flow="device", force=True)
    assert world.seen("aws-sso-oidc").count("RegisterClient") == 2


async def test_trouble_at_the_token_endpoint_is_lived_through(world: World) -> None:
    world.services.fail_next("kiro-auth", "token", "503")
    assert (await world.sign_in(as_="google")).account.email == "ada@example.com"


async def test_trouble_without_end_is_said_and_the_browser_is_told(world: World) -> None:
    for _ in range(8):
        world.services.fail_next("kiro-auth", "token", "503")
    with pytest.raises(ServiceUnreachableError):
        await world.sign_in(as_="google")
    (report,) = await world.browser.reports()
    assert report.outcome == "denied"  # the portal's page for everything that went wrong


async def test_busy_ports_are_passed_over_and_all_ten_are_an_error(world: World) -> None:
    held = [sock for port in PORTS[:3] for sock in bind_loopback(port)]
    try:
        await world.sign_in(as_="google")
        assert f"localhost%3A{PORTS[3]}" in world.browser.urls[0]
        held += [sock for port in PORTS[3:] for sock in bind_loopback(port)]
        with pytest.raises(CallbackPortsBusyError):
            await world.sign_in(as_="google", force=True)
    finally:
        for sock in held:
            sock.close()


async def test_a_port_that_is_taken_on_one_address_only_is_busy(world: World) -> None:
    with socket.create_server(("::1", PORTS[0]), family=socket.AF_INET6):
        await world.sign_in(as_="google")
    assert f"localhost%3A{PORTS[1]}" in world.browser.urls[0]


async def test_a_read_only_place_is_found_out_before_the_browser_opens(world: World) -> None:
    world.directory = Path("/proc/nowhere/kirotunnel")
    with pytest.raises(SessionNotSavedError) as caught:
        await world.sign_in(as_="google")
    assert (caught.value.code, world.browser.urls) == ("KT104", [])


class Strangers:
    """Knock at the callback port before the right answer comes."""

    def __init__(self, *, then_right: bool) -> None:
        self.statuses: list[int] = []
        self.urls: list[str] = []
        self._then_right = then_right

    async def open(self, url: str) -> str:
        query = {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
        redirect, state = query["redirect_uri"], query["state"]
        base = "http://" + urlsplit(redirect).netloc
        self.task = asyncio.create_task(self._knock(base, state, url))
        return "stranger"

    async def _knock(self, base: str, state: str, url: str) -> None:
        right = f"login_option=google&code=x&state={state}"
        async with httpx.AsyncClient(trust_env=False) as http:
            for method, path, headers in [
                ("GET", "/favicon.ico", {}),
                ("GET", "/oauth/callback?login_option=google&code=x&state=wrong", {}),
                ("GET", "/oauth/callback", {}),
                ("GET", f"/oauth/callback/?{right}", {}),
                ("GET", f"/Oauth/callback?{right}", {}),
                ("POST", f"/oauth/callback?{right}", {}),
                ("HEAD", f"/oauth/callback?{right}", {}),
                ("GET", f"/oauth/callback?{right}&code=y", {}),
                ("GET", f"/oauth/callback?{right}", {"Host": "evil.example"}),
            ]:
                response = await http.request(method, base + path, headers=headers)
                self.statuses.append(response.status_code)
                assert "signed in" not in response.text.lower()
            if self._then_right:
                await robot.sign_in(url, method="google")


async def test_strangers_get_a_page_of_their_own_and_end_nothing(world: World) -> None:
    strangers = Strangers(then_right=True)
    environment = replace(world.environment, browser=strangers)
    result = await sign_in(SignInOptions(timeout_s=15), environment)
    await strangers.task
    assert result.account.email == "ada@example.com"
    assert strangers.statuses == [404, 403, 403, 404, 404, 405, 405, 400, 403]
    reasons = [event.reason for event in world.notes.events if isinstance(event, ev.RequestRefused)]
    assert reasons == ["path", "state", "state", "path", "path", "method", "method", "malformed", "host"]


async def test_only_wrong_states_until_the_time_is_over(world: World) -> None:
    strangers = Strangers(then_right=False)
    environment = replace(world.environment, browser=strangers)
    with pytest.raises(StateMismatchError) as caught:
        await sign_in(SignInOptions(timeout_s=5), environment)  # in which all of them must have knocked
    await strangers.task
    assert caught.value.code == "KT602"


async def test_nobody_comes_back(world: World) -> None:
    environment = replace(world.environment, browser=PrintedOnly())
    with pytest.raises(LoginTimedOutError, match="did not come back") as caught:
        await sign_in(SignInOptions(timeout_s=3), environment)  # in which it must have come as far as the browser
    assert caught.value.code == "KT701"
    for sock in bind_loopback(PORTS[0]):  # free again
        sock.close()


async def test_on_a_terminal_enter_is_awaited_only_where_nothing_was_said(world: World) -> None:
    world.person = Person(["", ""])
    await world.sign_in(as_="google")
    assert world.person.asked == ["Press Enter to continue in the browser "]
    await world.sign_in(method="github")
    assert len(world.person.asked) == 1


async def test_in_an_ssh_session_the_person_chooses_and_gets_a_code(world: World) -> None:
    world.remote, world.person = SSH, Person(["3"])
    result = await world.sign_in(as_="github")
    assert result.account.email == "grace@example.com"
    assert world.notes.events[0] == ev.LoginStarted(flow="device")


async def test_in_an_ssh_session_a_callback_says_its_port_and_how_to_bring_it_there(world: World) -> None:
    world.remote, world.person = SSH, Person([""])
    await world.sign_in(method="google", flow="callback")
    assert world.person.asked == ["Press Enter when it runs "]
    (advice,) = [text for text in world.notes.said if "Callback port" in text]
    port = PORTS[0]
    assert f"Callback port: {port}\n" in advice
    assert "  kirotunnel attach " in advice
    assert f"  ssh -N -L {port}:127.0.0.1:{port} " in advice


@pytest.mark.parametrize("method", ["google", "builder-id", "idc"])
async def test_in_an_ssh_session_a_method_means_a_code(world: World, method: Method) -> None:
    world.remote = SSH
    await world.sign_in(method=method, **(IDC if method == "idc" else {}))
    assert world.notes.events[0] == ev.LoginStarted(flow="device")


async def test_in_an_ssh_session_the_identity_provider_is_signed_in_to_by_callback(world: World) -> None:
    world.remote = SSH
    await world.sign_in(method="external-idp")
    assert [text for text in world.notes.said if "Callback port" in text][1:], "each of the two legs says its port"


async def test_nothing_that_is_said_has_a_secret_in_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "kirotunnel")
    for method in EMAILS:
        await world.sign_in(as_=method, force=True)
        session = await world.session()
        assert session is not None
        secrets = [session.tokens.access_token.reveal()]
        secrets += [session.tokens.refresh_token.reveal()] if session.tokens.refresh_token else []
        for url in world.browser.urls:
            secrets += parse_qs(urlsplit(url).query)["state"]
        said = world.notes.everything_but_urls() + caplog.text
        assert not [secret for secret in secrets if secret in said]


class Clipboard:
    """Somebody whose browser is elsewhere: what its address bar shows in the end is pasted, after two mistakes."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.pasted = 0

    async def secret(self, question: str) -> Secret[str] | None:
        assert "not shown" in question
        query = {name: value for name, (value,) in parse_qs(urlsplit(self.notes.urls[-1]).query).items()}
        self.pasted += 1
        if self.pasted == 1:
            return Secret("https://app.kiro.dev/signin")
        if self.pasted == 2:
            return Secret(f"{query['redirect_uri']}?code=x&state=wrong")
        return Secret(f"{query['redirect_uri']}?code=x&state={query['state']}")


async def test_a_pasted_address_needs_no_listener_and_no_one_time_code(world: World) -> None:
    world.remote = SSH
    for sock in (held := bind_loopback(PORTS[-1])):
        sock.listen()
    clipboard = Clipboard(world.notes)
    environment = replace(world.environment, paste=clipboard, browser=PrintedOnly())
    # The code is made up, so it comes as far as the exchange, which refuses it.
    with pytest.raises(TokenRequestError, match="code is unknown"):
        await sign_in(SignInOptions(method="builder-id", timeout_s=15), environment)
    for sock in held:
        sock.close()
    assert clipboard.pasted == 3
    reasons = [event.reason for event in world.notes.events if isinstance(event, ev.RequestRefused)]
    assert reasons == ["host", "state"]
    assert world.notes.names[:2] == ["login_started", "browser_requested"]
    assert world.notes.names[-1] == "callback_received"


async def test_the_end_of_the_input_before_the_address(world: World) -> None:
    class Nothing:
        async def secret(self, question: str) -> Secret[str] | None:
            return None

    with pytest.raises(PromptUnansweredError):
        await sign_in(SignInOptions(timeout_s=15), replace(world.environment, paste=Nothing(), browser=PrintedOnly()))
