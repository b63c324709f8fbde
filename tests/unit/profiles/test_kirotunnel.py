"""What the profile of kirotunnel itself says is what kirotunnel's own command line takes."""

from __future__ import annotations

import json

import click
import pytest

from kirotunnel.cli.main import cli
from kirotunnel.events import Account
from kirotunnel.local.remote_session import SessionFacts, remoteness
from kirotunnel.oauth.kiro_service import CALLBACK_PATHS, PORTS
from kirotunnel.profiles.profile import load_profile
from kirotunnel.wire.whoami import parse_whoami

PROFILE = load_profile("kirotunnel")


@pytest.mark.parametrize(
    "arguments",
    [PROFILE.login, PROFILE.logout, PROFILE.whoami]
    + [(*PROFILE.login_device, *device.arguments) for device in PROFILE.device.values()],
    ids=" ".join,
)
def test_every_command_of_the_profile_is_one_of_ours(arguments: tuple[str, ...]) -> None:
    context = click.Context(cli)
    command = cli.get_command(context, arguments[0])
    assert command is not None
    command.make_context(arguments[0], list(arguments[1:]))  # raises for what it does not know


def test_its_ports_and_paths_are_those_that_it_listens_on() -> None:
    assert PROFILE.ports == PORTS
    assert PROFILE.callback_paths == CALLBACK_PATHS


def test_without_what_the_profile_takes_away_it_believes_itself_at_home() -> None:
    environment = dict.fromkeys(PROFILE.unset, "true") | {"BROWSER": "/tmp/x/bin/xdg-open"}
    assert remoteness(SessionFacts(environment=environment)) is not None
    for name in PROFILE.unset:
        del environment[name]
    assert remoteness(SessionFacts(environment=environment, in_container=True, ancestors=("sshd",))) is None


def test_its_whoami_is_understood() -> None:
    account = {"type": "idc", "provider": None, "email": "ada@example.com", "start_url": "https://x", "region": "r"}
    line = json.dumps({"v": 1, "event": "signed_in", "target": None, "account": account})
    result = json.dumps({"v": 1, "event": "result", "ok": True, "targets": []})
    known = Account(type="idc", email="ada@example.com", start_url="https://x", region="r")
    assert parse_whoami(f"{line}\n{result}\n") == known


@pytest.mark.parametrize(
    "answer",
    [
        {"event": "result", "ok": False},
        {"event": "signed_in"},
        {"event": "signed_in", "account": "ada"},
    ],
)
def test_nobody_is_nobody(answer: object) -> None:
    assert parse_whoami(json.dumps(answer)) is None
