"""Each habit of callback logins, met by `kirotunnel run`: signed in, and only what belongs there has reached it."""

from __future__ import annotations

import re
import shlex
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from e2e.creatures import (
    Leg,
    Zoo,
    assert_free,
    at_terminal,
    running,
    strays_around,
    visit,
)
from e2e.harness import listening_here, wait_until
from lab.remote import RemoteMachine
from lab.servers import Server

SIGNED_IN: Final = "signed in as ada@zoo.example"


@pytest.fixture
def zoo(remote: RemoteMachine, sshd: Server, tmp_path: Path) -> Zoo:
    return Zoo.on(remote, sshd, tmp_path / "ssh_config")


def back(leg: Leg) -> None:
    reply = leg.callback()
    assert reply is not None
    assert (reply.status, reply.title) == (200, "You can close this window")


def post_back(leg: Leg) -> None:
    reply = leg.posted()
    assert reply is not None
    assert (reply.status, reply.title) == (200, "You can close this window")


def by_fragment(leg: Leg) -> None:
    """As a browser: the page without the fragment, whose script then sends it. Our pages have no origin."""
    page = visit(leg.port, leg.path)
    assert page is not None
    assert "location.hash" in page.body
    token = f"/token?access_token=token-of-{leg.state}&state={leg.state}"
    said = visit(leg.port, token, "Origin: null", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty")
    assert said is not None
    assert said.body == "You can close this window"


# What is run, how the browser comes back, and what reaches it by that.
OPENED: Final[dict[str, tuple[list[str], Callable[[Leg], None], list[str]]]] = {
    "one-shot": (["one_shot"], back, ["GET /oauth/callback"]),
    "dies of a GET": (["dies_of_a_get"], back, ["GET /"]),
    "dies of a bare connect": (["dies_of_a_connect"], back, ["GET /"]),
    "binds 127.0.0.1": (["binds", "127.0.0.1"], back, ["GET /callback"]),
    "binds ::1 only": (["binds", "::1"], back, ["GET /callback"]),
    "binds 0.0.0.0": (["binds", "0.0.0.0"], back, ["GET /callback"]),
    "binds ::": (["binds", "::"], back, ["GET /callback"]),
    "form_post": (["posted"], post_back, ["POST /"]),
    "fragment": (["fragment", "query"], by_fragment, ["GET /", "GET /token"]),
    "answers slowly": (["slow", "3"], back, ["GET /callback"]),
    "tries ports before": (["probes_first"], back, ["GET /callback"]),
    "hides its redirect": (["hides_redirect"], back, ["GET /callback"]),
    "xdg-open": (["opens", "xdg-open"], back, ["GET /callback"]),
    "www-browser": (["opens", "www-browser"], back, ["GET /callback"]),
    "x-www-browser": (["opens", "x-www-browser"], back, ["GET /callback"]),
    "sensible-browser": (["opens", "sensible-browser"], back, ["GET /callback"]),
    "open": (["opens", "open"], back, ["GET /callback"]),
    # As the copies that npm's `open` brings along: not that of PATH, and a desktop browser is installed there.
    "a copy of xdg-open": (["opens", "/usr/bin/xdg-open"], back, ["GET /callback"]),
    "$BROWSER": (["opens", "$BROWSER"], back, ["GET /callback"]),
    "Python's webbrowser": (["opens", "webbrowser"], back, ["GET /callback"]),
    "refuses on a remote machine": (["refuses_remote"], back, ["GET /callback"]),
    "wants a screen": (["opens", "any"], back, ["GET /callback"]),
}
PRINTED: Final = {
    "printed only": ["prints"],
    "block-buffered": ["buffers"],
    "wrapped at 80 columns": ["wraps"],
    "OSC 8": ["links"],
}


@pytest.mark.parametrize("habit", OPENED)
def test_a_login_that_opens_its_page_is_signed_in_and_strays_never_reach_it(
    zoo: Zoo, tmp_path: Path, habit: str
) -> None:
    creature, come_back, reached = OPENED[habit]
    with running(zoo, tmp_path, zoo.command(*creature)) as run:
        leg = Leg.of(run.next_page())
        with strays_around(leg, state_known=habit != "fragment"):
            assert zoo.requests() == []
            come_back(leg)
        assert (run.end(), run.stdout.strip().splitlines()[-1]) == (0, SIGNED_IN), run.stderr
    assert zoo.saw_no_stranger(reached)
    assert [opened["code"] for opened in zoo.log("opened")] == [0]
    assert_free(zoo.ports())


@pytest.mark.parametrize("habit", PRINTED)
def test_on_a_terminal_a_printed_address_is_opened(zoo: Zoo, tmp_path: Path, habit: str) -> None:
    with at_terminal(zoo, tmp_path, zoo.command(*PRINTED[habit])) as run:
        leg = Leg.of(run.next_page())
        assert len(leg.state) == 24
        with strays_around(leg):
            back(leg)
        assert (run.end(), SIGNED_IN in run.shown) == (0, True), run.shown
    assert zoo.saw_no_stranger(["GET /callback"])
    assert_free(zoo.ports())


@pytest.mark.parametrize("habit", ["printed only", "OSC 8"])
def test_without_a_terminal_a_printed_address_is_opened(zoo: Zoo, tmp_path: Path, habit: str) -> None:
    with running(zoo, tmp_path, zoo.command(*PRINTED[habit])) as run:
        leg = Leg.of(run.next_page())
        back(leg)
        assert run.end() == 0, run.stderr
    assert SIGNED_IN in run.stdout
    assert zoo.saw_no_stranger(["GET /callback"])


STYLES: Final = (
    "at the end of a sentence", "in brackets", "in angle brackets", "in quotes", "as JSON", "in colours",
    "as JSON with its slashes escaped", "as JSON with its ampersands escaped",
    "without a line end", "by and by", "after a spinner", "on the error stream",
    "in a box", "twice", "and opened", "opened and then printed", "opened twice, by two openers",
)  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
def test_however_a_page_is_asked_for_it_is_opened_once_and_whole(zoo: Zoo, tmp_path: Path, style: str) -> None:
    with running(zoo, tmp_path, zoo.command("says", style)) as run:
        leg = Leg.of(run.next_page())
        assert len(leg.state) == 24
        time.sleep(1)  # in which a second page would come
        back(leg)
        assert run.end() == 0, run.stderr
        assert not run.opened_more()
    assert zoo.saw_no_stranger(["GET /callback"])


def test_a_listener_without_a_word_is_found_and_the_callback_delivered(zoo: Zoo, tmp_path: Path) -> None:
    with running(zoo, tmp_path, zoo.command("listens")) as run:
        leg = Leg.of(zoo.url_in_file())
        assert wait_until(lambda: listening_here(leg.port), 20)
        with strays_around(leg, state_known=False):
            assert zoo.requests() == []
            back(leg)
        assert run.end() == 0, run.stderr
    assert zoo.saw_no_stranger(["GET /callback"])
    assert_free(zoo.ports())


def test_short_lived_listeners_before_the_real_one_are_never_served(zoo: Zoo, tmp_path: Path) -> None:
    with running(zoo, tmp_path, zoo.command("probes_first")) as run:
        leg = Leg.of(run.next_page())
        probes = {entry["port"] for entry in zoo.log("listening") if entry["listener"] == "probe"} - {leg.port}
        assert [port for port in probes if listening_here(port)] == []
        back(leg)
        assert run.end() == 0, run.stderr
    assert zoo.saw_no_stranger(["GET /callback"])


def test_a_page_of_its_own_listener_leads_to_the_provider_and_back(zoo: Zoo, tmp_path: Path) -> None:
    with running(zoo, tmp_path, zoo.command("starts_here")) as run:
        start = run.next_page()
        own = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/auth\?state=.+)", start)
        assert own is not None, start
        port = int(own[1])
        sent = visit(port, own[2], host="127.0.0.1")
        assert sent is not None
        assert sent.status == 307, sent
        leg = Leg.of(sent.headers["location"])
        with strays_around(leg):
            assert zoo.requests() == ["GET /auth"]
            back(leg)
        assert run.end() == 0, run.stderr
    assert zoo.saw_no_stranger(["GET /auth", "GET /"])
    assert_free(zoo.ports())


@pytest.mark.parametrize("ports", ["own", "same"])
def test_two_sign_ins_in_one_run(zoo: Zoo, tmp_path: Path, ports: str) -> None:
    with running(zoo, tmp_path, zoo.command("two_logins", *([ports] if ports == "same" else []))) as run:
        legs = []
        for _ in range(2):
            legs.append(Leg.of(run.next_page()))
            with strays_around(legs[-1]):
                back(legs[-1])
        assert run.end() == 0, run.stderr
    assert legs[0].state != legs[1].state
    assert zoo.saw_no_stranger(["GET /callback"] * 2)
    assert_free(zoo.ports())


def test_after_a_bad_code_the_good_one_still_comes_through(zoo: Zoo, tmp_path: Path) -> None:
    with running(zoo, tmp_path, zoo.command("stays_up")) as run:
        leg = Leg.of(run.next_page())
        bad = leg.callback(f"code=not-it&state={leg.state}")
        assert bad is not None
        assert (bad.status, bad.title) == (400, "That did not work. Try again.")
        with strays_around(leg):
            back(leg)
        assert run.end() == 0, run.stderr
    assert zoo.saw_no_stranger(["GET /callback"] * 2)
    assert_free(zoo.ports())


def test_a_denial_is_brought_as_well_and_the_commands_own_exit_code_passed_on(zoo: Zoo, tmp_path: Path) -> None:
    with running(zoo, tmp_path, zoo.command("one_shot")) as run:
        leg = Leg.of(run.next_page())
        leg.callback(f"error=access_denied&state={leg.state}")
        assert run.end() == 1, run.stderr
    assert "error: the login failed" in run.stderr
    assert zoo.saw_no_stranger(["GET /oauth/callback"])


def test_an_answer_that_takes_half_a_minute_is_waited_for(zoo: Zoo, tmp_path: Path) -> None:
    with running(zoo, tmp_path, zoo.command("slow", "31")) as run:
        leg = Leg.of(run.next_page())
        with strays_around(leg):
            back(leg)
        assert run.end() == 0, run.stderr
    assert zoo.saw_no_stranger(["GET /callback"])


def test_a_second_callback_while_the_first_is_being_answered_does_not_reach_it(zoo: Zoo, tmp_path: Path) -> None:
    with running(zoo, tmp_path, zoo.command("slow", "2")) as run:
        leg = Leg.of(run.next_page())
        reader = threading.Thread(target=back, args=(leg,))
        reader.start()
        assert wait_until(lambda: zoo.requests() == ["GET /callback"])
        back(leg)  # the person reloads the page
        reader.join()
        assert run.end() == 0, run.stderr
    assert zoo.saw_no_stranger(["GET /callback"])


@pytest.mark.parametrize("user", ["dash", "ash", "fish", "tcsh", "zsh", "noisy"])
def test_the_login_shell_does_not_matter(remote: RemoteMachine, sshd: Server, tmp_path: Path, user: str) -> None:
    zoo = Zoo.on(remote, sshd, tmp_path / "ssh_config", user)
    with running(zoo, tmp_path, zoo.command("dies_of_a_connect")) as run:
        leg = Leg.of(run.next_page())
        with strays_around(leg):
            back(leg)
        assert run.end() == 0, run.stderr
    assert zoo.saw_no_stranger(["GET /"])


def test_dropbear_serves_as_well(remote: RemoteMachine, dropbear: Server, tmp_path: Path) -> None:
    zoo = Zoo.on(remote, dropbear, tmp_path / "ssh_config")
    with at_terminal(zoo, tmp_path, zoo.command("needs_terminal")) as run:
        leg = Leg.of(run.next_page())
        with strays_around(leg):
            back(leg)
        assert run.end() == 0, run.shown
    assert zoo.saw_no_stranger(["GET /callback"])


@pytest.mark.parametrize("habit", ["one-shot", "binds ::1 only", "form_post"])
def test_where_forwarding_is_forbidden_the_callback_travels_over_a_command(
    remote: RemoteMachine, tmp_path: Path, habit: str
) -> None:
    creature, come_back, reached = OPENED[habit]
    zoo = Zoo.on(remote, remote.sshd(["AllowTcpForwarding no"]), tmp_path / "ssh_config")
    with running(zoo, tmp_path, zoo.command(*creature)) as run:
        leg = Leg.of(run.next_page())
        with strays_around(leg):
            come_back(leg)
        assert run.end() == 0, run.stderr
    assert zoo.saw_no_stranger(reached)


@pytest.mark.parametrize("code", [0, 1, 3, 77, 130, 255])
def test_the_exit_code_and_both_streams_are_the_commands_own(zoo: Zoo, tmp_path: Path, code: int) -> None:
    with running(zoo, tmp_path, zoo.command("ends", str(code)), "-q") as run:
        assert run.end() == code, run.stderr
    assert run.stdout == "out: nothing to do\n"
    assert run.stderr == "err: nothing to do\n"


def test_a_command_that_a_signal_ended_says_so_as_a_shell_does(zoo: Zoo, tmp_path: Path) -> None:
    with running(zoo, tmp_path, zoo.command("ends", "signal", "9")) as run:
        assert run.end() == 128 + 9, run.stderr


def test_standard_input_goes_through_byte_by_byte_and_ends(zoo: Zoo, tmp_path: Path) -> None:
    text = "protocol=https\nhost=git.example\n\n" + "é" * 70_000
    with running(zoo, tmp_path, ["cat"], stdin=text) as run:
        assert run.end() == 0, run.stderr
    assert run.stdout == text


def test_who_needs_a_terminal_has_one_where_we_have_one(zoo: Zoo, tmp_path: Path) -> None:
    with at_terminal(zoo, tmp_path, zoo.command("needs_terminal")) as run:
        back(Leg.of(run.next_page()))
        assert run.end() == 0, run.shown
    assert zoo.saw_no_stranger(["GET /callback"])


def test_who_needs_a_terminal_says_so_itself_where_we_have_none(zoo: Zoo, tmp_path: Path) -> None:
    with running(zoo, tmp_path, zoo.command("needs_terminal")) as run:
        assert run.end() == 1
    assert "error: cannot log in without a terminal" in run.stderr + run.stdout


def test_keys_lines_passwords_and_the_size_of_the_window_go_through(zoo: Zoo, tmp_path: Path) -> None:
    with at_terminal(zoo, tmp_path, zoo.command("asks")) as run:
        child = run.child
        child.expect("terminal 80x24")
        child.expect_exact("Where?")
        child.setwinsize(40, 120)
        child.expect("terminal 120x40")
        time.sleep(0.1)  # the menu has drawn itself, and reads a moment later
        for width, key in enumerate(("\x1b[B", "\x1b[A", "j", "\x03"), 121):
            child.send(key)
            child.setwinsize(40, width)
            child.expect(f"terminal {width}x40")  # which went after the key, all the way
            time.sleep(0.1)  # each is a key of its own, as typed
        child.send("\r")
        child.expect_exact("Your name?")
        child.sendline("Grace Hopper")
        child.expect_exact("Your PIN?")
        child.sendline("1906")
        back(Leg.of(run.next_page()))
        assert run.end() == 0, run.shown
    assert [entry["keys"] for entry in zoo.log("keys")] == [["\x1b[B", "\x1b[A", "j", "\x03"]]
    assert [entry["text"] for entry in (*zoo.log("line"), *zoo.log("password"))] == ["Grace Hopper", "1906"]
    assert "1906" not in run.shown
    assert zoo.saw_no_stranger(["GET /callback"])


def test_in_a_shell_one_login_after_the_other(zoo: Zoo, tmp_path: Path) -> None:
    with at_terminal(zoo, tmp_path, ["sh"]) as run:
        for creature in ("one_shot", "dies_of_a_connect", "posted"):
            run.child.sendline(
                shlex.join(zoo.command(creature)) + " 2>&1 | tee /dev/null; echo done''-with " + creature
            )
            leg = Leg.of(run.next_page())
            with strays_around(leg):
                post_back(leg) if creature == "posted" else back(leg)
            run.child.expect_exact(f"done-with {creature}")
        run.child.sendline("exit 5")
        assert run.end() == 5, run.shown
    assert run.shown.count(SIGNED_IN) == 3
    assert zoo.saw_no_stranger(["GET /oauth/callback", "GET /", "POST /"])
    assert_free(zoo.ports())


def test_ctrl_c_is_a_key_of_the_commands_and_leaves_nothing(zoo: Zoo, tmp_path: Path) -> None:
    with at_terminal(zoo, tmp_path, zoo.command("one_shot")) as run:
        leg = Leg.of(run.next_page())
        run.child.sendintr()
        assert run.end() == 130, run.shown
    assert zoo.saw_no_stranger([])
    assert_free({leg.port})


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "KILL"])
def test_when_it_is_ended_the_command_ends_too(zoo: Zoo, tmp_path: Path, name: str) -> None:
    with running(zoo, tmp_path, zoo.command("one_shot")) as run:
        leg = Leg.of(run.next_page())
        import signal

        run.process.send_signal(signal.Signals[f"SIG{name}"])
        run.end()
        assert wait_until(lambda: not [line for line in zoo.remote.processes() if "one_shot" in line])
    assert zoo.saw_no_stranger([])
    assert_free({leg.port})
