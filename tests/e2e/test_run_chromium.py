"""`kirotunnel run` and a real Chromium: what a browser does by itself reaches no listener of the zoo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest

from e2e.chromium import Person, connections_to, hold_until_silent
from e2e.creatures import Zoo, assert_free, running
from e2e.harness import listening_here, wait_until
from e2e.provider_page import provider_pages
from lab.remote import RemoteMachine
from lab.servers import Server

pytestmark = pytest.mark.browser

# What is run, and what reaches it. The last page says `You can close this window` in each case.
HABITS: Final = {
    "one-shot": (["one_shot"], ["GET /oauth/callback"]),
    "dies of a GET": (["dies_of_a_get"], ["GET /"]),
    "dies of a bare connect": (["dies_of_a_connect"], ["GET /"]),
    "binds ::1 only": (["binds", "::1"], ["GET /callback"]),
    "binds 0.0.0.0": (["binds", "0.0.0.0"], ["GET /callback"]),
    "answers slowly": (["slow", "8"], ["GET /callback"]),
    "fragment, in a query": (["fragment", "query"], ["GET /", "GET /token"]),
    "fragment, of a page without a type": (["fragment", "unlabelled"], ["GET /", "GET /token"]),
    "fragment, in the page's own address": (["fragment", "again"], ["GET /", "GET /token"]),
    "fragment, as JSON": (["fragment", "json"], ["GET /", "POST /token"]),
    "fragment, as a form": (["fragment", "form"], ["GET /", "POST /token"]),
    "loopback start": (["starts_here"], ["GET /auth", "GET /"]),
}


@pytest.fixture
def provider(remote: RemoteMachine) -> Iterator[str]:
    with provider_pages(remote.host_address) as origin:
        yield origin


@pytest.fixture
def zoo(remote: RemoteMachine, sshd: Server, tmp_path: Path) -> Zoo:
    return Zoo.on(remote, sshd, tmp_path / "ssh_config")


@pytest.mark.parametrize("habit", HABITS)
def test_a_click_and_its_silent_connection(zoo: Zoo, provider: str, person: Person, tmp_path: Path, habit: str) -> None:
    creature, reached = HABITS[habit]
    command = zoo.command(*creature, provider=provider)
    with running(zoo, tmp_path, command, trust=[urlsplit(provider).netloc]) as run:
        tab = person.open(run.next_page())
        port = urlsplit(tab.way_back()).port
        assert port is not None
        hold_until_silent(tab, port)
        tab.let_go()
        assert run.end() == 0, run.stderr
        assert tab.says("You can close this window")
    assert zoo.saw_no_stranger(reached)
    assert_free(zoo.ports())
    assert connections_to(port) == 0


def test_a_token_in_the_path_and_no_state_at_all(zoo: Zoo, provider: str, person: Person, tmp_path: Path) -> None:
    command = zoo.command("fragment", "path", provider=provider)
    with running(zoo, tmp_path, command, trust=[urlsplit(provider).netloc]) as run:
        tab = person.open(run.next_page())
        tab.continue_()
        assert run.end() == 0, run.stderr
        assert tab.says("Success!")
    requests = [request.partition("token-of")[0] for request in zoo.requests()]
    assert requests == ["GET /", "GET /token/access_token="]
    assert_free(zoo.ports())


def test_a_posted_form(zoo: Zoo, provider: str, person: Person, tmp_path: Path) -> None:
    with running(zoo, tmp_path, zoo.command("posted", provider=provider), trust=[urlsplit(provider).netloc]) as run:
        tab = person.open(run.next_page())
        tab.continue_()
        assert run.end() == 0, run.stderr
        assert tab.says("You can close this window")
    assert zoo.saw_no_stranger(["POST /"])
    assert_free(zoo.ports())


@pytest.mark.parametrize("named", ["callback", "port"])
def test_the_sign_in_pages_own_script(zoo: Zoo, provider: str, person: Person, tmp_path: Path, named: str) -> None:
    command = zoo.command("fetched", named, provider=provider)
    with running(zoo, tmp_path, command, trust=[urlsplit(provider).netloc]) as run:
        tab = person.open(run.next_page())
        (port,) = zoo.ports()
        assert wait_until(lambda: listening_here(port), 20)
        tab.continue_()
        assert tab.says("You can close this window")
        assert run.end() == 0, run.stderr
    assert zoo.saw_no_stranger(["POST /success"])
    assert_free({port})


@pytest.mark.parametrize("ports", ["own", "same"])
def test_two_tabs_one_after_the_other(zoo: Zoo, provider: str, person: Person, tmp_path: Path, ports: str) -> None:
    command = zoo.command("two_logins", *([ports] if ports == "same" else []), provider=provider)
    with running(zoo, tmp_path, command, trust=[urlsplit(provider).netloc]) as run:
        for _ in range(2):
            url = run.next_page()
            tab = person.open(url)
            hold_until_silent(tab, urlsplit(parse_qs(urlsplit(url).query)["redirect_uri"][0]).port or 0)
            tab.let_go()
            assert tab.says("You can close this window")
        assert run.end() == 0, run.stderr
    assert zoo.saw_no_stranger(["GET /callback"] * 2)
    assert_free(zoo.ports())
