"""Which way a sign-in on this machine goes, for all that can be asked for."""

from typing import Any

import pytest

from kirotunnel.errors import FlowUnavailableError, SettingsError
from kirotunnel.flows.sign_in_route import (
    AskMethod,
    ByAws,
    ByPortal,
    ByProvider,
    BySocialDevice,
    Route,
    SignInOptions,
    choose_route,
)
from kirotunnel.oauth.openid_provider import Client

BUILDER = ("https://view.awsapps.com/start", "us-east-1")
ISSUER = {"issuer": "https://i.example", "client_id": "c"}


def route(options: dict[str, Any], *, remote: bool = False, interactive: bool = True, **remembered: str) -> Route:
    return choose_route(SignInOptions(**options), remote=remote, interactive=interactive, remembered=remembered)


def aws(method: Any, device: bool, start_url: str | None, region: str | None) -> ByAws:
    return ByAws(method=method, device=device, start_url=start_url, region=region)


@pytest.mark.parametrize(
    ("options", "at_home", "remote"),
    [
        ({}, ByPortal(), AskMethod()),
        ({"flow": "callback"}, ByPortal(), ByPortal()),
        ({"flow": "device"}, AskMethod(), AskMethod()),
        ({"method": "google"}, ByPortal(), BySocialDevice("google")),
        ({"method": "github", "flow": "callback"}, ByPortal(), ByPortal()),
        ({"method": "github", "flow": "device"}, BySocialDevice("github"), BySocialDevice("github")),
        ({"method": "builder-id"}, aws("builder-id", False, *BUILDER), aws("builder-id", True, *BUILDER)),
        ({"method": "idc"}, aws("idc", False, None, None), aws("idc", True, None, None)),
        ({"start_url": "u", "region": "r"}, aws("idc", False, "u", "r"), aws("idc", True, "u", "r")),
        ({"method": "external-idp"}, ByPortal(), ByPortal()),
    ],
)
def test_which_way_it_goes(options: dict[str, Any], at_home: Route, remote: Route) -> None:
    assert route(options) == at_home
    assert route(options, remote=True) == remote


def test_a_named_provider_needs_no_portal_and_gets_a_code_only_on_request() -> None:
    client = Client(issuer="https://i.example", client_id="c", scopes=("openid", "x", "offline_access"))
    options = ISSUER | {"scopes": ("openid", "x")}
    for remote in (False, True):
        assert route(options, remote=remote) == ByProvider(client=client, device=False)
    assert route(options | {"flow": "device"}) == ByProvider(client=client, device=True)


def test_the_last_identity_center_is_remembered_but_its_region_is_its_own() -> None:
    assert route({"method": "idc"}, start_url="u", region="r") == aws("idc", False, "u", "r")
    assert route({"method": "idc", "start_url": "v"}, start_url="u", region="r") == aws("idc", False, "v", None)
    assert route({"method": "idc", "region": "s"}, start_url="u", region="r") == aws("idc", False, "u", "s")


def test_where_nobody_can_be_asked_the_portal_asks() -> None:
    assert route({}, remote=True, interactive=False) == ByPortal()
    with pytest.raises(SettingsError, match="--flow device"):
        route({"flow": "device"}, interactive=False)


@pytest.mark.parametrize(
    "options",
    [
        {"issuer": "https://i.example"},
        {"client_id": "c", "method": "external-idp"},
        {"scopes": ("x",), "method": "external-idp"},
        ISSUER | {"method": "google"},
        {"method": "google", "start_url": "u"},
        {"method": "builder-id", "region": "r"},
    ],
    ids=str,
)
def test_options_that_contradict_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        route(options)


def test_no_code_for_a_provider_behind_the_portal() -> None:
    with pytest.raises(FlowUnavailableError):
        route({"method": "external-idp", "flow": "device"})


@pytest.mark.parametrize(
    "options", [{}, {"method": "idc"}, {"method": "google", "flow": "device"}, {"flow": "device"}, ISSUER]
)
def test_each_way_can_be_said(options: dict[str, Any]) -> None:
    assert route(options).describe()
