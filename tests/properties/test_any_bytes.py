"""What holds of each reader's answer holds for the words of right inputs in any order, with anything between them.

The fuzzer goes where its counters lead it, one byte after the other; this goes far from right in one step, and comes
back with the smallest input that does it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets import TARGETS

CORPUS: Final = Path(__file__).parents[1] / "fuzz" / "corpus"
SIGNS: Final = st.sampled_from(
    [b"\n", b"\r\n", b" ", b"&", b"=", b"%", b":", b'"', b"{", b"}", b"[", b"]", b"\0", b"\x1b[", b"\xff", b"9" * 40]
)


@cache
def inputs(name: str) -> st.SearchStrategy[bytes]:
    """The target's right inputs, cut into lines and words, and what stands between these."""
    whole = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    lines = sorted({line for text in whole for line in text.splitlines(keepends=True)})
    words = sorted({word for line in lines for word in re.split(rb"([^A-Za-z0-9._-]+)", line) if word})
    pieces = st.one_of(*map(st.sampled_from, (lines, words)), SIGNS, st.binary(max_size=4))
    return st.lists(pieces, max_size=12).map(b"".join).map(lambda data: data[:600])


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_right_words_in_any_order(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(inputs(name)))
