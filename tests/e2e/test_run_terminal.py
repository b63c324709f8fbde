"""`kirotunnel run` at a terminal, by somebody who types: all goes through as under `ssh -t`, but what must not."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from e2e.harness import wait_until
from e2e.running_command import IDP, Desk
from e2e.test_run import LISTEN
from kirotunnel.wire.passing import PLAIN_AGAIN

Start = Callable[..., pexpect.spawn]


@pytest.fixture
def at_a_terminal(desk: Desk, tmp_path: Path) -> Iterator[Start]:
    started: list[pexpect.spawn] = []

    def start(*words: str, options: tuple[str, ...] = (), size: tuple[int, int] = (30, 100)) -> pexpect.spawn:
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "TERM": "xterm"}
        child = pexpect.spawn(
            sys.executable, ["-m", "kirotunnel", *desk.arguments(*words, options=options)],
            dimensions=size, timeout=30, encoding="utf-8", env=environment,
        )  # fmt: skip
        started.append(child)
        return child

    yield start
    for child in started:
        child.close(force=True)


def ended(child: pexpect.spawn) -> int | None:
    child.expect(pexpect.EOF)
    child.close()
    code: int | None = child.exitstatus
    return code


def test_the_command_has_a_terminal_of_the_same_size_and_hears_of_changes(at_a_terminal: Start) -> None:
    # Without a trap of its own, bash takes no notice of a Ctrl-C in whose moment its `sleep` ends by itself.
    child = at_a_terminal(
        "trap 'stty size' WINCH; trap 'exit 130' INT; stty size; echo ready; while :; do sleep 0.1; done"
    )
    child.expect_exact("30 100")
    child.expect_exact("ready")
    child.setwinsize(20, 70)
    child.expect_exact("20 70")
    child.send("\x03")
    assert ended(child) == 130


def test_keys_go_through_one_by_one_and_ctrl_c_is_a_key(at_a_terminal: Start) -> None:
    child = at_a_terminal("sh", "-c", "stty raw -echo; echo ready; dd bs=1 count=4 2>/dev/null | od -An -tx1; exit 5")
    child.expect_exact("ready")
    child.send("\x03a\r\x1a")
    child.expect_exact("03 61 0d 1a")
    assert ended(child) == 5


def test_a_whole_shell_can_be_used(at_a_terminal: Start) -> None:
    child = at_a_terminal("bash", "--norc")
    child.sendline("echo $((6*7)); tty >/dev/null && echo a-terminal")
    child.expect_exact("42")
    child.expect_exact("a-terminal")
    child.sendline("exit 9")
    assert ended(child) == 9


def test_tilde_and_dot_end_a_command_that_takes_every_key(at_a_terminal: Start) -> None:
    child = at_a_terminal("sh", "-c", "trap '' INT TERM HUP; stty raw; echo ready; sleep 1000; sleep 1000")
    child.expect_exact("ready")
    child.send("\r~.")
    assert ended(child) == 255


def test_what_acts_outside_the_screen_does_not_pass(at_a_terminal: Start) -> None:
    child = at_a_terminal(
        "printf '<\\033]52;c;ZXZpbA==\\007\\033]0;title\\007\\033Pq\\033\\\\\\033[21t\\033[1mbold\\033[0m>'"
    )
    child.expect_exact("<\x1b[1mbold\x1b[0m>")
    assert ended(child) == 0


def test_somebody_is_asked_once_about_a_host_that_is_not_known(desk: Desk, at_a_terminal: Start) -> None:
    desk.program(
        "opens",
        LISTEN
        + """
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
subprocess.run(["xdg-open", authorize(server.server_port)], check=True)
server.handle_request()
""",
    )
    child = at_a_terminal("opens")
    child.expect_exact(f"opens on dev-box wants to open a page on {IDP},")
    child.expect_exact("Open it? [y/N] ")
    child.sendline("y")
    child.expect_exact("GOT /callback?code=the-code&state=s-1")
    assert ended(child) == 0
    again = at_a_terminal("opens")
    again.expect_exact("GOT /callback?code=the-code&state=s-1")
    assert "wants to open" not in (again.before or "")
    assert ended(again) == 0


def test_what_is_asked_cannot_be_hidden(desk: Desk, at_a_terminal: Start) -> None:
    """By concealed text, or in a region of one line, of which all but the last line scrolls away."""
    desk.program(
        "hides",
        LISTEN
        + """
print("\\033[24;24r\\033[24;1H\\033[8mContinue?", end="", flush=True)
time.sleep(1)
subprocess.run(["xdg-open", authorize(4711)], check=True)
""",
    )
    child = at_a_terminal("hides")
    child.expect_exact("\x1b[8mContinue?")
    child.expect_exact(f"{PLAIN_AGAIN}\r\nhides on dev-box wants to open a page on {IDP},")
    child.sendline("n")
    assert ended(child) == 0


def test_a_no_leaves_the_command_to_itself(desk: Desk, at_a_terminal: Start) -> None:
    desk.program(
        "opens",
        LISTEN
        + """
subprocess.run(["xdg-open", authorize(4711)], check=True)
print("opened, as far as I know", flush=True)
sys.exit(input("and now? ") != "go on")
""",
    )
    child = at_a_terminal("opens")
    child.expect_exact("Open it? [y/N] ")
    child.sendline("n")
    child.expect_exact(f"the page on {IDP} was not opened")
    child.sendline("go on")
    assert ended(child) == 0
    assert desk.visits() == []


def test_what_is_refused_is_said_and_the_command_goes_on(desk: Desk, at_a_terminal: Start) -> None:
    child = at_a_terminal("sh", "-c", "xdg-open file:///etc/passwd; read go; echo still here; exit 3")
    child.expect_exact("(KT607)")
    child.sendline("")
    child.expect_exact("still here")
    assert ended(child) == 3


def test_the_terminal_is_as_it_was_afterwards(at_a_terminal: Start) -> None:
    child = at_a_terminal("sh", "-c", "stty raw -echo; echo ready; kill -9 $$")
    child.expect_exact("ready")
    child.expect(pexpect.EOF)
    assert child.getecho()
    child.close()
    assert child.exitstatus == 137


# --- without a terminal ----------------------------------------------------------------------------------------------


def test_without_a_terminal_sigint_goes_to_the_command_and_a_second_one_ends_us(desk: Desk) -> None:
    process = desk.start("sh", "-c", "trap 'echo caught' INT; echo ready; while :; do sleep 0.1; done")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "caught\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert wait_until(lambda: not [line for line in desk.remote.processes() if "caught" in line])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_when_we_are_ended_so_is_the_command(desk: Desk, number: signal.Signals) -> None:
    process = desk.start("sh", "-c", "trap '' HUP; echo ready; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert wait_until(lambda: not [line for line in desk.remote.processes() if "sleep 1000" in line])


def test_where_nobody_can_be_asked_an_unknown_host_ends_it(desk: Desk) -> None:
    desk.program("opens", LISTEN + "subprocess.run(['xdg-open', authorize(4711)]); time.sleep(1000)")
    run = desk.run("opens", options=())
    assert run.code == 8
    assert "error[KT609]" in run.stderr
    assert desk.visits() == []


def test_the_reader_of_its_output_may_go_away(desk: Desk) -> None:
    with desk.start("yes") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "y\n"
        process.stdout.close()
        assert process.wait(timeout=20) == 141


def test_a_terminal_can_be_asked_for_and_done_without(desk: Desk) -> None:
    assert desk.run("sh", "-c", "tty; exit 0", options=("-t",)).stdout.startswith("/dev/pts/")
    assert "not a tty" in desk.run("tty", options=("-T",)).stdout


def test_a_time_limit_ends_the_command(desk: Desk) -> None:
    began = time.monotonic()
    run = desk.run("sleep", "1000", options=("--timeout", "3"))
    assert run.code == 9
    assert "error[KT701]" in run.stderr
    assert time.monotonic() - began < 30
