"""Every method signs in: on OpenSSH and Dropbear, in every era, under every login shell."""

from __future__ import annotations

import pytest

from e2e.conftest import Box, MakeBox
from e2e.harness import Run, listening_here
from lab.servers import Server

METHODS = ("google", "github", "builder-id", "idc", "external-idp")
ERAS = {"1.20-1.23": "1.22.0", "1.24-2.0": "2.0.0", "2.1-": "2.10.0"}
PEOPLE = {
    "google": "ada@example.com",
    "github": "grace@example.com",
    "builder-id": "alan@example.com",
    "idc": "katherine@example.com",
    "external-idp": "edsger@example.com",
}
TYPES = {"google": "social", "github": "social"}
LEGS = {"google": 1, "github": 1, "builder-id": 2, "idc": 2, "external-idp": 2}


def assert_signed_in(run: Run, method: str, *, email: bool = True) -> None:
    assert run.code == 0, run.stderr
    account = run.named("signed_in")[0]["account"]
    person = PEOPLE[method] if email else None
    assert (account["type"], account["email"]) == (TYPES.get(method, method), person)
    assert (run.events[-1]["event"], run.events[-1]["ok"]) == ("result", True)
    assert f"signed in as {person or ''}" in run.stderr


def assert_only_callbacks_arrived(box: Box, method: str) -> None:
    """The listeners saw the callback of each leg, and at most the page after it on the same connection."""
    accepted = [event for event in box.log() if event["event"] == "accepted"]
    assert len(accepted) == LEGS[method]
    paths = [request.split()[2].partition("?")[0] for request in box.requests()]
    assert [path for path in paths if path != "/index.html"] == paths[:1] + ["/oauth/callback"] * (LEGS[method] - 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("era", ERAS)
def test_each_method_signs_in_in_each_era(make_box: MakeBox, sshd: Server, era: str, method: str) -> None:
    # External identity providers came with 1.26.1.
    version = "1.26.1" if (method, era) == ("external-idp", "1.20-1.23") else ERAS[era]
    box = make_box(sshd, KIRO_STANDIN_VERSION=version)
    run = box.login(method)
    assert_signed_in(run, method, email=version >= "1.25")  # whoami shows it since then
    assert_only_callbacks_arrived(box, method)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_signs_in_over_dropbear(make_box: MakeBox, dropbear: Server, method: str) -> None:
    box = make_box(dropbear)
    assert_signed_in(box.login(method), method)
    assert_only_callbacks_arrived(box, method)


@pytest.mark.parametrize("user", ["bash", "dash", "ash", "fish", "tcsh", "zsh", "noisy", "busybox"])
def test_the_login_shell_does_not_matter(make_box: MakeBox, sshd: Server, user: str) -> None:
    box = make_box(sshd, user)
    assert_signed_in(box.login("builder-id"), "builder-id")


def test_the_other_binary_signs_in_as_well(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd, KIRO_STANDIN_BINARY="chat")
    assert_signed_in(box.login("idc"), "idc")


def test_each_leg_opens_both_loopback_addresses_before_its_browser_and_closes_them_after_its_callback(
    make_box: MakeBox, sshd: Server
) -> None:
    run = make_box(sshd).login("builder-id")
    for leg in (1, 2):
        of_leg = [event["event"] for event in run.events if event.get("leg") == leg]
        assert of_leg.index("browser_requested") < of_leg.index("tunnel_opened") < of_leg.index("browser_opened")
        assert of_leg.index("callback_received") < of_leg.index("tunnel_closed")
        opened = next(event for event in run.named("tunnel_opened") if event["leg"] == leg)
        port = opened["port"]
        assert opened["listen"] == [f"127.0.0.1:{port}", f"[::1]:{port}"]
        assert not listening_here(port)


def test_the_events_come_in_the_promised_order(make_box: MakeBox, sshd: Server) -> None:
    run = make_box(sshd).login("google")
    assert run.names == [
        "connecting",
        "connected",
        "remote_cli",
        "login_started",
        "browser_requested",
        "tunnel_opened",
        "browser_opened",
        "callback_received",
        "tunnel_closed",
        "signed_in",
        "result",
    ]


def test_no_secret_is_in_the_events_or_beside_the_address(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    run = box.login("google", "-vv")
    assert run.code == 0
    assert len(box.secrets()) == 2
    without_address = "\n".join(line for line in run.stderr.splitlines() if not line.startswith("http"))
    assert [secret for secret in box.secrets() if secret in run.stdout or secret in without_address] == []


def test_who_is_signed_in_already_is_the_answer(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    box.login("google")
    before = len(box.log())
    run = box.login("github")
    assert (run.code, run.named("signed_in")[0]["account"]["email"]) == (0, "ada@example.com")
    assert "already signed in as ada@example.com" in run.stderr
    assert [event for event in box.log()[before:] if event["event"] in {"bound", "opener"}] == []


def test_force_signs_in_anew(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    box.login("google")
    run = box.login("github", "--force")
    assert_signed_in(run, "github")


def test_expect_refuses_another_account_and_leaves_it_signed_in(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    run = box.login("google", "--expect", "boss@example.com")
    assert (run.code, run.failure) == (6, "KT410")
    assert box.login("google", "--expect", "ADA@example.com").code == 0


@pytest.mark.parametrize("where", ["/usr/local/bin", "~/.local/bin", "~/tools/bin"])
def test_the_cli_is_found_off_path(make_box: MakeBox, sshd: Server, where: str) -> None:
    box = make_box(sshd, where=where)
    if where == "~/tools/bin":
        box.remote.write(f"/home/{box.user}/.profile", 'PATH="$HOME/tools/bin:$PATH"\n', owner=box.user)
    assert_signed_in(box.login("google"), "google")


def test_a_path_given_as_cli_is_taken(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd, where="~/odd place")
    run = box.login("google", "--cli", f"/home/{box.user}/odd place/kiro-cli")
    assert_signed_in(run, "google")
