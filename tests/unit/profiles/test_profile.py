"""What is known of the remote CLI is whole and makes sense."""

from __future__ import annotations

import re
from typing import Final, get_args

import pytest

from kirotunnel.errors import ProfileNotFoundError
from kirotunnel.flows.login_plan import Method
from kirotunnel.profiles.profile import load_profile
from kirotunnel.wire.redirect import MIN_PORT, UrlPolicy, check_url, matches_host

KIRO: Final = load_profile("kiro-cli")


def test_the_callback_ports_are_the_ten_of_the_allow_list() -> None:
    assert sorted(KIRO.ports) == [3128, 4649, 6588, 8008, 9091, 49153, 50153, 51153, 52153, 53153]
    assert min(KIRO.ports) >= MIN_PORT


def test_the_callback_paths_are_the_two_of_the_portal() -> None:
    assert KIRO.callback_paths == ("/oauth/callback", "/signin/callback")


def test_what_makes_the_cli_think_itself_remote_is_unset() -> None:
    assert {"SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "KIRO_API_KEY"} <= set(KIRO.unset)
    assert {variable.partition("=")[0] for variable in KIRO.pretend_remote} <= set(KIRO.unset)


def test_every_method_but_the_organizations_own_has_a_sign_in_by_code() -> None:
    assert set(KIRO.device) == set(get_args(Method)) - {"external-idp"}


@pytest.mark.parametrize(
    ("label", "methods"),
    [
        ("Use with Builder ID", {"builder-id"}),
        ("Use for Free with Builder ID", {"builder-id"}),
        ("Use with IDC Account", {"idc"}),
        ("Use with Pro license", {"idc"}),
        ("Use with Your Organization", {"idc"}),
        ("Use with Google", {"google"}),
        ("Use with GitHub", {"github"}),
        ("Use for Free with Google or GitHub", {"google", "github"}),
        ("Use with Google Workspace", set()),
    ],
)
def test_each_row_of_each_versions_menu_means_its_method(label: str, methods: set[str]) -> None:
    found = {method for method, login in KIRO.device.items() if any(re.search(row, label) for row in login.menu_labels)}
    assert found == methods


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("view.awsapps.com", True),
        ("app.kiro.dev", True),
        ("device.sso.us-east-1.amazonaws.com", True),
        ("kiro.dev", False),
    ],
)
def test_the_hosts_of_code_pages(host: str, known: bool) -> None:
    assert matches_host(host, KIRO.device_hosts) is known


def test_a_profile_is_read_once_and_an_unknown_one_is_not_found() -> None:
    assert load_profile("kiro-cli") is KIRO
    with pytest.raises(ProfileNotFoundError, match="there is no profile 'other-cli'"):
        load_profile("other-cli")


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("aio", "https://aio-login.adobeioruntime.net/api/v1/web/default/applogin?id=c463dc97&port=45161"),
        ("codex", "https://auth.openai.com/oauth/authorize?response_type=code"),
        ("dagster-cloud", "https://dagster.cloud?next=/cli-auth/DTFOJS6U%3Fport%3D33571"),
        ("eas", "https://expo.dev/sso-login?client_id=eas-cli"),
        ("firebase", "https://accounts.google.com/o/oauth2/auth?client_id=x"),
        ("gcloud", "https://accounts.google.com/o/oauth2/auth?response_type=code"),
        ("gemini", "https://accounts.google.com/o/oauth2/v2/auth?redirect_uri=x"),
        ("kaggle", "https://www.kaggle.com/api/v1/oauth2/authorize?response_type=code"),
        ("oci", "https://login.us-phoenix-1.oraclecloud.com/v1/oauth2/authorize?action=login"),
        ("prefect", "https://app.prefect.cloud/auth/client?callback=x"),
        ("wrangler", "https://dash.cloudflare.com/oauth2/auth?response_type=code"),
    ],
)
def test_the_page_that_each_was_seen_to_open_is_on_a_host_of_its_profile(name: str, url: str) -> None:
    policy = UrlPolicy(known_hosts=load_profile(name).authorize_hosts)
    assert check_url(url, policy).standing == "known"
    assert check_url("https://oraclecloud.com.evil.example/", policy).standing == "unknown"
