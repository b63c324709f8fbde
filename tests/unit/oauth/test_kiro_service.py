"""Kiro's dialect, byte for byte as kiro-cli sends it, and what its portal comes back with."""

import json
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.errors import KirotunnelError, OAuthError, ServiceRefusedError, ServiceReplyError, StateMismatchError
from kirotunnel.oauth import kiro_service as kiro
from kirotunnel.oauth.authorization import AuthorizationRequest
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.oauth.messages import Reply, Request
from kirotunnel.oauth.pkce import CodeVerifier
from kirotunnel.redaction import Secret

BASE = "https://auth.example"
REQUEST = AuthorizationRequest(
    redirect_uri="http://localhost:49153",
    state=Secret("abcdefghij"),
    verifier=CodeVerifier(Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")),
)


def sent(request: Request) -> tuple[str, str, dict[str, str], str]:
    assert request.body is not None
    return request.method, request.url, dict(request.headers), request.body.reveal().decode()


def a_reply(values: object, status: int = 200) -> Reply:
    body = Secret(json.dumps(values).encode())
    return Reply(host="auth.example", status=status, headers={"content-type": "application/json"}, body=body)


def test_the_portal_url_byte_for_byte() -> None:
    assert kiro.portal_url("https://app.kiro.dev", REQUEST).reveal() == (
        "https://app.kiro.dev/signin?state=abcdefghij&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        "&code_challenge_method=S256&redirect_uri=http%3A%2F%2Flocalhost%3A49153&redirect_from=kirocli"
    )


def test_the_portals_last_page() -> None:
    assert kiro.portal_end_url("https://p") == "https://p/signin?auth_status=success&redirect_from=kirocli"
    assert kiro.portal_end_url("https://p", "no & no") == (
        "https://p/signin?auth_status=error&redirect_from=kirocli&error_message=no%20%26%20no"
    )


HEADERS = {"Content-Type": "application/json", "User-Agent": "Kiro-CLI"}
CHOSEN = kiro.SocialChosen(
    provider="google", code=Secret("c0de"), redirect_uri="http://localhost:49153/oauth/callback?login_option=google"
)


@pytest.mark.parametrize(
    ("request_", "path", "body"),
    [
        (
            kiro.token_request(BASE, CHOSEN, REQUEST),
            "/oauth/token",
            '{"code":"c0de","code_verifier":"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",'
            '"redirect_uri":"http://localhost:49153/oauth/callback?login_option=google"}',
        ),
        (kiro.refresh_request(BASE, Secret("r")), "/refreshToken", '{"refreshToken":"r"}'),
        (kiro.logout_request(BASE, Secret("r")), "/logout", '{"refreshToken":"r"}'),
        (
            kiro.device_request(BASE, "github"),
            "/oauth/device/authorization",
            '{"clientId":"Kiro-CLI","loginProvider":"Github"}',
        ),
        (kiro.poll_request(BASE, Secret("d")), "/oauth/device/poll", '{"deviceCode":"d","clientId":"Kiro-CLI"}'),
    ],
    ids=["token", "refresh", "logout", "device", "poll"],
)
def test_requests_byte_for_byte(request_: Request, path: str, body: str) -> None:
    assert sent(request_) == ("POST", f"{BASE}{path}", HEADERS, body)


def callback(query: str) -> kiro.PortalChoice:
    return kiro.read_portal_callback(REQUEST, "/oauth/callback", dict(parse_qsl(query)))


def test_the_portal_chose_google() -> None:
    assert callback("login_option=google&code=c0de&state=abcdefghij") == CHOSEN


def test_the_portal_chose_builder_id_or_an_identity_center() -> None:
    start = "https%3A%2F%2Fview.awsapps.com%2Fstart"
    choice = callback(f"login_option=builderid&issuer_url={start}&idc_region=us-east-1&state=abcdefghij")
    assert choice == kiro.AwsChosen(method="builder-id", start_url="https://view.awsapps.com/start", region="us-east-1")
    choice = callback("login_option=awsidc&issuer_url=https%3A%2F%2Fx&idc_region=eu-west-1&state=abcdefghij")
    assert kiro.method_of(choice) == "idc"


def test_the_portal_chose_the_organization() -> None:
    query = "login_option=external_idp&issuer_url=https%3A%2F%2Fi&client_id=c&scopes=openid%20x&state=abcdefghij"
    assert callback(query + "&login_hint=ada%40example.com") == kiro.OrganizationChosen(
        issuer="https://i", client_id="c", scopes=("openid", "x"), login_hint="ada@example.com"
    )


@pytest.mark.parametrize(
    "query",
    [
        "login_option=google&code=c&state=other",
        "login_option=google&code=c",
        "login_option=builderid&issuer_url=https%3A%2F%2Fx&idc_region=r&state=other",
        "error=access_denied&login_option=google&state=other",
        "",
    ],
)
def test_another_state_is_refused(query: str) -> None:
    with pytest.raises(StateMismatchError):
        callback(query)


@pytest.mark.parametrize(
    "query",
    [
        "error=access_denied&error_description=no&login_option=google&state=abcdefghij",
        "error=server_error&state=abcdefghij",
        "login_option=google&state=abcdefghij",
        "login_option=builderid&issuer_url=https%3A%2F%2Fx&state=abcdefghij",
        "login_option=external_idp&issuer_url=https%3A%2F%2Fx&state=abcdefghij",
        "login_option=telepathy&state=abcdefghij",
        "state=abcdefghij",
    ],
)
def test_a_denial_or_something_unknown_is_said(query: str) -> None:
    with pytest.raises(OAuthError) as caught:
        callback(query)
    assert caught.value.code == "KT601"


@given(
    st.dictionaries(
        st.sampled_from(["login_option", "code", "issuer_url", "idc_region", "client_id", "scopes", "error"]), st.text()
    ),
    st.sampled_from(["google", "builderid", "awsidc", "external_idp", "x"]),
)
def test_any_callback_is_read_or_refused(parameters: dict[str, str], option: str) -> None:
    said = ""
    for more in ({}, {"state": "abcdefghij"}, {"state": "abcdefghij", "login_option": option}):
        try:
            kiro.read_portal_callback(REQUEST, "/oauth/callback", parameters | more)
        except KirotunnelError as exc:
            said += exc.message
    assert "abcdefghij" not in said


TOKENS = {"accessToken": "a", "refreshToken": "r", "expiresIn": 60, "profileArn": "arn"}


def test_tokens_end_counted_from_the_answer() -> None:
    tokens = kiro.read_tokens(a_reply(TOKENS).members(), 1000)
    assert (tokens.expires_at, tokens.access_token, tokens.profile_arn) == (1060, Secret("a"), "arn")


@pytest.mark.parametrize("missing", ["accessToken", "refreshToken", "profileArn"])
def test_an_answer_without_what_it_must_have(missing: str) -> None:
    with pytest.raises(ServiceReplyError):
        kiro.read_tokens(a_reply(TOKENS | {missing: ""}).members(), 0)


DEVICE = {
    "deviceCode": "d",
    "userCode": "ABCD-EFGH",
    "verificationUri": "https://app.kiro.dev/account/device",
    "verificationUriComplete": "https://app.kiro.dev/account/device?user_code=ABCD-EFGH&login_provider=Google",
    "expiresInMilliseconds": 300000,
    "intervalInMilliseconds": 100,
}


def test_a_device_code_in_milliseconds_and_at_least_a_second_between_polls() -> None:
    device = kiro.read_device(a_reply(DEVICE), Endpoints())
    assert (device.expires_in_s, device.interval_s, device.user_code) == (300, 1, "ABCD-EFGH")
    assert device.page.endswith("login_provider=Google")


@pytest.mark.parametrize(
    "changed",
    [
        {"userCode": "\x1b[31mABCD"},
        {"userCode": "A" * 80},
        {"verificationUri": "javascript:alert(1)"},
        {"verificationUriComplete": "file:///bin/sh"},
        {"deviceCode": None},
    ],
    ids=str,
)
def test_a_device_code_that_cannot_be_shown(changed: dict[str, object]) -> None:
    with pytest.raises(ServiceReplyError):
        kiro.read_device(a_reply(DEVICE | changed), Endpoints())


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ("authorization_pending", "pending"),
        ("slow_down", "slow_down"),
        ("expired_token", "expired"),
        ("access_denied", "denied"),
    ],
)
def test_polls(status: str, answer: str) -> None:
    assert kiro.read_poll(a_reply({"status": status}), 0) == answer


def test_an_authorized_poll_has_a_profile_even_where_none_is_named() -> None:
    tokens = kiro.read_poll(a_reply({"status": "authorized", "accessToken": "a", "refreshToken": "r"}), 0)
    assert not isinstance(tokens, str)
    assert (tokens.profile_arn, tokens.expires_at) == (kiro.DEFAULT_PROFILE_ARN, 3600)


def test_a_refused_poll() -> None:
    with pytest.raises(ServiceRefusedError, match="nope"):
        kiro.read_poll(a_reply({"message": "nope"}, status=400), 0)
    assert kiro.read_poll(a_reply({}, status=429), 0) == "slow_down"


def test_the_ports_are_kiros_ten() -> None:
    assert len(set(kiro.PORTS)) == 10
    assert urlsplit(f"http://localhost:{kiro.PORTS[0]}").port == 3128
