"""The connection drops at each state of a login, by a reset and in silence: it goes on, and nothing comes twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Final

import pexpect
import pytest

from e2e.conftest import Box, MakeBox
from e2e.harness import Run, finish, listening_here, read_event, robot, start, wait_until
from e2e.running_login import RunningLogin, running_login
from e2e.test_login import PEOPLE, assert_only_callbacks_arrived, assert_signed_in
from e2e.test_remote_mode import at_terminal
from kirotunnel.sandbox.robot import sign_in
from lab.remote import RemoteMachine
from lab.requirements import require
from lab.servers import Server
from lab.users import PASSWORD

SERVERS: Final = ("sshd", "dropbear")


def walk(url: str, method: str) -> None:
    report = asyncio.run(sign_in(url, method=method))
    assert report.ok, report


def drop(login: RunningLogin, server: Server, times: int = 1) -> None:
    """End the connection, and wait until it is back."""
    server.drop_connections()
    login.wait_for("reconnected", count=times)


def assert_nothing_doubled(run: Run, legs: int) -> None:
    for name in ("browser_requested", "tunnel_opened", "browser_opened", "callback_received", "tunnel_closed"):
        assert [event["leg"] for event in run.named(name)] == list(range(1, legs + 1)), name
    assert len(run.named("login_started")) == len(run.named("signed_in")) == 1


@pytest.mark.parametrize("server", SERVERS)
def test_a_drop_while_the_browser_is_waited_for(
    request: pytest.FixtureRequest, make_box: MakeBox, tmp_path: Path, server: str
) -> None:
    ssh = request.getfixturevalue(server)
    box = make_box(ssh)
    with running_login(box, tmp_path) as login:
        page = login.next_page()
        drop(login, ssh)
        assert listening_here(3128)
        walk(page, "google")
        run = login.end()
    assert_signed_in(run, "google")
    assert_only_callbacks_arrived(box, "google")
    assert_nothing_doubled(run, 1)
    assert run.named("connection_lost")[0]["reason"]
    assert run.named("reconnected")[0]["attempt"] == 1


def test_drops_before_between_and_after_the_pages_of_one_login(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    box = make_box(sshd, KIRO_STANDIN_FAULT="slow-whoami")
    with running_login(box, tmp_path) as login:
        first = login.next_page()
        drop(login, sshd)
        walk(first, "builder-id")
        drop(login, sshd, 2)
        second = login.next_page()
        drop(login, sshd, 3)
        walk(second, "builder-id")
        login.wait_for("tunnel_closed", count=2)
        assert wait_until(lambda: any("whoami" in line for line in box.remote.processes()))
        drop(login, sshd, 4)  # while the CLI is asked who is signed in
        run = login.end()
    assert_signed_in(run, "builder-id")
    assert_only_callbacks_arrived(box, "builder-id")
    assert_nothing_doubled(run, 2)
    assert len(run.named("connection_lost")) == 4


@pytest.mark.parametrize("user", ["fish", "tcsh", "zsh", "ash", "busybox", "noisy"])
def test_the_login_shell_does_not_matter_to_it(make_box: MakeBox, sshd: Server, tmp_path: Path, user: str) -> None:
    box = make_box(sshd, user)
    with running_login(box, tmp_path) as login:
        first = login.next_page()
        drop(login, sshd)
        walk(first, "builder-id")
        second = login.next_page()
        drop(login, sshd, 2)
        walk(second, "builder-id")
        run = login.end()
    assert_signed_in(run, "builder-id")
    assert_only_callbacks_arrived(box, "builder-id")


def test_a_page_that_is_asked_for_and_a_callback_that_comes_while_there_is_no_connection(
    make_box: MakeBox, sshd: Server, remote: RemoteMachine, tmp_path: Path
) -> None:
    box = make_box(sshd)
    with running_login(box, tmp_path) as login:
        page = login.next_page()
        remote.cut()
        walking = threading.Thread(target=walk, args=(page, "google"))
        walking.start()
        login.wait_for("callback_received")
        login.wait_for("connection_lost")
        assert box.requests() == []
        remote.restore()
        walking.join()
        run = login.end()
    assert_signed_in(run, "google")
    assert_only_callbacks_arrived(box, "google")
    assert_nothing_doubled(run, 1)


def test_a_callback_that_was_sent_when_the_connection_broke_is_not_sent_again(
    make_box: MakeBox, sshd: Server, tmp_path: Path
) -> None:
    box = make_box(sshd)
    with running_login(box, tmp_path) as login:
        page = login.next_page()
        cli = cli_of(box)
        box.remote.run(["kill", "-STOP", cli])  # its listener takes the request, and nobody reads it yet
        walking = threading.Thread(target=lambda: asyncio.run(sign_in(page, method="google")))
        walking.start()
        login.wait_for("callback_received")
        assert wait_until(lambda: waits_to_be_read(box.remote, 3128))
        drop(login, sshd)
        box.remote.run(["kill", "-CONT", cli])
        run = login.end()
        walking.join()
    assert_signed_in(run, "google")
    assert_only_callbacks_arrived(box, "google")
    assert_nothing_doubled(run, 1)


def cli_of(box: Box) -> str:
    """The pid there of the CLI whose login waits."""
    return box.remote.run(["pgrep", "-u", box.user, "-f", "kiro_cli.py login"]).stdout.split()[-1]


def waits_to_be_read(remote: RemoteMachine, port: int) -> bool:
    """Whether a whole request lies in a connection to that port, of which nothing was read yet."""
    rows = remote.run(["ss", "-tnH", "state", "established", f"( sport = :{port} )"]).stdout.splitlines()
    return any(int(row.split()[0]) > 100 for row in rows)


def test_a_silent_drop_is_noticed_without_anybody_wanting_something(
    make_box: MakeBox, sshd: Server, remote: RemoteMachine, tmp_path: Path
) -> None:
    box = make_box(sshd)
    with running_login(box, tmp_path) as login:
        page = login.next_page()
        shells = shells_at_rest(remote)
        remote.cut()
        login.wait_for("connection_lost")
        assert wait_until(lambda: remote.processes().count("/bin/sh") == shells)
        remote.restore()
        login.wait_for("reconnected")
        # The server still believes in the first connection; its shell is gone all the same.
        assert wait_until(lambda: remote.processes().count("/bin/sh") == shells)
        walk(page, "google")
        run = login.end()
    assert_signed_in(run, "google")


def shells_at_rest(remote: RemoteMachine) -> int:
    """How many there are once those are gone that run for a moment only, as on the way to the page."""
    counts = list(range(-20, 0))
    assert wait_until(lambda: counts.append(remote.processes().count("/bin/sh")) or len(set(counts[-20:])) == 1)
    return counts[-1]


@pytest.mark.parametrize("state", ["connected", "remote_cli", "login_started"])
def test_a_drop_before_the_browser_is_wanted(make_box: MakeBox, sshd: Server, state: str) -> None:
    box = make_box(sshd)
    process = start(*box.arguments(*robot("builder-id")))
    seen: list[dict[str, object]] = []
    read_event(process, state, seen)
    sshd.drop_connections()
    run = finish(process)
    run.events[:0] = seen
    assert_signed_in(run, "builder-id")
    assert_only_callbacks_arrived(box, "builder-id")


def choose_and_be_signed_in(person: pexpect.spawn) -> None:
    person.send("\r")
    person.expect(f"signed in as {PEOPLE['idc']}")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 0


def test_a_drop_while_a_menu_is_open(make_box: MakeBox, sshd: Server) -> None:
    profiles = '[["first", "arn:aws:x:1"], ["second", "arn:aws:x:2"], ["third", "arn:aws:x:3"]]'
    box = make_box(sshd, KIRO_STANDIN_PROFILES=profiles)
    person = at_terminal(box, "idc")
    person.expect("Select an IAM Identity Center profile")
    person.expect("third")
    sshd.drop_connections()
    person.send("\x1b[B")  # typed before the connection is back
    person.expect("is back")
    sshd.drop_connections()
    person.expect("is back")
    choose_and_be_signed_in(person)
    assert "second" in box.remote.run("~/.local/bin/kiro-cli whoami", user=box.user).stdout


def test_a_proxy_command_that_asks_is_answered_anew_after_a_drop(
    make_box: MakeBox, sshd: Server, remote: RemoteMachine
) -> None:
    box = make_box(sshd, KIRO_STANDIN_PROFILES='[["first", "arn:aws:x:1"], ["second", "arn:aws:x:2"]]')
    bastion = remote.sshd(extra=["PasswordAuthentication yes", "PubkeyAuthentication no"])
    way = sshd.entry(box.alias, box.user, ProxyCommand=f"ssh -F {box.config} -W %h:%p bastion")
    remote.ssh_config(box.config, bastion.entry("bastion", "dash"), way)
    person = at_terminal(box, "idc")
    person.expect("'s password: ")
    person.sendline(PASSWORD)
    person.expect("Select an IAM Identity Center profile")
    person.expect("second")
    bastion.drop_connections()
    person.expect("'s password: ")
    person.sendline(PASSWORD)
    person.expect("is back")
    choose_and_be_signed_in(person)


@pytest.mark.parametrize("way", ["ProxyJump", "ProxyCommand"])
def test_the_whole_way_is_made_anew(make_box: MakeBox, sshd: Server, tmp_path: Path, way: str) -> None:
    box = make_box(sshd)
    value = "hop" if way == "ProxyJump" else f"ssh -F {box.config} -W %h:%p hop"
    entries = (sshd.entry("hop", "dash"), sshd.entry(box.alias, box.user, **{way: value}))
    box.remote.ssh_config(box.config, *entries)
    with running_login(box, tmp_path) as login:
        page = login.next_page()
        drop(login, sshd)
        walk(page, "google")
        run = login.end()
    assert_signed_in(run, "google")
    assert_only_callbacks_arrived(box, "google")


def test_output_is_neither_lost_nor_doubled(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    box = make_box(sshd)
    with running_login(box, tmp_path, "--flow", "device", "--method", "google") as login:
        code = login.wait_for("device_code")
        drop(login, sshd)
        walk(login.next_page(), "google")
        run = login.end()
    assert_signed_in(run, "google")
    assert run.named("device_code") == [code]


def test_a_server_that_does_not_come_back_in_time(make_box: MakeBox, remote: RemoteMachine, tmp_path: Path) -> None:
    server = remote.sshd()
    box = make_box(server)
    with running_login(box, tmp_path, "--timeout", "10") as login:
        login.next_page()
        server.stop()
        run = login.end()
    assert (run.code, run.failure) == (5, "KT305")
    message = run.named("failed")[0]["message"]
    assert "did not come back before the time of the sign-in was over" in message
    assert "had not come back from sign-in page 1 yet" in message
    assert "cannot be told that this sign-in is over" in run.stderr
    assert wait_until(lambda: remote.leftovers() == [], 60), remote.leftovers()


def test_another_host_key_ends_it(make_box: MakeBox, remote: RemoteMachine, tmp_path: Path) -> None:
    server = remote.sshd(port=2201)
    box = make_box(server)
    known = tmp_path / "known_hosts"  # the server's own file is written anew with its next key
    known.write_text(server.known_hosts_file.read_text())
    box.config.write_text(f"UserKnownHostsFile {known}\n{box.config.read_text()}")
    with running_login(box, tmp_path, "--timeout", "20") as login:
        login.next_page()
        server.stop()
        remote.sshd(port=2201)
        run = login.end()
    assert (run.code, run.failure) == (5, "KT305")
    assert "has changed" in run.named("failed")[0]["message"]
    assert wait_until(lambda: remote.leftovers() == [], 60), remote.leftovers()


def test_another_host_key_ends_it_even_where_none_is_kept(
    make_box: MakeBox, remote: RemoteMachine, tmp_path: Path
) -> None:
    server = remote.sshd(port=2201)
    box = make_box(server)
    box.config.write_text(f"StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n{box.config.read_text()}")
    with running_login(box, tmp_path, "--timeout", "20") as login:
        login.next_page()
        server.stop()
        remote.sshd(port=2201)
        run = login.end()
    assert (run.code, run.failure) == (5, "KT305")
    assert "another host key than before" in run.named("failed")[0]["message"]
    assert wait_until(lambda: remote.leftovers() == [], 60), remote.leftovers()


def test_keys_that_are_refused_by_then_end_it(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    box = make_box(sshd)
    with running_login(box, tmp_path, "--timeout", "10") as login:
        login.next_page()
        box.remote.write(f"/home/{box.user}/.ssh/authorized_keys", "", mode=0o600, owner=box.user)
        sshd.drop_connections()
        run = login.end()
    assert (run.code, run.failure) == (5, "KT305")
    assert "accepted none of the keys" in run.named("failed")[0]["message"]
    assert wait_until(lambda: box.remote.leftovers() == [], 60), box.remote.leftovers()


def test_a_machine_that_was_restarted_meanwhile(make_box: MakeBox, remote: RemoteMachine, tmp_path: Path) -> None:
    server = remote.sshd(port=2202)
    box = make_box(server)
    with running_login(box, tmp_path) as login:
        login.next_page()
        server.stop()
        # All that ran is gone at once; what was written is still there.
        for pid in list(remote.namespace.pids()):
            with_ending(pid)
        assert remote.files("/tmp/kirotunnel.*") != []
        server.restart(remote)
        run = login.end()
    assert (run.code, run.failure) == (5, "KT305")
    assert "was gone from there" in run.named("failed")[0]["message"]


def with_ending(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_a_holder_that_somebody_kills_takes_the_cli_along(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    box = make_box(sshd)
    with running_login(box, tmp_path) as login:
        login.next_page()
        holder = box.remote.run("cat /tmp/kirotunnel.*/holder.pid").stdout.split()[0]
        box.remote.run(["kill", "-KILL", holder])
        run = login.end()
    assert (run.code, run.failure) == (6, "KT404")
    assert "was ended there" in run.named("failed")[0]["message"]


def test_a_control_shell_that_somebody_kills_is_started_anew(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    box = make_box(sshd)
    with running_login(box, tmp_path) as login:
        page = login.next_page()
        box.remote.run(["pkill", "-KILL", "-o", "-x", "-u", box.user, "sh"])
        login.wait_for("reconnected")
        walk(page, "google")
        run = login.end()
    assert_signed_in(run, "google")
    assert_only_callbacks_arrived(box, "google")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_after_a_drop_leaves_nothing(
    make_box: MakeBox, sshd: Server, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = start(*make_box(sshd).arguments("--no-browser"))
    read_event(process, "browser_opened")
    sshd.drop_connections()
    read_event(process, "reconnected")
    process.send_signal(number)
    assert finish(process).code == code
    assert not listening_here(3128)


def test_ctrl_c_while_there_is_no_connection(make_box: MakeBox, remote: RemoteMachine) -> None:
    server = remote.sshd()
    process = start(*make_box(server).arguments("--no-browser", "--timeout", "8"))
    read_event(process, "browser_opened")
    server.stop()
    read_event(process, "connection_lost")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert finish(process, 20).code == 130
    assert time.monotonic() - began < 10
    assert not listening_here(3128)
    assert wait_until(lambda: remote.leftovers() == [], 60), remote.leftovers()


HIDDEN: Final = {
    "script": (),
    "python3": ("script",),
    "perl": ("script", "python3"),
    "tmux": ("script", "python3", "perl"),
    "screen": ("script", "python3", "perl", "tmux"),
}


@pytest.mark.parametrize("way", HIDDEN)
def test_each_way_to_a_terminal_survives_drops(make_box: MakeBox, sshd: Server, way: str) -> None:
    require(way)
    profiles = '[["first", "arn:aws:x:1"], ["second", "arn:aws:x:2"]]'
    box = make_box(sshd, KIRO_STANDIN_PROFILES=profiles)
    box.remote.hide(*HIDDEN[way])
    person = at_terminal(box, "idc")
    person.expect("second")
    sshd.drop_connections()
    person.expect("is back")
    person.setwinsize(20, 77)
    tty = "stty size <$(cat /tmp/kirotunnel.*/tty)"
    assert wait_until(lambda: box.remote.run(tty, user=box.user).stdout == "20 77\n")
    person.send("\x1b[B")
    sshd.drop_connections()
    person.expect("is back")
    choose_and_be_signed_in(person)
    assert "second" in box.remote.run("~/.local/bin/kiro-cli whoami", user=box.user).stdout


def test_without_any_way_to_a_terminal_of_its_own_it_is_said_and_a_drop_ends_it(
    make_box: MakeBox, sshd: Server
) -> None:
    box = make_box(sshd, KIRO_STANDIN_PROFILES='[["first", "arn:aws:x:1"], ["second", "arn:aws:x:2"]]')
    box.remote.hide("script", "python3", "perl", "tmux", "screen")
    person = at_terminal(box, "idc")
    person.expect("nothing to keep a terminal without a connection")
    person.expect("second")
    sshd.drop_connections()
    person.expect("KT305")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 5
