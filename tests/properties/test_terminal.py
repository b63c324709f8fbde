"""Whatever a remote writes, only text, colours and the moves of a menu are shown; however it was cut."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from kirotunnel.wire.terminal import SafeTerminal, one_line, plain

# Written down apart from the code: what may be in the output beside printable characters.
ALLOWED: Final = re.compile(r"\x1b\[(?:[0-9;]*m|[0-9]{0,2}[ABCDG]|0?J|[012]?K|\?25[hl])|[\r\n\t]")
FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
PIECES: Final = [
    "\x1b", "\x1b[", "\x1b]", "\x1bP", "\x1b_", "\x1b\\", "\x9b", "\x9d", "\x90", "\x9c", "\x07", "\x18", "\r",
    "\n", "\t", "[",
    "]", "?", ";", "0", "2", "25", "52", "1049", "9999999", "h", "l", "m", "A", "H", "J", "K", "n", "c",
    "text", "▰", "é", "\u202e",
]  # fmt: skip
OUTPUT: Final = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from(PIECES), max_size=40).map(lambda pieces: "".join(pieces).encode()),
    st.lists(st.sampled_from(PIECES), max_size=40).map(lambda pieces: "".join(pieces).encode("latin-1", "replace")),
)


def shown(*pieces: bytes) -> str:
    terminal = SafeTerminal()
    return "".join(terminal.feed(piece) for piece in pieces)


@settings(max_examples=400)
@given(OUTPUT)
def test_nothing_passes_but_text_and_what_is_allowed(data: bytes) -> None:
    assert FORBIDDEN.findall(ALLOWED.sub("", shown(data))) == []


@given(OUTPUT, st.lists(st.integers(0, 200), max_size=8))
def test_the_cut_into_pieces_does_not_matter(data: bytes, cuts: list[int]) -> None:
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(ends)]
    assert shown(data) == shown(*pieces)
    assert shown(data) == shown(*(data[i : i + 1] for i in range(len(data))))


@given(OUTPUT, OUTPUT)
def test_what_was_made_harmless_stays_harmless_beside_something_else(first: bytes, second: bytes) -> None:
    both = shown(first) + shown(second)
    assert FORBIDDEN.findall(ALLOWED.sub("", both)) == []


@given(st.one_of(st.text(), OUTPUT.map(lambda data: data.decode("utf-8", "replace"))), st.integers(1, 80))
def test_one_line_is_one_printable_line_of_the_length(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert FORBIDDEN.findall(line) == []
    assert len(line) <= limit
    assert line.splitlines() in ([line], [])
    line.encode()
    assert "\x1b" not in plain(text)


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_one_line_again_changes_nothing(text: str) -> None:
    assert one_line(one_line(text)) == one_line(text)
