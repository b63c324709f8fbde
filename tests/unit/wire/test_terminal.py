"""What of a remote's terminal output is shown."""

from __future__ import annotations

import pytest

from kirotunnel.wire.terminal import EscapeScanner, SafeTerminal, one_line, plain


def shown(*pieces: bytes) -> str:
    terminal = SafeTerminal()
    return "".join(terminal.feed(piece) for piece in pieces)


@pytest.mark.parametrize(
    "sequence",
    [
        pytest.param("\x1b]0;title\x07", id="OSC 0, the title"),
        pytest.param("\x1b]2;title\x1b\\", id="OSC 2 with ST"),
        pytest.param("\x1b]8;;https://evil.example\x1b\\", id="OSC 8, a link"),
        pytest.param("\x1b]52;c;ZXZpbA==\x07", id="OSC 52, the clipboard"),
        pytest.param("\x1b]1337;File=name=x:AAAA\x07", id="OSC 1337, a file"),
        pytest.param("\x1b]7;file:///\x9c", id="OSC with C1 ST"),
        pytest.param("\x9d0;title\x07", id="C1 OSC"),
        pytest.param("\x1bPq#0;2;0;0;0\x1b\\", id="DCS, sixels"),
        pytest.param("\x1bP$qm\x1b\\", id="DCS, a question"),
        pytest.param("\x901$r\x9c", id="C1 DCS"),
        pytest.param("\x1b_Gf=100;AAAA\x1b\\", id="APC, kitty graphics"),
        pytest.param("\x1b^private\x1b\\", id="PM"),
        pytest.param("\x1bXstring\x1b\\", id="SOS"),
        pytest.param("\x1b[H", id="cursor home"),
        pytest.param("\x1b[1;1H", id="cursor to a place"),
        pytest.param("\x1b[5f", id="cursor to a place, HVP"),
        pytest.param("\x1b[3d", id="cursor to a row"),
        pytest.param("\x1b[100A", id="cursor far up"),
        pytest.param("\x1b[E", id="cursor to the next line"),
        pytest.param("\x1b[2J", id="erase the screen"),
        pytest.param("\x1b[1J", id="erase what is above"),
        pytest.param("\x1b[3J", id="erase the scrollback"),
        pytest.param("\x1b[?1049h", id="alternate screen"),
        pytest.param("\x1b[?1000h", id="mouse clicks"),
        pytest.param("\x1b[?1003h", id="mouse moves"),
        pytest.param("\x1b[?2004h", id="bracketed paste"),
        pytest.param("\x1b[?25;1049h", id="the cursor's visibility and more"),
        pytest.param("\x1b[6n", id="where is the cursor"),
        pytest.param("\x1b[c", id="who are you"),
        pytest.param("\x1b[>c", id="who are you really"),
        pytest.param("\x1b[21t", id="report the title"),
        pytest.param("\x1b[5i", id="print"),
        pytest.param("\x1b[2;5r", id="scroll region"),
        pytest.param("\x1b[5S", id="scroll"),
        pytest.param("\x1b[9T", id="scroll down"),
        pytest.param("\x1b[10L", id="insert lines"),
        pytest.param("\x1b[10M", id="delete lines"),
        pytest.param("\x1b[!p", id="soft reset"),
        pytest.param("\x1bc", id="reset"),
        pytest.param("\x1b7", id="save the cursor"),
        pytest.param("\x1b8", id="restore the cursor"),
        pytest.param("\x1bM", id="reverse line feed"),
        pytest.param("\x1b(0", id="line drawing"),
        pytest.param("\x1b#8", id="fill the screen"),
        pytest.param("\x1b[>4;2m", id="key modes"),
        pytest.param("\x9b2J", id="C1 CSI"),
        pytest.param("\x85", id="C1 next line"),
        pytest.param("\x8d", id="C1 reverse line feed"),
        pytest.param("\x07", id="bell"),
        pytest.param("\x08", id="backspace"),
        pytest.param("\x0b", id="vertical tab"),
        pytest.param("\x0c", id="form feed"),
        pytest.param("\x0e", id="shift out"),
        pytest.param("\x05", id="enquiry"),
        pytest.param("\x00", id="NUL"),
        pytest.param("\x7f", id="DEL"),
        pytest.param("\u202e", id="right-to-left override"),
        pytest.param("\u2066", id="left-to-right isolate"),
    ],
)
def test_an_attack_leaves_nothing_behind(sequence: str) -> None:
    assert shown(f"a{sequence}b".encode()) == "ab"
    assert shown(*(bytes([byte]) for byte in f"a{sequence}b".encode())) == "ab"


@pytest.mark.parametrize(
    "drawn",
    [
        "plain\r\ntext\n\ttab",
        "\x1b[31;1merror:\x1b[0m \x1b[38;5;252mABCD-EFGH\x1b[m",
        "? Menu\r\na\r\nb\r\n\x1b[3A\x1b[2K\r❯ Use with Google\x1b[K\x1b[J\x1b[0J\x1b[12G",
        "\x1b[?25lhidden\x1b[?25h",
    ],
)
def test_what_draws_text_and_menus_passes(drawn: str) -> None:
    assert shown(drawn.encode()) == drawn


def test_the_cursor_goes_up_only_over_the_remotes_own_lines() -> None:
    terminal = SafeTerminal()
    assert terminal.feed(b"one\ntwo\n\x1b[3A\x1b[2A") == "one\ntwo\n\x1b[2A"
    terminal.feed(b"three\n")
    terminal.own_line()
    assert terminal.feed(b"\x1b[Aover our words") == "over our words"


def test_concealed_text_is_shown() -> None:
    assert shown(b"\x1b[8mhidden\x1b[0;8m \x1b[38;5;8mgrey") == "hidden \x1b[38;5;8mgrey"


def test_a_c1_colour_is_sent_on_as_a_plain_one() -> None:
    assert shown("\x9b31mred".encode()) == "\x1b[31mred"


def test_spinner_frames_are_left_out() -> None:
    spinner = "\r▰▱▱▱▱▱▱ Logging in...\r▰▰▱▱▱▱▱ Logging in...\x1b[2K\rLogged in\n"
    assert shown(spinner.encode()) == "\r\r\x1b[2K\rLogged in\n"
    assert shown("  ⠙ Waiting\rDone\n".encode()) == "  \rDone\n"


def test_the_signs_of_a_spinner_within_a_line_are_text() -> None:
    assert shown("progress ▰▰▱\n".encode()) == "progress ▰▰▱\n"


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert shown(b"a\xff\xfeb\xc3") == "a\ufffd\ufffdb"


def test_a_sequence_that_never_ends_costs_no_memory_and_can_be_broken_off() -> None:
    terminal = SafeTerminal()
    for _ in range(100):
        assert terminal.feed(b"\x1b]0;" + b"x" * 10_000) == ""
    assert terminal.feed(b"\x07after") == "after"
    assert terminal.feed(b"\x1b[" + b"1" * 100_000) == ""
    assert terminal.feed(b"\x1b[0mafter") == "\x1b[0mafter"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a\x1b[0mb", [("a", False), ("\x1b[0m", True), ("b", False)]),
        ("\x1b\x1b[2J", [("\x1b[2J", True)]),
        ("\x1b[3\x1b[0m", [("\x1b[0m", True)]),
        ("\x1b]0;open\x1b[0mtext", [("\x1b[0m", True), *((char, False) for char in "text")]),
        ("\x1b]0;a\x1b\x1b\\b", [("\x1b\\", True), ("b", False)]),
        ("\x1b(Bx", [("\x1b(B", True), ("x", False)]),
        ("\x1b[", []),
    ],
)
def test_the_scanner_splits_text_and_sequences(text: str, pieces: list[tuple[str, bool]]) -> None:
    assert EscapeScanner().feed(text) == pieces


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("  a \r\n b\t c ", "a b c"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x07b\x00c", "a b c"),
        ("exe.\u202egpj", "exe. gpj"),
        ("\u2066a\u2069", "a"),
        ("a\u2028b\u2029c\x85d", "a b cd"),
        ("half \ud83d of a character", "half of a character"),
        ("x" * 400, "x" * 299 + "…"),
        ("x" * 300, "x" * 300),
    ],
)
def test_remote_text_becomes_one_harmless_line(text: str, line: str) -> None:
    assert one_line(text) == line


def test_the_limit_of_a_line_can_be_chosen() -> None:
    assert one_line("abcdef", 4) == "abc…"


def test_plain_text_has_no_sequences() -> None:
    assert plain("\x1b[1ma\x1b]8;;u\x1b\\b\n") == "ab\n"
