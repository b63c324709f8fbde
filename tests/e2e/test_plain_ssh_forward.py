"""Why not `ssh -L`: the documentation's way and ours, the same CLI, the same browser and the same click.

A mouse button that goes down on a link makes Chromium open a connection on which it then sends nothing. `ssh -L` makes
a connection to the remote of it, and that is the only one which the listener of Builder ID's and IAM Identity Center's
second leg takes in its life.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.chromium import Chromium, Openings, callback_port, hold_until_silent, walk
from e2e.conftest import Box, MakeBox
from e2e.harness import listening_here, wait_until
from e2e.running_login import running_login
from lab.servers import Server

pytestmark = pytest.mark.browser

# The flow with two legs, as it runs where the CLI does not know that it is remote and finds an opener.
REMOTE_LOGIN = "unset SSH_CLIENT SSH_CONNECTION SSH_TTY; PATH=$HOME/bin:$PATH; exec ~/.local/bin/kiro-cli login"


@contextmanager
def opener_on(box: Box) -> Iterator[Openings]:
    """An xdg-open on the remote that hands its address to us."""
    home = f"/home/{box.user}"
    openings = Openings(box.remote.path(f"{home}/opened"))
    os.chmod(box.remote.path(f"{home}/opened"), 0o622)
    box.remote.write(f"{home}/bin/xdg-open", f'#!/bin/sh\necho "$1" >{home}/opened\n', mode=0o755, owner=box.user)
    try:
        yield openings
    finally:
        openings.close()


@contextmanager
def ssh(box: Box, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """OpenSSH's own client, for as long as this is entered."""
    command = ["ssh", "-F", str(box.config), *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as client:
        try:
            yield client
        finally:
            client.kill()


@contextmanager
def forward(box: Box, port: int) -> Iterator[None]:
    """`ssh -N -L PORT:localhost:PORT HOST`."""
    with ssh(box, "-N", "-L", f"{port}:localhost:{port}", "-o", "ExitOnForwardFailure=yes", box.alias):
        assert wait_until(lambda: listening_here(port)), "the forward never came up"
        yield


def accepted(box: Box, leg: str) -> int:
    """How many connections the listener of that leg has taken."""
    return sum(1 for event in box.log() if event["event"] == "accepted" and event["leg"] == leg)


def test_a_plain_forward_breaks_the_leg_that_takes_one_visitor_with_one_click_on_a_link(
    make_box: MakeBox, sshd: Server, chromium: Chromium, tmp_path: Path
) -> None:
    box = make_box(sshd)
    with opener_on(box) as openings, ssh(box, box.alias, REMOTE_LOGIN) as login:
        with chromium.person(tmp_path / "profile") as person:
            portal = openings.next()
            with forward(box, callback_port(portal)):
                tab = walk(person, portal, "builder-id")
                hold_until_silent(tab, callback_port(portal))
                assert wait_until(lambda: accepted(box, "portal") > 0)
                tab.let_go()
                # The portal's listener takes three visitors, so this leg survives.
                assert tab.page_after(f"{box.services.where['public_url']}/signin") == "You are signed in"
            sign_in_page = openings.next()
            with forward(box, callback_port(sign_in_page)):
                tab = walk(person, sign_in_page, "builder-id")
                hold_until_silent(tab, callback_port(sign_in_page))
                assert wait_until(lambda: accepted(box, "sso") == 1), "the silent connection did not get through"
                tab.let_go()
                assert tab.problem().startswith("ERR_")
                # The one visitor has said nothing: the callback found a closed door, and the CLI goes on waiting.
                assert (accepted(box, "sso"), [r for r in box.requests() if r.startswith("sso")]) == (1, [])
                assert login.poll() is None
        # When the browser is closed, its silent connection ends, and so does the login.
        said, _ = login.communicate(timeout=20)
    assert login.returncode == 1
    assert "No code received on redirect" in said
    whoami = box.remote.run(f"/home/{box.user}/.local/bin/kiro-cli whoami", box.user)
    assert "Not logged in" in whoami.stdout + whoami.stderr


def test_the_same_click_signs_in_with_kirotunnel(
    make_box: MakeBox, sshd: Server, chromium: Chromium, tmp_path: Path
) -> None:
    box = make_box(sshd)
    with chromium.person(tmp_path / "profile") as person, running_login(box, tmp_path) as login:
        for _ in ("portal", "sso"):
            url = login.next_page()
            tab = walk(person, url, "builder-id")
            hold_until_silent(tab, callback_port(url))
            tab.let_go()
        run = login.end()
    assert run.code == 0, run.stderr
    assert [accepted(box, leg) for leg in ("portal", "sso")] == [1, 1]
    assert box.requests()[:2] == ["portal GET /signin/callback", "sso GET /oauth/callback"]
