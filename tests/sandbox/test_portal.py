"""The sign-in portal and Kiro's auth service keep to the wire format that kiro-cli speaks."""

import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.async_api import Page, async_playwright

from kirotunnel.sandbox.accounts import SignInMethod
from kirotunnel.sandbox.behaviour import Behaviour, HandOver
from kirotunnel.sandbox.robot import RobotReport, sign_in
from kirotunnel.sandbox.services import SignInServices
from lab.requirements import require
from sandbox.sign_in_client import BUILDER_ID, CallbackListener, Clock, Pkce, http_client, portal_url

STATE = "abcdefghij"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def services(clock: Clock) -> AsyncIterator[SignInServices]:
    async with SignInServices(clock=clock) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client() as client:
        yield client


class SocialSignIn:
    """A sign-in by Google, up to the code."""

    def __init__(self, services: SignInServices, http: httpx.AsyncClient) -> None:
        self.services, self.http, self.pkce = services, http, Pkce()
        self.redirect_uri = ""
        self.code = ""

    async def until_code(self) -> None:
        final = f"{self.services.public_url}/signin?auth_status=success&redirect_from=kirocli"
        async with CallbackListener.open(final) as listener:
            redirect_uri = f"http://localhost:{listener.port}"
            report = await sign_in(portal_url(self.services.public_url, redirect_uri, self.pkce), method="google")
            assert report.ok
        self.redirect_uri = f"{redirect_uri}/oauth/callback?login_option=google"
        self.code = listener.answer["code"]

    async def exchange(self, **changed: str) -> httpx.Response:
        body = {"code": self.code, "code_verifier": self.pkce.verifier, "redirect_uri": self.redirect_uri, **changed}
        return await self.http.post(f"{self.services.public_url}/oauth/token", json=body)

    async def refresh(self, refresh_token: str) -> httpx.Response:
        return await self.http.post(f"{self.services.public_url}/refreshToken", json={"refreshToken": refresh_token})


@pytest.fixture
async def social(services: SignInServices, http: httpx.AsyncClient) -> SocialSignIn:
    flow = SocialSignIn(services, http)
    await flow.until_code()
    return flow


async def by_robot(services: SignInServices, method: SignInMethod, **how: str) -> tuple[CallbackListener, RobotReport]:
    async with CallbackListener.open(f"{services.public_url}/signin?auth_status=success") as listener:
        url = portal_url(services.public_url, f"http://localhost:{listener.port}", Pkce())
        report = await sign_in(url, method=method, **how)
    return listener, report


# --- the callback ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["google", "github"])
async def test_a_social_sign_in_calls_back_with_a_code(services: SignInServices, method: SignInMethod) -> None:
    listener, report = await by_robot(services, method)
    assert report.ok
    assert listener.path == "/oauth/callback"
    assert [name for name, _ in listener.pairs] == ["login_option", "code", "state"]
    assert listener.answer["login_option"] == method
    assert str(uuid.UUID(listener.answer["code"])) == listener.answer["code"]
    assert listener.answer["state"] == STATE


async def test_builder_id_calls_back_without_a_code_since_a_second_leg_follows(services: SignInServices) -> None:
    listener, _ = await by_robot(services, "builder-id")
    assert listener.path == "/signin/callback"
    assert listener.pairs == [
        ("login_option", "builderid"),
        ("issuer_url", BUILDER_ID),
        ("idc_region", "us-east-1"),
        ("state", STATE),
    ]


async def test_the_identity_center_is_the_one_that_the_person_typed(services: SignInServices) -> None:
    listener, _ = await by_robot(services, "idc", start_url="https://acme.awsapps.com/start", region="eu-central-1")
    assert listener.path == "/signin/callback"
    assert listener.pairs == [
        ("login_option", "awsidc"),
        ("issuer_url", "https://acme.awsapps.com/start"),
        ("idc_region", "eu-central-1"),
        ("state", STATE),
    ]


async def test_an_external_identity_provider_is_named_with_its_client_and_scopes() -> None:
    async with SignInServices(issuer_base_for_remote="http://192.0.2.7:8080/") as services:
        listener, _ = await by_robot(services, "external-idp")
    assert listener.path == "/signin/callback"
    assert listener.pairs == [
        ("login_option", "external_idp"),
        ("issuer_url", "http://192.0.2.7:8080/idp"),
        ("client_id", "kiro-cli-sample"),
        ("scopes", "openid profile email offline_access"),
        ("state", STATE),
    ]
    assert "+" not in listener.callback.target, "not every loopback listener reads + as a space"


@pytest.mark.parametrize("method", ["google", "github", "builder-id", "idc", "external-idp"])
async def test_a_denial_calls_back_with_an_error(services: SignInServices, method: SignInMethod) -> None:
    listener, report = await by_robot(services, method, decision="deny")
    assert report.ok
    assert [name for name, _ in listener.pairs] == ["error", "error_description", "login_option", "state"]
    assert listener.answer["error"] == "access_denied"
    assert listener.answer["state"] == STATE


@pytest.mark.parametrize("hand_over", ["link", "redirect", "form"])
async def test_every_way_of_handing_over_brings_the_same_callback(hand_over: HandOver) -> None:
    async with SignInServices(hand_over=hand_over) as services:
        listener, report = await by_robot(services, "github")
    assert report.ok
    assert report.outcome == "signed-in"
    assert listener.callback.method == "GET"
    assert [name for name, _ in listener.pairs] == ["login_option", "code", "state"]


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://localhost:3128",
        "http://127.0.0.1:3128",
        "http://localhost:3128/",
        "http://localhost:3128/oauth/callback",
        "http://localhost:80",
        "http://localhost:65536",
        "http://localhost",
        "http://localhost:3128@example.com",
        "http://localhost.example.com:3128",
        "http://[",
        "javascript:alert(1)",
        "",
    ],
)
async def test_only_a_bare_localhost_with_a_port_is_a_redirect_uri(
    services: SignInServices, http: httpx.AsyncClient, redirect_uri: str
) -> None:
    answer = await http.get(portal_url(services.public_url, redirect_uri, Pkce()))
    assert answer.status_code == 400
    assert "Invalid redirect URI. Must be localhost or a subdomain of app.kiro.dev" in answer.text


@pytest.mark.parametrize("changed", [{"code_challenge_method": "plain"}, {"code_challenge": "short"}, {"state": ""}])
async def test_a_sign_in_needs_a_state_and_a_challenge_by_s256(
    services: SignInServices, http: httpx.AsyncClient, changed: dict[str, str]
) -> None:
    answer = await http.get(portal_url(services.public_url, "http://localhost:3128", Pkce(), **changed))
    assert answer.status_code == 400
    assert "Invalid request" in answer.text


async def test_a_parameter_given_twice_is_refused(services: SignInServices, http: httpx.AsyncClient) -> None:
    url = portal_url(services.public_url, "http://localhost:3128", Pkce())
    assert (await http.get(f"{url}&state=other")).status_code == 400


async def test_a_sign_in_is_answered_once(services: SignInServices, http: httpx.AsyncClient) -> None:
    first = await http.get(portal_url(services.public_url, "http://localhost:3128", Pkce()))
    consents = [
        await http.get(services.public_url + link_of(first.text, f"login-{way}")) for way in ("google", "github")
    ]
    answers = [await decide(http, services, page.text, "allow") for page in consents]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert 'id="continue"' in answers[0].text


@pytest.mark.parametrize(
    ("start_url", "region", "problem"),
    [
        ("ftp://example.com", "us-east-1", "start URL"),
        ("http://[", "us-east-1", "start URL"),
        (BUILDER_ID, "?", "region"),
    ],
)
async def test_what_the_person_mistypes_is_asked_again(
    services: SignInServices, http: httpx.AsyncClient, start_url: str, region: str, problem: str
) -> None:
    first = await http.get(portal_url(services.public_url, "http://localhost:3128", Pkce()))
    request = parse_qs(urlsplit(link_of(first.text, "login-organization")).query)["request"][0]
    typed = {"request": request, "login_option": "awsidc", "start_url": start_url, "region": region}
    answer = await http.get(f"{services.public_url}/signin/consent", params=typed)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert problem in answer.text
    assert 'id="idc-form"' in answer.text


def link_of(page: str, name: str) -> str:
    found = re.search(rf'id="{name}" href="([^"]+)"', page)
    assert found is not None
    return found[1].replace("&amp;", "&")


async def decide(http: httpx.AsyncClient, services: SignInServices, page: str, decision: str) -> httpx.Response:
    found = re.search(r'name="request" value="([^"]+)"', page)
    assert found is not None
    form = {"request": found[1], "decision": decision}
    return await http.post(f"{services.public_url}/signin/decision", data=form)


# --- tokens ----------------------------------------------------------------------------------------------------------


async def test_the_code_and_its_verifier_give_tokens(social: SocialSignIn) -> None:
    answer = await social.exchange()
    tokens = answer.json()
    assert answer.status_code == 200
    assert set(tokens) == {"accessToken", "refreshToken", "expiresIn", "profileArn", "email"}
    assert tokens["expiresIn"] == 3600
    assert tokens["profileArn"].startswith("arn:aws:codewhisperer:")
    assert tokens["email"] == "ada@example.com"


async def test_another_verifier_is_refused(social: SocialSignIn) -> None:
    answer = await social.exchange(code_verifier=Pkce().verifier)
    assert answer.status_code == 400
    assert "does not match the challenge" in answer.json()["message"]


async def test_the_redirect_uri_must_be_repeated_with_path_and_query(social: SocialSignIn) -> None:
    answer = await social.exchange(redirect_uri=social.redirect_uri.partition("?")[0])
    assert answer.status_code == 400
    assert "redirect URI" in answer.json()["message"]


async def test_a_code_used_twice_is_refused_and_takes_its_tokens_along(social: SocialSignIn) -> None:
    tokens = (await social.exchange()).json()
    assert (await social.exchange()).status_code == 400
    assert (await social.refresh(tokens["refreshToken"])).status_code == 401


async def test_a_failed_attempt_spends_the_code(social: SocialSignIn) -> None:
    await social.exchange(code_verifier=Pkce().verifier)
    assert (await social.exchange()).status_code == 400


async def test_a_code_expires(social: SocialSignIn, clock: Clock) -> None:
    clock.now += Behaviour().code_lifetime_s
    answer = await social.exchange()
    assert answer.status_code == 400
    assert "expired" in answer.json()["message"]


async def test_an_unknown_code_is_refused(social: SocialSignIn) -> None:
    assert (await social.exchange(code=str(uuid.uuid4()))).status_code == 400


@pytest.mark.parametrize("missing", ["code", "code_verifier", "redirect_uri"])
async def test_every_member_of_the_exchange_is_needed(social: SocialSignIn, missing: str) -> None:
    answer = await social.exchange(**{missing: ""})
    assert answer.status_code == 400
    assert answer.json()["message"] == f"{missing} is missing"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
async def test_a_body_that_is_no_json_object_is_refused(
    services: SignInServices, http: httpx.AsyncClient, body: bytes
) -> None:
    answer = await http.post(f"{services.public_url}/oauth/token", content=body)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["message"]


async def test_refresh_tokens_rotate(social: SocialSignIn) -> None:
    first = (await social.exchange()).json()
    second = (await social.refresh(first["refreshToken"])).json()
    assert second["email"] == "ada@example.com"
    assert second["refreshToken"] != first["refreshToken"]
    third = await social.refresh(second["refreshToken"])
    assert third.status_code == 200


async def test_a_refresh_token_used_twice_ends_the_whole_sign_in(social: SocialSignIn) -> None:
    first = (await social.exchange()).json()
    second = (await social.refresh(first["refreshToken"])).json()
    assert (await social.refresh(first["refreshToken"])).status_code == 401
    assert (await social.refresh(second["refreshToken"])).status_code == 401


async def test_logout_ends_the_refresh_token_and_is_content_with_an_unknown_one(social: SocialSignIn) -> None:
    tokens = (await social.exchange()).json()
    for refresh_token in (tokens["refreshToken"], "unknown"):
        url = f"{social.services.public_url}/logout"
        assert (await social.http.post(url, json={"refreshToken": refresh_token})).status_code == 200
    assert (await social.refresh(tokens["refreshToken"])).status_code == 401


async def test_a_failure_can_be_asked_for_once(social: SocialSignIn) -> None:
    social.services.fail_next("kiro-auth", "token", "503")
    assert (await social.exchange()).status_code == 503
    assert (await social.exchange()).status_code == 200


# --- device codes ----------------------------------------------------------------------------------------------------


class Device:
    """A device sign-in by GitHub."""

    def __init__(self, services: SignInServices, http: httpx.AsyncClient, provider: str = "Github") -> None:
        self.services, self.http, self.provider = services, http, provider
        self.codes: dict[str, str] = {}

    async def start(self) -> httpx.Response:
        body = {"clientId": "Kiro-CLI", "loginProvider": self.provider}
        answer = await self.http.post(f"{self.services.public_url}/oauth/device/authorization", json=body)
        self.codes = answer.json()
        return answer

    async def poll(self) -> dict[str, object]:
        body = {"deviceCode": self.codes["deviceCode"], "clientId": "Kiro-CLI"}
        answer = await self.http.post(f"{self.services.public_url}/oauth/device/poll", json=body)
        assert answer.status_code == 200
        polled: dict[str, object] = answer.json()
        return polled


@pytest.fixture
def device(services: SignInServices, http: httpx.AsyncClient) -> Device:
    return Device(services, http)


async def test_a_device_code_is_confirmed_and_polled(device: Device) -> None:
    started = (await device.start()).json()
    assert set(started) == {
        "deviceCode",
        "userCode",
        "verificationUri",
        "verificationUriComplete",
        "expiresInMilliseconds",
        "intervalInMilliseconds",
    }
    assert re.fullmatch(r"[B-Z]{4}-[B-Z]{4}", started["userCode"])
    page = f"{device.services.public_url}/account/device"
    assert started["verificationUriComplete"] == f"{page}?user_code={started['userCode']}&login_provider=Github"
    assert await device.poll() == {"status": "authorization_pending"}
    report = await sign_in(started["verificationUriComplete"], method="github")
    assert report.ok
    assert report.outcome == "signed-in"
    polled = await device.poll()
    assert polled["status"] == "authorized"
    assert polled["identityProvider"] == "github"
    assert polled["email"] == "grace@example.com"
    assert {"accessToken", "refreshToken", "expiresIn", "profileArn"} <= set(polled)
    assert await device.poll() == {"status": "invalid_token"}


async def test_a_denied_device_code_says_so(device: Device) -> None:
    await device.start()
    report = await sign_in(device.codes["verificationUriComplete"], method="github", decision="deny")
    assert report.ok
    assert report.outcome == "denied"
    assert await device.poll() == {"status": "access_denied"}


async def test_an_expired_device_code_is_refused_to_the_client_and_to_the_person(device: Device, clock: Clock) -> None:
    await device.start()
    clock.now += Behaviour().device_lifetime_s
    assert await device.poll() == {"status": "expired_token"}
    report = await sign_in(device.codes["verificationUriComplete"], method="github")
    assert not report.decided
    assert report.problem == f"{device.services.public_url}/account/device/confirm refused with 400"


async def test_an_unknown_device_code_is_an_invalid_token(device: Device) -> None:
    device.codes = {"deviceCode": "unknown"}
    assert await device.poll() == {"status": "invalid_token"}


@pytest.mark.parametrize("typed", ["{}", " {} ", "lower", "undashed"])
async def test_the_code_is_recognised_however_it_is_typed(device: Device, typed: str) -> None:
    await device.start()
    code = device.codes["userCode"]
    text = {"lower": code.lower(), "undashed": code.replace("-", "")}.get(typed, typed.format(code))
    answer = await device.http.get(f"{device.services.public_url}/account/device/confirm", params={"user_code": text})
    assert answer.status_code == 200
    assert 'id="allow"' in answer.text


async def test_a_wrong_code_is_asked_again(device: Device) -> None:
    answer = await device.http.get(f"{device.services.public_url}/account/device/confirm?user_code=AAAA-AAAA")
    assert answer.status_code == 400
    assert 'id="confirm"' in answer.text
    assert "unknown" in answer.text


async def test_polls_can_be_kept_pending_and_slowed_down(http: httpx.AsyncClient) -> None:
    async with SignInServices(behaviour=Behaviour(pending_polls=3, slow_down_once=True)) as services:
        device = Device(services, http)
        await device.start()
        await sign_in(device.codes["verificationUriComplete"], method="github")
        statuses = [(await device.poll())["status"] for _ in range(4)]
    assert statuses == ["slow_down", "authorization_pending", "authorization_pending", "authorized"]


async def test_early_polls_are_slowed_down_where_the_interval_is_enforced(
    http: httpx.AsyncClient, clock: Clock
) -> None:
    async with SignInServices(behaviour=Behaviour(enforce_interval=True), clock=clock) as services:
        device = Device(services, http)
        await device.start()
        statuses = [(await device.poll())["status"] for _ in range(2)]
        clock.now += 6
        statuses.append((await device.poll())["status"])
    assert statuses == ["authorization_pending", "slow_down", "authorization_pending"]


@pytest.mark.parametrize("changed", [{"clientId": "Other"}, {"loginProvider": "google"}])
async def test_client_and_provider_of_a_device_code_are_checked(
    services: SignInServices, http: httpx.AsyncClient, changed: dict[str, str]
) -> None:
    body = {"clientId": "Kiro-CLI", "loginProvider": "Google", **changed}
    assert (await http.post(f"{services.public_url}/oauth/device/authorization", json=body)).status_code == 400


# --- the pages as such -----------------------------------------------------------------------------------------------


async def test_pages_run_no_script_and_say_that_they_are_a_demo(
    services: SignInServices, http: httpx.AsyncClient
) -> None:
    answer = await http.get(portal_url(services.public_url, "http://localhost:3128", Pkce()))
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script" not in policy
    assert "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "<script" not in answer.text
    assert "Demo sign-in, no real account" in answer.text


async def test_the_last_page_tells_how_it_went_and_escapes_what_it_is_told(
    services: SignInServices, http: httpx.AsyncClient
) -> None:
    good = await http.get(f"{services.public_url}/signin?auth_status=success&redirect_from=kirocli")
    said = "<script>alert(1)</script>"
    bad = await http.get(f"{services.public_url}/signin", params={"auth_status": "error", "error_message": said})
    assert 'data-outcome="signed-in"' in good.text
    assert 'data-outcome="denied"' in bad.text
    assert "&lt;script&gt;" in bad.text
    assert "<script" not in bad.text
    assert services.seen == [("portal", "signed in: yes"), ("portal", "signed in: no")]


async def test_what_arrived_is_recorded_without_a_secret(social: SocialSignIn) -> None:
    await social.exchange()
    assert social.services.seen == [
        ("portal", "signin"),
        ("portal", "consent"),
        ("portal", "decision"),
        ("portal", "signed in: yes"),
        ("kiro-auth", "token"),
    ]


# --- a real browser --------------------------------------------------------------------------------------------------


CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Page]:
    """A page of a Chromium with a profile: without one it is incognito, and opens no silent connections."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch_persistent_context(
            profile, executable_path="/usr/bin/chromium", args=CHROMIUM_ARGUMENTS
        )
        yield await browser.new_page()
        await browser.close()


@pytest.mark.browser
@pytest.mark.parametrize("hand_over", ["link", "redirect", "form"])
async def test_a_person_signs_in_with_chromium(http: httpx.AsyncClient, tmp_path: Path, hand_over: HandOver) -> None:
    require("chromium")
    pkce = Pkce()
    complaints: list[str] = []
    async with (
        SignInServices(hand_over=hand_over) as services,
        CallbackListener.open(f"{services.public_url}/signin?auth_status=success") as listener,
        chromium(tmp_path / "profile") as page,
    ):
        page.on("console", lambda said: complaints.append(said.text))
        redirect_uri = f"http://localhost:{listener.port}"
        await page.goto(portal_url(services.public_url, redirect_uri, pkce))
        await page.click("#login-google")
        assert await page.text_content("#account-email") == "ada@example.com"
        await page.click("#allow")
        if hand_over != "redirect":
            await page.click("#continue")
        await page.wait_for_selector("[data-outcome='signed-in']")
        body = {
            "code": listener.answer["code"],
            "code_verifier": pkce.verifier,
            "redirect_uri": f"{redirect_uri}/oauth/callback?login_option=google",
        }
        tokens = await http.post(f"{services.public_url}/oauth/token", json=body)
    assert tokens.status_code == 200
    assert complaints == [], "the pages break their own content security policy"
    if hand_over == "link":
        # The click opened connections that carry nothing: it is these that one-shot listeners break of.
        assert listener.connections > len(listener.requests)
