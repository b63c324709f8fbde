"""A login that waits already in another terminal: found, tunnelled, ended when its callback has arrived."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pexpect
import pytest

from e2e.conftest import Box, MakeBox
from e2e.harness import ROBOT, Run, finish, kirotunnel, listening_here, read_event, start
from lab.remote import RemoteMachine
from lab.servers import Server

OLD = {"KIRO_STANDIN_VERSION": "2.0.0"}


class Terminal:
    """The other terminal: kiro-cli over plain ssh, as the documentation describes."""

    def __init__(self, box: Box) -> None:
        self.box = box
        command = "exec ~/.local/bin/kiro-cli login"
        arguments = ["-tt", "-F", str(box.config), box.alias, command]
        self.child = pexpect.spawn("ssh", arguments, encoding="utf-8", timeout=30, dimensions=(30, 200))
        self.child.expect("Select login method")
        self.child.expect("Pro license")
        self.child.send("j\r")
        self.child.expect(r"[Pp]ort\D+(\d{4,5})")
        match = self.child.match
        assert isinstance(match, re.Match)
        self.port = int(match[1])
        self.child.expect("[Pp]ress [Ee]nter")

    def press_enter(self) -> str:
        """The address that it shows then."""
        self.child.send("\r")
        self.child.expect(r"(http://\S+redirect_from=\S+)\s")  # to its end: it may come in two pieces
        match = self.child.match
        assert isinstance(match, re.Match)
        return str(match[1])

    def end(self) -> None:
        self.child.close(force=True)


@pytest.fixture
def open_terminal() -> Iterator[Callable[[Box], Terminal]]:
    opened: list[Terminal] = []

    def open_one(box: Box) -> Terminal:
        opened.append(Terminal(box))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.end()


def attach_arguments(box: Box, *more: str) -> list[str]:
    return ["attach", box.alias, "-F", str(box.config), "--json", *box.services.trust, *more]


def visit(url: str) -> None:
    """Sign in on the page, as the person's browser."""
    subprocess.run([sys.executable, str(ROBOT), "google", "allow", url], check=True, timeout=30)


@pytest.mark.parametrize("hidden", [(), ("ss",), ("ss", "lsof")], ids=["ss", "proc", "proc without lsof"])
def test_the_waiting_login_is_found_and_its_callback_delivered(
    make_box: MakeBox, sshd: Server, open_terminal: Callable[[Box], Terminal], hidden: tuple[str, ...]
) -> None:
    box = make_box(sshd, **OLD)
    if hidden:
        box.remote.hide(*hidden)
    terminal = open_terminal(box)
    process = start(*attach_arguments(box))
    opened = read_event(process, "tunnel_opened")
    assert opened["port"] == terminal.port
    visit(terminal.press_enter())
    run = finish(process)
    assert (run.code, run.names[-1]) == (0, "result"), run.stderr
    terminal.child.expect("Signed in with Google")
    assert len([event for event in box.log() if event["event"] == "accepted"]) == 1
    assert not listening_here(terminal.port)


def test_a_server_that_forwards_nothing_and_gives_one_session(
    make_box: MakeBox, remote: RemoteMachine, open_terminal: Callable[[Box], Terminal]
) -> None:
    box = make_box(remote.sshd(extra=["MaxSessions 1", "DisableForwarding yes"]), **OLD)
    terminal = open_terminal(box)
    process = start(*attach_arguments(box))
    assert read_event(process, "tunnel_opened")["via"] == "exec"
    visit(terminal.press_enter())
    assert finish(process).code == 0
    terminal.child.expect("Signed in with Google")


def test_a_port_can_be_named(make_box: MakeBox, sshd: Server, open_terminal: Callable[[Box], Terminal]) -> None:
    box = make_box(sshd, **OLD)
    terminal = open_terminal(box)
    process = start(*attach_arguments(box, "--port", str(terminal.port)))
    read_event(process, "tunnel_opened")
    visit(terminal.press_enter())
    assert finish(process).code == 0


def test_nothing_waiting_is_an_error_that_says_so(make_box: MakeBox, sshd: Server) -> None:
    run = kirotunnel(*attach_arguments(make_box(sshd)))
    assert (run.code, run.failure) == (6, "KT408")


def test_a_port_on_which_nothing_listens_is_refused(make_box: MakeBox, sshd: Server) -> None:
    run = kirotunnel(*attach_arguments(make_box(sshd), "--port", "4649"))
    assert (run.code, run.failure) == (6, "KT409")


def test_several_waiting_logins_are_listed_without_a_terminal_and_asked_about_on_one(
    make_box: MakeBox, sshd: Server, open_terminal: Callable[[Box], Terminal]
) -> None:
    box = make_box(sshd, **OLD)
    first, second = open_terminal(box), open_terminal(box)
    assert first.port != second.port
    run = kirotunnel(*attach_arguments(box))
    assert (run.code, run.failure) == (6, "KT412")
    message = run.named("failed")[0]["message"]
    assert str(first.port) in message
    assert str(second.port) in message
    arguments = [argument for argument in attach_arguments(box) if argument != "--json"]
    person = pexpect.spawn(sys.executable, ["-m", "kirotunnel", *arguments], encoding="utf-8", timeout=30)
    person.expect("Which port")
    person.sendline(str(second.port))
    person.expect("Waiting on")
    visit(second.press_enter())
    person.expect("was delivered")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 0


def test_a_stray_request_without_a_response_does_not_reach_the_waiting_login(
    make_box: MakeBox, sshd: Server, open_terminal: Callable[[Box], Terminal]
) -> None:
    box = make_box(sshd, **OLD)
    terminal = open_terminal(box)
    process = start(*attach_arguments(box))
    read_event(process, "tunnel_opened")
    url = terminal.press_enter()
    for path in ("/", "/favicon.ico", "/oauth/callback", "/oauth/callback?state=x"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{terminal.port}{path}", timeout=30)
        refused.value.close()
    visit(url)
    run: Run = finish(process)
    assert run.code == 0, run.stderr
    assert len([event for event in box.log() if event["event"] == "accepted"]) == 1
