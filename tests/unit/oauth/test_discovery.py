"""An identity provider's description of itself is used only where it is its own and whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.errors import DiscoveryError, OAuthError
from kirotunnel.oauth.discovery import discovery_requests, is_missing, read_metadata
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.oauth.messages import Reply
from kirotunnel.redaction import Secret

ISSUER = "https://idp.example/tenant"
GOOD: dict[str, object] = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://idp.example/authorize",
    "token_endpoint": "https://idp.example/token",
    "authorization_response_iss_parameter_supported": True,
}


def a_reply(values: object, status: int = 200) -> Reply:
    body = Secret(json.dumps(values).encode())
    return Reply(host="idp.example", status=status, headers={"content-type": "application/json"}, body=body)


def test_both_well_known_addresses() -> None:
    first, second = discovery_requests(ISSUER + "/", Endpoints())
    assert first.url == "https://idp.example/tenant/.well-known/openid-configuration"
    assert second.url == "https://idp.example/.well-known/oauth-authorization-server/tenant"


@pytest.mark.parametrize(
    "issuer", ["", "idp", "http://idp.example", "https://i\x1b", f"{ISSUER}?x=1", "file:///etc/passwd"]
)
def test_an_issuer_that_is_no_https_address_is_refused(issuer: str) -> None:
    with pytest.raises(DiscoveryError):
        discovery_requests(issuer, Endpoints())


def test_good_metadata() -> None:
    metadata = read_metadata(a_reply(GOOD), ISSUER, Endpoints())
    assert metadata.token_endpoint == "https://idp.example/token"
    assert metadata.sends_iss


def test_a_slash_at_the_end_is_no_difference_and_the_providers_way_of_writing_counts() -> None:
    assert read_metadata(a_reply(GOOD | {"issuer": ISSUER + "/"}), ISSUER, Endpoints()).issuer == ISSUER + "/"


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"issuer": ["https://idp.example/tenant"]},
        {"token_endpoint": None},
        {"token_endpoint": "http://idp.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "file:///bin/sh"},
        {"jwks_uri": "http://evil.example/"},
        {"device_authorization_endpoint": "https://a@b/"},
    ],
    ids=str,
)
def test_metadata_that_cannot_be_trusted_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(DiscoveryError) as caught:
        read_metadata(a_reply(GOOD | changed), ISSUER, Endpoints())
    assert caught.value.code == "KT605"


def test_nothing_there() -> None:
    reply = a_reply({}, status=404)
    assert is_missing(reply)
    with pytest.raises(DiscoveryError, match="404"):
        read_metadata(reply, ISSUER, Endpoints())


def test_trouble_is_not_nothing() -> None:
    assert not is_missing(a_reply({}, status=503))


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), st.none() | st.text() | st.integers() | st.lists(st.text())))
def test_any_metadata_is_read_or_refused(values: dict[str, object]) -> None:
    try:
        read_metadata(a_reply({"issuer": ISSUER} | values), ISSUER, Endpoints())
    except OAuthError:
        return
