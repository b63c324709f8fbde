"""Every method with a real Chromium, a real mouse, and the silent connections that Chromium opens by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from e2e.chromium import Chromium, Person, Tab
from e2e.conftest import Box, MakeBox
from e2e.harness import Run, Services, listening_here, wait_until
from e2e.running_login import RunningLogin, running_login
from lab.remote import RemoteMachine
from lab.requirements import require
from lab.servers import Server

from kirotunnel.sandbox.accounts import SAMPLE_ACCOUNTS

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


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    require("chromium")
    browser = Chromium()
    yield browser
    browser.stop()


@pytest.fixture
def person(chromium: Chromium, tmp_path: Path) -> Iterator[Person]:
    with chromium.person(tmp_path / "profile") as somebody:
        yield somebody


def connections_to(port: int) -> int:
    """How many connections of this machine there are to a port of its loopback."""
    wanted, count = f":{port:04X}", 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        rows = [line.split() for line in Path(table).read_text(encoding="ascii").splitlines()[1:]]
        count += sum(1 for row in rows if row[2].endswith(wanted) and row[3] == "01")
    return count


def callback_port(url: str) -> int:
    """The port that the sign-in page at this address comes back to."""
    port = urlsplit(parse_qs(urlsplit(url).query)["redirect_uri"][0]).port
    assert port is not None
    return port


def walk(person: Person, url: str, leg: int, method: str, decision: str = "allow") -> Tab:
    """Go through the pages up to the link that leads back to the command line."""
    tab = person.open(url)
    if leg == 1:
        tab.choose(method)
    tab.decide(decision)
    return tab


def sign_in(login: RunningLogin, person: Person, services: Services, method: str) -> list[int]:
    """Sign in, each time with a silent connection that comes before the callback. Gives the ports of the legs."""
    ports = []
    for leg in range(1, len(CALLBACKS[method]) + 1):
        url = login.next_page()
        ports.append(callback_port(url))
        tab = walk(person, url, leg, method)
        tab.hold_down()
        assert wait_until(lambda port=ports[-1]: connections_to(port) > 0), "Chromium opened no silent connection"
        tab.let_go()
        if leg == 1:
            assert tab.page_after(f"{services.where['public_url']}/signin?auth_status=success") == "You are signed in"
        else:
            assert tab.page_after(f"http://127.0.0.1:{ports[-1]}/index.html") in LAST_PAGES
    return ports


def assert_signed_in(run: Run, box: Box, method: str) -> None:
    assert run.code == 0, run.stderr
    account: dict[str, Any] = run.named("signed_in")[0]["account"]
    assert account["email"] == SAMPLE_ACCOUNTS[method].email  # type: ignore[index]
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
    box = make_box(sshd)
    with running_login(box, tmp_path) as login:
        ports = sign_in(login, person, services, method)
        run = login.end()
    assert_signed_in(run, box, method)
    # The silent connections went with their legs, whatever Chromium would have kept them for.
    assert [port for port in ports if listening_here(port) or connections_to(port)] == []
