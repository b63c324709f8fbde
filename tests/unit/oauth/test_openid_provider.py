"""The requests to an organization's identity provider, and its answers, as the RFCs have them."""

from urllib.parse import parse_qs, urlsplit

import pytest

from kirotunnel.errors import ServiceReplyError
from kirotunnel.oauth import openid_provider as openid
from kirotunnel.oauth.authorization import AuthorizationRequest
from kirotunnel.oauth.discovery import ProviderMetadata
from kirotunnel.oauth.messages import Members, Request
from kirotunnel.oauth.pkce import CodeVerifier
from kirotunnel.oauth.session import OpenIdGrant
from kirotunnel.redaction import Secret

METADATA = ProviderMetadata(issuer="https://i", authorization_endpoint="https://i/a?t=1", token_endpoint="https://i/t")
REQUEST = AuthorizationRequest(
    redirect_uri="http://localhost:3128/oauth/callback",
    state=Secret("st"),
    nonce=Secret("no"),
    verifier=CodeVerifier(Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")),
)
GRANT = OpenIdGrant(issuer="https://i", client_id="c", token_endpoint="https://i/t")


def form(request: Request) -> dict[str, str]:
    assert request.body is not None
    assert dict(request.headers)["Content-Type"] == "application/x-www-form-urlencoded"
    return {name: value for name, (value,) in parse_qs(request.body.reveal().decode()).items()}


def test_the_page_to_open() -> None:
    client = openid.Client(issuer="https://i", client_id="c", scopes=("openid", "x"), login_hint="a@b", audience="z")
    url = openid.authorize_url(METADATA, client, REQUEST).reveal()
    assert {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()} == {
        "t": "1",
        "response_type": "code",
        "client_id": "c",
        "redirect_uri": "http://localhost:3128/oauth/callback",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
        "state": "st",
        "scope": "openid x offline_access",
        "nonce": "no",
        "login_hint": "a@b",
        "audience": "z",
    }


def test_offline_access_is_asked_for_once() -> None:
    assert openid.Client(issuer="i", client_id="c", scopes=("offline_access", "x")).scopes == ("offline_access", "x")


def test_the_requests_of_the_token_endpoint() -> None:
    assert form(openid.code_request("https://i/t", "c", REQUEST, Secret("co"))) == {
        "grant_type": "authorization_code",
        "code": "co",
        "client_id": "c",
        "redirect_uri": "http://localhost:3128/oauth/callback",
        "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    }
    assert form(openid.refresh_request(GRANT, Secret("r"))) == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
        "client_id": "c",
    }
    assert form(openid.revocation_request("https://i/r", "c", Secret("r"))) == {
        "token": "r",
        "token_type_hint": "refresh_token",
        "client_id": "c",
    }
    assert form(openid.poll_request("https://i/t", "c", Secret("d"))) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "d",
        "client_id": "c",
    }


@pytest.mark.parametrize("kind", [None, "Bearer", "bearer"])
def test_bearer_tokens(kind: str | None) -> None:
    tokens = openid.read_tokens(Members("i", {"access_token": "a", "token_type": kind, "expires_in": "60"}), 1000)
    assert (tokens.access_token, tokens.expires_at, tokens.refresh_token) == (Secret("a"), 1060, None)


def test_another_kind_of_token_is_refused() -> None:
    with pytest.raises(ServiceReplyError, match="DPoP"):
        openid.read_tokens(Members("i", {"access_token": "a", "token_type": "DPoP"}), 0)
