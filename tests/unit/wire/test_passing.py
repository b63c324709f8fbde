"""What of a command's output reaches the person's terminal, and which keys are ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import properties.conftest  # noqa: F401 - loads the profile: no clock, the same examples each time
from kirotunnel.wire.passing import EscapeKeys, Passing

SCREEN = [
    "plain ÄÖ 漢字 text\r\n\t",
    "\x1b[1;31mred\x1b[0m",
    "\x1b[?1049h\x1b[2J\x1b[10;20H\x1b[?25l\x1b[?2004h\x1b[?1006h",
    "\x1b(0lqqk\x1b(B\x1b7\x1b8\x1b=\x1b>\x1bM",
    "\x1b[6n\x1b[c",  # where the cursor is, which terminal: programs that draw need the answers
    "\x1b]8;;https://idp.example/?a=b\x1b\\link\x1b]8;;\x1b\\",
    "\x07\x08",
]
OUTSIDE = [
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]0;title\x07",
    "\x1b]2;title\x1b\\",
    "\x1b]9;notification\x07",
    "\x1b]777;notify;a;b\x07",
    "\x1b]1337;File=name=x:AAAA\x07",
    "\x1b]8;;file:///etc/passwd\x07",
    "\x1b]8;;javascript:x\x07",
    '\x1bP$q"p\x1b\\',
    "\x1bPtmux;\x1b\x1b]52;c;eA==\x07\x1b\\",
    "\x1b_Gf=100;AAAA\x1b\\",
    "\x1b^private\x1b\\",
    "\x1bXstring\x1b\\",
    "\x1b[20t",
    "\x1b[21t",
    "\x1b[021t",
    "\x1b[21;0t",
    "\x9d52;c;eA==\x9c",
    "\x1bktitle\x1b\\",
]


@pytest.mark.parametrize("text", SCREEN)
def test_what_draws_on_the_screen_passes(text: str) -> None:
    assert Passing().feed(text.encode()) == text.encode()


@pytest.mark.parametrize("text", OUTSIDE)
def test_what_acts_outside_of_it_does_not(text: str) -> None:
    assert Passing().feed(f"<{text}>".encode()) == b"<>"


@pytest.mark.parametrize(
    "broken", ["\x1b\n", "\x1b\x00", "\x1b\x7f", "\x1b(\n", "\x1b\x9d", "\x1b[\x9d", "\x1b[\n", "\x1b[2\x7f"]
)
@pytest.mark.parametrize("raw", [False, True])
def test_a_sequence_that_a_terminal_reads_otherwise_than_we_do_never_passes(broken: str, *, raw: bool) -> None:
    """In a terminal, ESC LF ] begins a string as ESC ] does, and so does C1's OSC wherever it stands."""
    passed = Passing().feed(f"{broken}]52;c;eA==\x07".encode("latin-1" if raw else "utf-8"))
    assert not {0x1B, 0x9D} & set(passed), passed


def test_bytes_that_are_no_utf_8_pass_but_for_lone_controls() -> None:
    assert Passing().feed(b"latin \xe4\xf6\xfc <\x9d0;x>") == b"latin \xe4\xf6\xfc <0;x>"


@given(st.lists(st.sampled_from([*SCREEN, *OUTSIDE, "x"]), max_size=8), st.lists(st.integers(1, 9), max_size=40))
def test_however_it_is_cut_the_same_passes(pieces: list[str], cuts: list[int]) -> None:
    data = "".join(pieces).encode()
    passing, passed, at = Passing(), b"", 0
    for cut in cuts:
        passed += passing.feed(data[at : at + cut])
        at += cut
    assert passed + passing.feed(data[at:]) == "".join(piece for piece in pieces if piece not in OUTSIDE).encode()


@given(st.binary(max_size=300))
def test_no_string_to_the_terminal_gets_through_but_links(data: bytes) -> None:
    passed = Passing().feed(data)
    for introducer in (b"\x1bP", b"\x1b_", b"\x1b^", b"\x1bX", b"\xc2\x9d", b"\xc2\x90"):
        assert introducer not in passed
    assert passed.count(b"\x1b]") == passed.count(b"\x1b]8;")


def test_it_knows_whether_a_line_was_ended() -> None:
    passing = Passing()
    assert passing.at_line_start
    passing.feed(b"x")
    assert not passing.at_line_start
    passing.feed(b"\x1b]0;t\x07")
    assert not passing.at_line_start
    passing.feed(b"\r\n")
    assert passing.at_line_start


@pytest.mark.parametrize(
    ("keys", "passed", "out"),
    [
        (b"ls -la\r", b"ls -la\r", False),
        (b"~.", b"", True),
        (b"x~.", b"x~.", False),
        (b"x\r~.y", b"x\r", True),
        (b"~~.", b"~.", False),
        (b"~x", b"~x", False),
        (b"~\r~.", b"~\r", True),
        (b"\x03~.", b"\x03~.", False),
    ],
)
def test_only_tilde_and_dot_at_the_beginning_of_a_line_is_ours(keys: bytes, passed: bytes, out: bool) -> None:
    whole, single = EscapeKeys(), EscapeKeys()
    assert whole.feed(keys) == (passed, out)
    one_by_one = b""
    for key in keys:
        went, ended = single.feed(bytes([key]))
        one_by_one += went
        if ended:
            break
    assert (one_by_one, ended) == (passed, out)
