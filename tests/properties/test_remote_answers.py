"""The readers of what a target answers never raise, whatever it answers."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.wire.listeners import parse_lsof, parse_proc, parse_ss
from kirotunnel.wire.records import MAX_RECORD, Record, RecordReader, parse_version, read_facts, read_listeners
from kirotunnel.wire.whoami import parse_whoami

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]")
DIGITS: Final = st.sampled_from(["0", "1", "22", "3128", "65535", "65536", "9" * 5000, "²", "٣", "-1", "x", ""])
WORDS: Final = st.sampled_from(
    ["LISTEN", "0", "128", "127.0.0.1:", "[::1]:", "*:", ":", "%", 'users:(("', '",pid=', ",fd=1))", " ", "  ",
    "0A", "0100007F:0C38",
     "p", "c", "n", "/proc/", "\x1b[2J", "é", "{", "}", '"accountType"', ":", '"Social"', ","]
)  # fmt: skip
LINES: Final = st.lists(st.one_of(st.lists(st.one_of(WORDS, DIGITS), max_size=12).map("".join), st.text()), max_size=8)
KEYS: Final = st.sampled_from(
    ["os", "kernel", "user", "home", "cli", "version", "whoami", "whoami-exit", "dir", "listeners-by", "ss",
    "proc", "socket", "lsof", ""]
)  # fmt: skip
VALUES: Final = st.one_of(st.sampled_from(["ss", "proc", "lsof", "0", "1"]), LINES.map(" ".join))


@given(LINES, LINES)
def test_listeners(lines: list[str], sockets: list[str]) -> None:
    for found in (parse_ss(lines), parse_proc(lines, sockets), parse_lsof(lines)):
        for row in found:
            assert 0 <= row.port <= 65535
            assert row.reachable_by_loopback in {True, False}


@given(st.lists(st.builds(Record, KEYS, VALUES), max_size=20))
def test_facts(records: list[Record]) -> None:
    facts = read_facts(records)
    assert not CONTROL.search(facts.system + facts.user)
    for row in read_listeners(records) or ():
        assert row.reachable_by_loopback in {True, False}


@given(st.one_of(st.text(), LINES.map("".join)))
def test_whoami_and_version(text: str) -> None:
    parse_version(text)
    account = parse_whoami(text)
    assert account is None or not CONTROL.search(account.describe())


@given(st.lists(st.binary(max_size=40), max_size=10), st.lists(st.integers(0, 400), max_size=6))
def test_records_do_not_depend_on_the_cut(lines: list[bytes], cuts: list[int]) -> None:
    data = b"\n".join(b"noise" + b"NONCE key " + line for line in lines) + b"\n"
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    whole, cut = RecordReader("NONCE"), RecordReader("NONCE")
    expected = whole.feed(data)
    assert expected == [record for a, b in pairwise(ends) for record in cut.feed(data[a:b])]


@given(st.text(alphabet=st.characters(exclude_characters="\n\r", codec="utf-8"), max_size=100))
def test_a_record_is_read_as_it_was_written(value: str) -> None:
    assert RecordReader("NONCE").feed(f"NONCE key {value}\n".encode()) == [Record("key", value)]


@given(st.lists(st.binary(min_size=1, max_size=2000), max_size=5))
def test_no_record_is_longer_than_the_limit(pieces: list[bytes]) -> None:
    reader = RecordReader("NONCE")
    found = reader.feed(b"NONCE key " + b"x" * MAX_RECORD) + [r for piece in pieces for r in reader.feed(piece)]
    assert all(len(record.value) <= MAX_RECORD for record in found)
