"""Where the sign-in services are, and which addresses may be given a secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.errors import SettingsError
from kirotunnel.oauth.endpoints import Endpoints, check_region
from kirotunnel.wire.redirect import TrustedHost


def test_the_services_as_they_are_when_nothing_is_set() -> None:
    endpoints = Endpoints.of({})
    assert endpoints.portal == "https://app.kiro.dev"
    assert endpoints.auth_service == "https://prod.us-east-1.auth.desktop.kiro.dev"
    assert endpoints.aws("eu-central-1") == "https://oidc.eu-central-1.amazonaws.com"
    assert endpoints.aws("cn-north-1") == "https://oidc.cn-north-1.amazonaws.com.cn"
    assert endpoints.aws("us-gov-west-1") == "https://oidc.us-gov-west-1.amazonaws.com"


def test_the_environment_moves_each_of_them_and_may_leave_tls_out_there() -> None:
    endpoints = Endpoints.of(
        {
            "KIRO_AUTH_PORTAL_URL": "http://portal.test:8080/",
            "KIROTUNNEL_AUTH_SERVICE_URL": "http://10.0.0.1:81",
            "AWS_ENDPOINT_URL_SSO_OIDC": "https://vpce.example",
        }
    )
    assert (endpoints.portal, endpoints.auth_service) == ("http://portal.test:8080", "http://10.0.0.1:81")
    assert endpoints.aws("us-east-1") == "https://vpce.example"
    assert endpoints.allows("http://10.0.0.1:81/idp")
    assert not endpoints.allows("http://10.0.0.1:82/idp")


@pytest.mark.parametrize(
    "value", ["ftp://x", "app.kiro.dev", "https://", "https://a@b", "http://x:99999", "https://x/\n"]
)
def test_a_variable_without_an_address_is_named(value: str) -> None:
    with pytest.raises(SettingsError, match="KIRO_AUTH_PORTAL_URL"):
        Endpoints.of({"KIRO_AUTH_PORTAL_URL": value})


@pytest.mark.parametrize(
    "region", ["", "x", "us-east-1.evil.example/", "us-east-1#", "US-EAST-1", "us-east-1\n", "../a", "a" * 99]
)
def test_what_is_no_region_never_becomes_a_host(region: str) -> None:
    with pytest.raises(SettingsError):
        check_region(region)
    with pytest.raises(SettingsError):
        Endpoints().aws(region)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://idp.example/x", True),
        ("https://10.0.0.1/x", True),
        ("http://127.0.0.1:8080/x", True),
        ("http://[::1]:8080/x", True),
        ("http://localhost:1/x", True),
        ("http://trusted.example:81/x", True),
        ("http://trusted.example/x", False),
        ("http://idp.example/x", False),
        ("http://localhost.evil.example/x", False),
        ("http://127.0.0.1@evil.example/x", False),
        ("https://a@idp.example/x", False),
        ("javascript:alert(1)", False),
        ("file:///etc/passwd", False),
        ("https://idp.example/\nx", False),
        ("https://idp.example/ä", False),
        ("https://" + "a" * 9000, False),
        ("https:///x", False),
    ],
)
def test_where_secrets_may_go(url: str, *, allowed: bool) -> None:
    assert Endpoints(trusted=(TrustedHost("trusted.example", 81),)).allows(url) is allowed


@given(st.text())
def test_any_text_is_allowed_or_not(text: str) -> None:
    assert Endpoints().allows(f"http://{text}") in {True, False}
