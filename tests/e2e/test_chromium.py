"""Every method with a real Chromium, a real mouse, and the silent connections that Chromium opens by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from e2e.chromium import Person, Tab, callback_port, connections_to, hold_until_silent, walk
from e2e.conftest import Box, MakeBox
from e2e.harness import Run, Services, listening_here, wait_until
from e2e.running_login import running_login
from kirotunnel.sandbox.accounts import SAMPLE_ACCOUNTS
from lab.remote import RemoteMachine
from lab.servers import Server

pytestmark = pytest.mark.browser

METHODS: Final = ("google", "github", "builder-id", "idc", "external-idp")
# The listener of each leg, and the callback that is allowed there.
CALLBACKS: Final = {
    "google": ["portal GET /oauth/callback"],
    "github": ["portal GET /oauth/callback"],
    "builder-id": ["portal GET /signin/callback", "sso GET /oauth/callback"],
    "idc": ["portal GET /signin/callback", "sso GET /oauth/callback"],
    "external-idp": ["portal GET /signin/callback", "external-idp GET /oauth/callback"],
}
LAST_PAGES: Final = {"You can close this window", "Handed over to kiro-cli"}
"""What stands at the end of a second leg: the CLI's own page, or ours where it was gone already."""

SETTLING_S: Final = 3.0
"""Seconds for the end of a connection to be seen; Chromium itself keeps a silent one for ten at least."""


def assert_last_page(tab: Tab, services: Services, leg: int, port: int) -> None:
    """The portal says that all is well; on a second leg it is the CLI, or kirotunnel where that is gone already."""
    if leg == 1:
        assert tab.page_after(f"{services.where['public_url']}/signin?auth_status=success") == "You are signed in"
    else:
        assert tab.page_after(f"http://127.0.0.1:{port}/index.html") in LAST_PAGES


def assert_signed_in(run: Run, box: Box, method: str) -> None:
    assert run.code == 0, run.stderr
    account: dict[str, Any] = run.named("signed_in")[0]["account"]
    assert account["email"] == SAMPLE_ACCOUNTS[method].email
    assert_only_callbacks_arrived(box, method)


def assert_only_callbacks_arrived(box: Box, method: str) -> None:
    """Each listener took one connection, with its callback, and at most the page that it named itself."""
    legs = [callback.split()[0] for callback in CALLBACKS[method]]
    assert [(e["leg"], e["n"]) for e in box.log() if e["event"] == "accepted"] == [(leg, 1) for leg in legs]
    assert [request for request in box.requests() if not request.endswith("/index.html")] == CALLBACKS[method]


@pytest.mark.parametrize("method", METHODS)
def test_each_method_signs_in_although_a_silent_connection_comes_before_each_callback(
    make_box: MakeBox, sshd: Server, services: Services, person: Person, tmp_path: Path, method: str
) -> None:
    box, ports = make_box(sshd), []
    with running_login(box, tmp_path) as login:
        for leg, _ in enumerate(CALLBACKS[method], 1):
            url = login.next_page()
            ports.append(callback_port(url))
            tab = walk(person, url, method)
            hold_until_silent(tab, ports[-1])
            tab.let_go()
            assert_last_page(tab, services, leg, ports[-1])
        run = login.end()
    assert_signed_in(run, box, method)
    # The silent connections went with their legs, for however long Chromium would have kept them.
    assert wait_until(lambda: not any(listening_here(port) or connections_to(port) for port in ports), SETTLING_S)


def test_a_silent_connection_is_reported_as_idle_and_the_click_comes_through_after_it(
    make_box: MakeBox, sshd: Server, services: Services, person: Person, tmp_path: Path
) -> None:
    box = make_box(sshd)
    with running_login(box, tmp_path) as login:
        url = login.next_page()
        tab = walk(person, url, "google")
        hold_until_silent(tab, callback_port(url))
        refused = login.wait_for("request_refused")
        assert (refused["leg"], refused["reason"]) == (1, "idle")
        # It is told of just before the connection is closed.
        assert wait_until(lambda: connections_to(callback_port(url)) == 0, SETTLING_S)
        tab.let_go()
        assert_last_page(tab, services, 1, callback_port(url))
        run = login.end()
    assert_signed_in(run, box, "google")


@pytest.mark.parametrize("hand_over", ["link", "redirect", "form"])
def test_it_does_not_matter_how_the_page_sends_the_browser_back(
    make_box: MakeBox,
    sshd: Server,
    remote: RemoteMachine,
    services: Services,
    person: Person,
    tmp_path: Path,
    hand_over: str,
) -> None:
    box = make_box(sshd)
    other = Services.start(remote, "--hand-over", hand_over)
    try:
        box = replace(make_box(sshd), services=other)
        remote.install_cli(box.user, env=other.cli_environment())
        with running_login(box, tmp_path) as login:
            for leg, _ in enumerate(CALLBACKS["builder-id"], 1):
                url = login.next_page()
                tab = walk(person, url, "builder-id")
                if hand_over != "redirect":
                    tab.continue_()
                assert_last_page(tab, other, leg, callback_port(url))
            run = login.end()
    finally:
        other.stop()
    assert_signed_in(run, box, "builder-id")


@pytest.mark.parametrize("method", ["google", "builder-id", "external-idp"])
def test_a_denial_ends_on_a_page_that_says_so(
    make_box: MakeBox, sshd: Server, services: Services, person: Person, tmp_path: Path, method: str
) -> None:
    box, legs = make_box(sshd), len(CALLBACKS[method])
    with running_login(box, tmp_path) as login:
        for leg in range(1, legs + 1):
            url = login.next_page()
            tab = walk(person, url, method, "allow" if leg < legs else "deny")
            tab.continue_()
        if legs == 1:
            heading = tab.page_after(f"{services.where['public_url']}/signin?auth_status=error")
            assert heading == "Nobody was signed in"
        else:
            heading = tab.page_after(f"http://127.0.0.1:{callback_port(url)}/index.html?error=access_denied")
            assert heading in {"You can close this window", "The sign-in was denied"}
        run = login.end()
    assert (run.code, run.failure) == (8, "KT601")
    assert [event["outcome"] for event in run.named("callback_received")] == ["granted"] * (legs - 1) + ["denied"]
    assert run.named("signed_in") == []
    assert_only_callbacks_arrived(box, method)
