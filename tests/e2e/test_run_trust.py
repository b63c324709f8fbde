"""`kirotunnel run` and a remote that is not what it seems: what it may open, and on which ports."""

from __future__ import annotations

import os
import shlex
import socket
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pexpect
import pytest

from e2e.creatures import PROVIDER, Leg, Zoo, at_terminal, running
from e2e.harness import free_port, listening_here
from lab.remote import RemoteMachine
from lab.servers import Server


@pytest.fixture
def zoo(remote: RemoteMachine, sshd: Server, tmp_path: Path) -> Zoo:
    return Zoo.on(remote, sshd, tmp_path / "ssh_config")


def test_a_host_is_asked_about_once_and_remembered(zoo: Zoo, tmp_path: Path) -> None:
    for time_ in ("first", "second"):
        (tmp_path / time_).mkdir()
        with at_terminal(zoo, tmp_path / time_, zoo.command("two_logins"), trust=()) as run:
            if time_ == "first":
                run.child.expect_exact(PROVIDER)
                run.child.expect(r"Open it\?")
                assert not run.openings.waiting()
                run.child.sendline("y")
            for _ in range(2):
                reply = Leg.of(run.next_page()).callback()
                assert reply is not None
                assert reply.status == 200
            assert run.end() == 0, run.shown
        assert run.shown.count("Open it?") == (1 if time_ == "first" else 0)


@pytest.mark.parametrize("case", ["another target", "a line for the shell"])
def test_a_yes_is_for_that_target_and_for_a_command_with_a_name(zoo: Zoo, tmp_path: Path, case: str) -> None:
    words = zoo.command("one_shot")
    line = [f"({shlex.join(words)})"]
    for where, command in (
        [(zoo, words), (replace(zoo, alias=f"bash@{zoo.alias}"), words)]
        if case == "another target"
        else [(zoo, line), (zoo, line)]
    ):
        directory = Path(tempfile.mkdtemp(dir=tmp_path))
        with at_terminal(where, directory, command, trust=()) as run:
            run.child.expect(r"Open it\?")
            run.child.sendline("y")
            reply = Leg.of(run.next_page()).callback()
            assert reply is not None
            assert run.end() == 0, run.shown


def test_a_host_that_was_refused_is_not_opened_and_the_command_goes_on(zoo: Zoo, tmp_path: Path) -> None:
    with at_terminal(zoo, tmp_path, zoo.command("demands", f"https://{PROVIDER}/"), trust=()) as run:
        run.child.expect(r"Open it\?")
        run.child.sendline("n")
        run.child.expect_exact("was not opened")
        run.child.sendline("")
        run.child.expect_exact("that was all")
        assert run.end() == 0, run.shown
        assert not run.openings.waiting()


def test_without_a_terminal_an_unknown_host_ends_it(zoo: Zoo, tmp_path: Path) -> None:
    with running(zoo, tmp_path, zoo.command("one_shot"), trust=()) as run:
        assert run.end() == 8, run.stderr
        assert not run.opened_more()
    assert PROVIDER in run.stderr
    assert "--trust-url-host" in run.stderr
    assert zoo.saw_no_stranger([])


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "-version",
        "http://192.168.1.1/admin",
        "http://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/",
        f"https://{PROVIDER}@evil.example/",
        f"https://{PROVIDER}/\x07\x1b]0;x",
        f"http://{PROVIDER}.evil.example/",
        "http://localhost:22/",
        "https://127.0.0.1:8443/",
        f"https://{PROVIDER}/authorize?redirect_uri=http://127.0.0.1:22/&state=1",
        f"https://{PROVIDER}/authorize?redirect_uri=http://127.0.0.1:9999/&redirect_uri=http://127.0.0.1:9998/&state=1",
    ],
)
def test_what_no_login_opens_is_not_opened(zoo: Zoo, tmp_path: Path, url: str) -> None:
    with running(zoo, tmp_path, zoo.command("demands", url)) as run:
        code = run.end()
        assert not run.opened_more()
    assert code in {5, 6, 7, 8}, run.stderr
    assert "error[KT" in run.stderr
    assert "hint:" in run.stderr


def test_a_service_of_this_machine_is_never_what_a_page_of_the_remotes_own_leads_to(zoo: Zoo, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        port = service.getsockname()[1]
        with running(zoo, tmp_path, zoo.command("demands", f"http://127.0.0.1:{port}/auth?state=1", str(port))) as run:
            assert run.end() == 7, run.stderr
            assert not run.opened_more()
        assert f"{port}" in run.stderr
        service.settimeout(0)
        with pytest.raises(BlockingIOError):
            service.accept()


def test_a_page_of_its_own_on_which_nothing_listens_there_is_not_opened(zoo: Zoo, tmp_path: Path) -> None:
    port = free_port()
    with running(zoo, tmp_path, zoo.command("demands", f"http://127.0.0.1:{port}/auth?state=1")) as run:
        run.end()
        assert not run.opened_more()
        assert not listening_here(port)


def test_a_callback_port_that_is_taken_here_is_named(zoo: Zoo, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        port = service.getsockname()[1]
        with running(zoo, tmp_path, zoo.command("binds", "127.0.0.1", str(port))) as run:
            assert run.end() == 7, run.stderr
            assert not run.opened_more()
    assert "KT501" in run.stderr
    assert str(port) in run.stderr
    assert zoo.saw_no_stranger([])


def test_on_a_terminal_a_port_that_is_taken_here_is_said_and_the_command_goes_on(zoo: Zoo, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        port = service.getsockname()[1]
        with at_terminal(zoo, tmp_path, zoo.command("binds", "127.0.0.1", str(port))) as run:
            run.child.expect_exact("KT501")
            run.child.expect_exact(f"`kill {os.getpid()}`")
            time.sleep(0.5)  # in which it would end
            assert run.child.isalive()
            assert not run.openings.waiting()
            run.child.sendintr()
            run.child.expect(pexpect.EOF)
    assert zoo.saw_no_stranger([])


def test_escapes_of_the_remote_do_not_get_into_our_own_words(zoo: Zoo, tmp_path: Path) -> None:
    with at_terminal(zoo, tmp_path, zoo.command("demands", "https://evil.example/\x1b]0;owned\x07"), trust=()) as run:
        run.child.expect_exact("(KT6")
        run.child.sendline("")
        assert run.end() == 0, run.shown
        assert not run.openings.waiting()
    assert "\x1b]0;owned" not in run.shown
