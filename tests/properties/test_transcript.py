"""However a CLI's output is cut, the events are the same; and whatever it is, reading it does no harm."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from kirotunnel.wire.transcript import MAX_LINE, Transcript, TranscriptEvent

RECORDED: Final = [file.read_bytes() for file in sorted((Path(__file__).parents[1] / "transcripts").glob("*.txt"))]
PIECES: Final = [
    "? ", "›", " ", "  ", "❯ ", "> ", "✔ ", "▰▰▱", "\r", "\n", "\r\n", "\x1b[0m", "\x1b[", "\x1b]0;", "\x07",
    "\x1b", "Select",
    "Select login method", "Enter Region", "Press enter", "press Enter", "error:", "error: ", "x", "Code: ",
    "ABCD-EFGH", "port ",
    "49153", "https://a.example/", "localhost:3128", "Use with Google", "é",
]  # fmt: skip
OUTPUT: Final = st.one_of(
    st.sampled_from(RECORDED),
    st.lists(st.sampled_from(PIECES), max_size=25).map(lambda pieces: "".join(pieces).encode()),
    st.binary(max_size=300),
)


def read(*pieces: bytes) -> list[TranscriptEvent]:
    transcript = Transcript()
    return [event for piece in (*filter(None, pieces), b"") for event in transcript.feed(piece)]


@settings(max_examples=250)
@given(OUTPUT, st.lists(st.integers(0, 2000), max_size=12))
def test_the_cut_into_pieces_does_not_matter(data: bytes, cuts: list[int]) -> None:
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert read(data) == read(*(data[a:b] for a, b in pairwise(ends)))


@settings(max_examples=150)
@given(OUTPUT)
def test_byte_by_byte_is_the_same(data: bytes) -> None:
    assert read(data) == read(*(data[i : i + 1] for i in range(len(data))))


@given(OUTPUT, OUTPUT)
def test_what_stands_on_lines_before_does_not_hide_what_comes_after(noise: bytes, data: bytes) -> None:
    # The end of a menu row, a string or a sequence may still be open: a reset and two line ends close them.
    closed = noise + b"\x1b\\\x1b[0m\n.\n"
    assert read(closed + data)[-len(read(data)) :] == read(data) or read(data) == []


def test_an_endless_line_takes_bounded_memory() -> None:
    transcript = Transcript()
    tracemalloc.start()
    try:
        for _ in range(24):
            transcript.feed(b"x" * 8192)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(24):
            transcript.feed(b"x" * 8192)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < MAX_LINE
    assert peak - before < 8 * 1024 * 1024
