"""Command lines of others, unmodified, signed in on the remote: with a real Chromium and real clicks.

The provider's last page is a link, as many are: when the mouse goes down on it, Chromium opens a connection that it
never uses. google-auth-oauthlib and databricks-sdk do not survive that without help, even with no tunnel at all.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest

from e2e.chromium import PATIENCE_S, Person, Tab, hold_until_silent
from e2e.creatures import Leg, Running, Zoo, assert_free, running, strays_around
from e2e.harness import wait_until
from integration.openid_provider import running_provider
from lab.remote import RemoteMachine
from lab.requirements import require, unmet
from lab.servers import Server
from real_clis.catalogue import CLIS, FOLDER, HOME, MSAL, OIDC_AGENT, USER, RealCLI

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def issuer(remote_machine: RemoteMachine) -> Iterator[str]:
    """The provider, where the remote's CLIs reach it and the browser as well: another name than the callback's."""
    for folder in ("node_modules", ".python"):
        if not (FOLDER / folder).is_dir():
            unmet(f"tests/real_clis/{folder} is not there (scripts/test installs it)")
    with running_provider(
        listen=remote_machine.host_address,
        handOver="link",
        clients=[cli.client for cli in CLIS],
        jwt=[cli.name for cli in CLIS if cli.has_jwt],
        scopes=[scope for cli in CLIS for scope in cli.scopes],
    ) as url:
        yield url


@pytest.fixture
def zoo(remote: RemoteMachine, sshd: Server, tmp_path: Path) -> Zoo:
    return Zoo.on(remote, sshd, tmp_path / "ssh_config", USER)


def install(remote: RemoteMachine, cli: RealCLI, issuer: str) -> list[str]:
    """Give the remote's user this command line; gives the words that sign in."""
    require(*cli.needs)
    lines = [f"export {name}={shlex.quote(cli.filled(value, issuer))}" for name, value in cli.environment.items()]
    program = shlex.join(cli.filled(word, issuer) for word in cli.program)
    remote.write(f"/usr/local/bin/{cli.name}", "\n".join(["#!/bin/sh", *lines, f'exec {program} "$@"\n']), mode=0o755)
    for name, text in cli.files.items():
        remote.write(f"{HOME}/{name}", cli.filled(text, issuer), owner=USER)
    return [cli.name, *(cli.filled(word, issuer) for word in cli.login)]


def leg_at(url: str) -> Leg:
    """Where this callback comes back to."""
    parts = urlsplit(url)
    assert parts.port is not None
    return Leg(url, parts.port, parts.path or "/", parse_qs(parts.query).get("state", [""])[0])


@pytest.mark.parametrize("cli", [cli for cli in CLIS if cli is not MSAL], ids=lambda cli: cli.name)
def test_by_a_link_with_a_silent_connection_before_it(
    zoo: Zoo, issuer: str, person: Person, tmp_path: Path, cli: RealCLI
) -> None:
    with started(zoo, cli, issuer, tmp_path) as run:
        tab = person.open(run.next_page())
        tab.sign_in()
        leg = leg_at(tab.way_back())
        with strays_around(leg, state_known=leg.state != ""):
            hold_until_silent(tab, leg.port)
            tab.let_go()
            assert_done(run, tab, cli)
    assert_free({leg.port})


def test_by_a_posted_form(zoo: Zoo, issuer: str, person: Person, tmp_path: Path) -> None:
    with started(zoo, MSAL, issuer, tmp_path) as run:
        url = run.next_page()
        tab = person.open(url)
        query = parse_qs(urlsplit(url).query)
        assert query["response_mode"] == ["form_post"]
        leg = leg_at(f"{query['redirect_uri'][0]}/?state={query['state'][0]}")
        with strays_around(leg):
            tab.sign_in()
            assert_done(run, tab, MSAL)
    assert_free({leg.port})


OIDC_GEN_PROFILE: Final = """\
about = "oidc-agent's oidc-gen"
ports = [4242]
environment = { OIDC_PASSWORD = "of-no-value" }
success = '^Everything setup correctly!'

[gate]
several_callbacks = false
"""


def test_with_a_profile_of_the_users_own(
    zoo: Zoo, issuer: str, person: Person, tmp_path: Path, scrubbed_environment: Path
) -> None:
    profile = scrubbed_environment / ".config" / "kirotunnel" / "profiles" / "oidc-gen.toml"
    profile.parent.mkdir(parents=True)
    profile.write_text(OIDC_GEN_PROFILE)
    cli = replace(OIDC_AGENT, environment={})  # what it needs is in the profile
    with started(zoo, cli, issuer, tmp_path) as run:
        tab = person.open(run.next_page())
        tab.sign_in()
        tab.continue_()
        assert_done(run, tab, cli)
        assert "says that it is signed in" in run.stderr
    assert_free({4242})


def started(zoo: Zoo, cli: RealCLI, issuer: str, directory: Path) -> AbstractContextManager[Running]:
    command = install(zoo.remote, cli, issuer)
    return running(zoo, directory, command, trust=[urlsplit(issuer).netloc])


def assert_done(run: Running, tab: Tab, cli: RealCLI) -> None:
    """It says so, in both places, and has ended well."""
    assert run.end() == 0, run.stdout + run.stderr
    assert cli.says in run.stdout + run.stderr
    ends = [cli.page, *(["closed the connection without a word"] if cli.may_hang_up else [])]
    # The browser may still be on its way to that page.
    assert wait_until(lambda: any(page in tab.text() for page in ends), PATIENCE_S), tab.text()
