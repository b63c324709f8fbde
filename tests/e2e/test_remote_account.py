"""whoami and logout with a TARGET: what the CLI there says, and what ended where."""

from __future__ import annotations

import kirotunnel as library
from e2e.conftest import Box, MakeBox
from e2e.harness import Run, kirotunnel
from kirotunnel.ssh.config import SSHOptions
from lab.servers import Server


def ask(box: Box, command: str, *more: str) -> Run:
    return kirotunnel(command, box.alias, "-F", str(box.config), *more)


def test_whoami_names_the_account_of_the_cli_there(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    assert box.login("google").code == 0
    run = ask(box, "whoami")
    assert (run.code, run.stdout) == (0, "ada@example.com (Google)\n")
    run = ask(box, "whoami", "--json")
    assert run.names == ["connecting", "connected", "remote_cli", "signed_in", "result"]
    assert {event["target"] for event in run.events[:-1]} == {"dev-box"}
    assert run.named("signed_in")[0]["account"]["email"] == "ada@example.com"


def test_whoami_ends_with_1_where_nobody_is_signed_in(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    run = ask(box, "whoami")
    assert (run.code, run.stdout) == (1, "")
    assert "nobody is signed in on dev-box" in run.stderr
    run = ask(box, "whoami", "--json")
    assert (run.code, run.names[-1], run.failure) == (1, "result", None)
    assert run.events[-1]["targets"] == [{"target": "dev-box", "ok": False, "code": None}]


def test_logout_ends_a_session_of_google_at_the_service_as_well(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    box.login("google")
    run = ask(box, "logout", "--json")
    assert (run.code, run.named("signed_out")[0]["revoked"]) == (0, True)
    assert "signed out ada@example.com (Google): deleted there, and revoked at the service on dev-box" in run.stderr
    assert ask(box, "whoami").code == 1


def test_logout_says_that_a_session_of_aws_is_deleted_only(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    box.login("builder-id")
    run = ask(box, "logout", "--json")
    assert (run.code, run.named("signed_out")[0]["revoked"]) == (0, False)
    assert "but not revoked at the service (kiro-cli only deletes such a session)" in run.stderr
    assert ask(box, "whoami").code == 1


def test_logout_says_that_an_old_version_deletes_only(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd, KIRO_STANDIN_VERSION="1.28.0")
    box.login("google")
    run = ask(box, "logout", "--json")
    assert (run.code, run.named("signed_out")[0]["revoked"]) == (0, False)
    assert "from 1.29.7 on" in run.stderr


def test_logout_where_nobody_is_signed_in(make_box: MakeBox, sshd: Server) -> None:
    run = ask(make_box(sshd), "logout", "--json")
    assert (run.code, run.named("signed_out")) == (0, [])
    assert "nobody was signed in on dev-box" in run.stderr


def test_a_cli_that_stays_signed_in_is_an_error(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    box.login("google")
    home = f"/home/{box.user}"
    script = f'#!/bin/sh\n[ "$1" = logout ] || exec {home}/.local/bin/kiro-cli "$@"\n'
    box.remote.write(f"{home}/stubborn", script, mode=0o755, owner=box.user)
    run = ask(box, "logout", "--json", "--cli", f"{home}/stubborn")
    assert (run.code, run.failure) == (6, "KT413")


def test_a_cli_that_is_missing(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    for command in ("whoami", "logout"):
        run = ask(box, command, "--json", "--cli", "no-such-cli")
        assert (run.code, run.failure) == (6, "KT401")


def test_an_option_about_this_machine_and_a_target_exclude_each_other(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    for command in ("whoami", "logout"):
        assert ask(box, command, "--method", "google").code == 2
        assert kirotunnel(command, "-l", "ada").code == 2


async def test_the_library_asks_and_signs_out_there(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    box.login("google")
    ssh = SSHOptions(config_file=str(box.config))
    events: list[str] = []
    account = await library.whoami("dev-box", ssh=ssh, on_event=lambda event: events.append(event.name()))
    assert account is not None
    assert account.email == "ada@example.com"
    assert events == ["connecting", "connected", "remote_cli", "signed_in"]
    result = await library.logout("dev-box", ssh=ssh)
    assert (result.account, result.revoked) == (account, True)
    assert await library.whoami("dev-box", ssh=ssh) is None
