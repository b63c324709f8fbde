"""Servers that give one session, forbid forwarding, or force a command: all of a login goes over that one channel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pexpect
import pytest

from e2e.conftest import MakeBox
from e2e.running_login import running_login
from e2e.test_drops import walk
from e2e.test_login import PEOPLE, assert_only_callbacks_arrived, assert_signed_in
from e2e.test_remote_mode import at_terminal
from e2e.test_steering import held_here
from lab.remote import RemoteMachine

ONE: Final = "MaxSessions 1"
FORCED: Final = 'ForceCommand /bin/sh -c "$SSH_ORIGINAL_COMMAND"'
SERVERS: Final = {
    "one session": ([ONE], "direct-tcpip"),
    "one session, no forwarding": ([ONE, "AllowTcpForwarding no"], "exec"),
    "one session, nothing forwarded": ([ONE, "DisableForwarding yes"], "exec"),
    "one session, other ports only": ([ONE, "PermitOpen 127.0.0.1:9"], "exec"),
    "one session, no terminal": ([ONE, "PermitTTY no", "AllowTcpForwarding no"], "exec"),
    "a forced command that runs ours": ([FORCED], "direct-tcpip"),
    "all of it": ([ONE, FORCED, "DisableForwarding yes", "PermitTTY no"], "exec"),
}


@pytest.mark.parametrize("method", ["google", "builder-id"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_login_needs_one_channel(make_box: MakeBox, remote: RemoteMachine, server: str, method: str) -> None:
    extra, via = SERVERS[server]
    box = make_box(remote.sshd(extra=extra))
    run = box.login(method)
    assert_signed_in(run, method)
    assert_only_callbacks_arrived(box, method)
    assert {event["via"] for event in run.named("tunnel_opened")} <= {via, "direct-tcpip"}


@pytest.mark.parametrize("user", ["fish", "tcsh", "ash", "noisy", "busybox"])
def test_the_login_shell_does_not_matter_to_it(make_box: MakeBox, remote: RemoteMachine, user: str) -> None:
    box = make_box(remote.sshd(extra=[ONE, "DisableForwarding yes"]), user)
    assert_signed_in(box.login("builder-id"), "builder-id")
    assert_only_callbacks_arrived(box, "builder-id")


def test_a_restricted_key(make_box: MakeBox, remote: RemoteMachine) -> None:
    box = make_box(remote.sshd(extra=[ONE]))
    keys = f"/home/{box.user}/.ssh/authorized_keys"
    key = remote.path(keys).read_text().splitlines()[0]
    restricted = f'restrict,command="/bin/sh -c \\"$SSH_ORIGINAL_COMMAND\\"" {key}\n'
    remote.write(keys, restricted, mode=0o600, owner=box.user)
    assert_signed_in(box.login("builder-id"), "builder-id")
    assert_only_callbacks_arrived(box, "builder-id")


@pytest.mark.parametrize("tools", [(), ("base64",), ("tail",), ("python3", "perl")])
def test_whatever_the_target_has_will_do(make_box: MakeBox, remote: RemoteMachine, tools: tuple[str, ...]) -> None:
    box = make_box(remote.sshd(extra=[ONE, "AllowTcpForwarding no"]), "dash")
    remote.hide(*tools)
    run = box.login("google", "--flow", "device", "--method", "google")
    assert_signed_in(run, "google")
    assert run.named("device_code") != []
    box.remote.run("rm -rf ~/.local/share", user=box.user)
    assert_signed_in(box.login("builder-id"), "builder-id")


def test_a_busy_port_is_held_over_the_one_channel_as_well(make_box: MakeBox, remote: RemoteMachine) -> None:
    box = make_box(remote.sshd(extra=[ONE, "DisableForwarding yes"]))
    with held_here(("127.0.0.1", 3128)):
        run = box.login("external-idp")
    assert_signed_in(run, "external-idp")
    assert run.named("port_steered")[0]["method"].startswith("exec:")
    assert 3128 not in {event["port"] for event in run.named("tunnel_opened")}


def test_drops_with_one_channel(make_box: MakeBox, remote: RemoteMachine, tmp_path: Path) -> None:
    server = remote.sshd(extra=[ONE, "DisableForwarding yes"])
    box = make_box(server)
    with held_here(("127.0.0.1", 3128)), running_login(box, tmp_path) as login:
        first = login.next_page()
        server.drop_connections()
        login.wait_for("reconnected")
        walk(first, "external-idp")
        second = login.next_page()
        server.drop_connections()
        login.wait_for("reconnected", count=2)
        walk(second, "external-idp")
        run = login.end()
    assert_signed_in(run, "external-idp")
    assert_only_callbacks_arrived(box, "external-idp")
    assert 3128 not in {event["port"] for event in run.named("tunnel_opened")}
    assert len(run.named("port_steered")) == 1


def test_a_menu_over_the_one_channel(make_box: MakeBox, remote: RemoteMachine) -> None:
    profiles = '[["first", "arn:aws:x:1"], ["second", "arn:aws:x:2"]]'
    box = make_box(remote.sshd(extra=[ONE, "DisableForwarding yes", "PermitTTY no"]), KIRO_STANDIN_PROFILES=profiles)
    person = at_terminal(box, "idc")
    person.expect("second")
    person.send("\x1b[B")
    person.send("\r")
    person.expect(f"signed in as {PEOPLE['idc']}")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 0
    assert "second" in box.remote.run("~/.local/bin/kiro-cli whoami", user=box.user).stdout
