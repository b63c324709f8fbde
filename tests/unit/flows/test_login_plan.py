"""Which mode, which arguments, which error: what follows from what was asked for and what is there."""

from __future__ import annotations

from typing import Any

import pytest

from kirotunnel.errors import KirotunnelError, LoginRefusedError
from kirotunnel.events import Account
from kirotunnel.flows.login_plan import (
    Method,
    choose_own_mode,
    error_for,
    is_of_method,
    login_arguments,
    own_mode_uses_port,
)
from unit.flows.playbook import facts, plan

E1, E2, E3 = (1, 22, 0), (1, 24, 0), (2, 10, 0)


@pytest.mark.parametrize(
    ("asked", "found", "own_mode"),
    [
        pytest.param({}, {}, False, id="usual"),
        pytest.param({"method": "external-idp"}, {}, False, id="external IdP"),
        pytest.param({"method": "google"}, {"version": E1}, False, id="social on 1.22"),
        pytest.param({"method": "google"}, {"version": None}, False, id="unknown version"),
        pytest.param({"flow": "callback"}, {}, False, id="callback asked for"),
        pytest.param({"flow": "device"}, {}, True, id="device asked for"),
        pytest.param({"flow": "device", "method": "builder-id"}, {"version": E1}, True, id="Builder ID code on 1.22"),
        pytest.param({"flow": "device", "method": "google"}, {"version": None}, True, id="device, unknown version"),
        pytest.param({}, {"wsl": True}, True, id="WSL"),
        pytest.param({}, {"system": "Darwin"}, True, id="macOS"),
        pytest.param({}, {"system": ""}, True, id="a system that does not say"),
        pytest.param({}, {"directory": None}, True, id="nowhere to put the opener"),
        pytest.param({"method": "google"}, {"wsl": True}, True, id="social under WSL"),
        pytest.param({"method": "google", "flow": "callback"}, {"wsl": True, "version": E2}, True, id="port under WSL"),
        pytest.param({}, {"system": "FreeBSD"}, False, id="another Unix"),
    ],
)
def test_the_clis_own_mode_is_taken_where_the_opener_cannot_work(
    asked: dict[str, Any], found: dict[str, Any], own_mode: bool
) -> None:
    assert choose_own_mode(plan(**asked), facts(**found)) is own_mode


@pytest.mark.parametrize(
    ("asked", "found", "message", "hint"),
    [
        pytest.param(
            {"method": "external-idp", "flow": "device"},
            {},
            "kiro-cli has no sign-in with an organization's identity provider by one-time code",
            "leave out --flow device",
            id="external IdP by code",
        ),
        pytest.param(
            {"method": "external-idp"},
            {"wsl": True},
            "kiro-cli has no sign-in with an organization's identity provider on WSL",
            LoginRefusedError.default_hint,
            id="external IdP under WSL",
        ),
        pytest.param(
            {"method": "google", "flow": "device"},
            {"version": E1},
            "kiro-cli 1.22.0 on box has no google sign-in in remote mode",
            "leave out --flow device",
            id="social by code on 1.22",
        ),
        pytest.param(
            {"method": "github"},
            {"version": E1, "wsl": True},
            "kiro-cli 1.22.0 on box has no github sign-in in remote mode",
            "update kiro-cli on box",
            id="social on 1.22 under WSL",
        ),
        pytest.param(
            {"flow": "callback"},
            {"system": "Darwin"},
            "kiro-cli cannot be given a browser on macOS",
            "use --flow device",
            id="callback on macOS",
        ),
    ],
)
def test_what_neither_way_serves_is_refused(
    asked: dict[str, Any], found: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(LoginRefusedError) as refusal:
        choose_own_mode(plan(**asked), facts(**found))
    assert (refusal.value.message, refusal.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("asked", "version", "uses_port"),
    [
        ({"method": "google"}, (1, 23, 1), False),
        ({"method": "google"}, (1, 24, 0), True),
        ({"method": "github"}, (2, 0, 1), True),
        ({"method": "github"}, (2, 1, 0), False),
        ({"method": "builder-id"}, (1, 24, 0), False),
        ({"method": "idc"}, (1, 24, 0), False),
        ({"method": "google"}, None, False),
        ({}, (1, 24, 0), False),
        ({"flow": "callback"}, (1, 24, 0), True),
        ({"flow": "callback"}, (2, 1, 0), False),
    ],
)
def test_which_versions_show_a_port_in_remote_mode(
    asked: dict[str, Any], version: tuple[int, ...] | None, uses_port: bool
) -> None:
    assert own_mode_uses_port(plan(**asked), facts(version=version)) is uses_port


@pytest.mark.parametrize(
    ("asked", "own_mode", "arguments"),
    [
        ({}, False, "login"),
        ({"method": "idc", "start_url": "https://d-1.awsapps.com"}, False, "login"),
        ({}, True, "login --use-device-flow"),
        ({"method": "google"}, True, "login --use-device-flow"),
        ({"method": "github"}, True, "login --use-device-flow"),
        ({"method": "builder-id"}, True, "login --use-device-flow --license free"),
        ({"method": "idc"}, True, "login --use-device-flow --license pro"),
        ({"method": "idc", "region": "eu-west-1"}, True, "login --use-device-flow --license pro --region eu-west-1"),
        (
            {"method": "idc", "start_url": "https://d-1.awsapps.com", "region": "us-west-2"},
            True,
            "login --use-device-flow --license pro --identity-provider https://d-1.awsapps.com --region us-west-2",
        ),
        ({"method": "builder-id", "region": "eu-west-1"}, True, "login --use-device-flow --license free"),
    ],
)
def test_the_arguments_of_the_clis_login(asked: dict[str, Any], own_mode: bool, arguments: str) -> None:
    assert " ".join(login_arguments(plan(**asked), own_mode=own_mode)) == arguments


@pytest.mark.parametrize(
    ("account", "method", "answer"),
    [
        (Account(type="social", provider="Google"), "google", True),
        (Account(type="social", provider="GitHub"), "github", True),
        (Account(type="social", provider="GitHub"), "google", False),
        (Account(type="social"), "google", True),
        (Account(type="builder-id"), "google", False),
        (Account(type="builder-id"), "builder-id", True),
        (Account(type="idc"), "builder-id", False),
        (Account(type="idc"), "idc", True),
        (Account(type="external-idp"), "external-idp", True),
        (Account(type="api-key"), "idc", False),
    ],
)
def test_whether_an_account_came_about_by_a_method(account: Account, method: Method, answer: bool) -> None:
    assert is_of_method(account, method) is answer


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("", None),
        ("something new", None),
        ("ALL CALLBACK PORTS ARE IN USE", "KT402"),
        ("request timeout", "KT701"),
        ("discovery failed: 504 Gateway Timeout", "KT603"),
        ("dispatch failure (timed out)", "KT603"),
        ("Missing code or state", "KT407"),
    ],
)
def test_the_error_behind_what_the_cli_says(said: str, code: str | None) -> None:
    error: type[KirotunnelError] | None = error_for(said)
    assert (error.code if error else None) == code
