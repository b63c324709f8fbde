"""What processes that share a port say to each other is read as it was said, and nothing else is read at all."""

from __future__ import annotations

import json
import struct
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import LegRule, RequestHead
from kirotunnel.wire.sharing import (
    ANY,
    MAX_FRAME,
    MAX_KEYS,
    WIDE,
    Claim,
    Claimed,
    Frame,
    FrameError,
    Frames,
    Hello,
    Ping,
    Pong,
    Visit,
    Welcome,
    encode,
    keys_of,
    keys_of_leg,
    page_key,
    state_key,
)

KEYS: Final = st.one_of(
    st.just(ANY),
    st.just(WIDE),
    st.text(max_size=5).map(page_key),
    st.text(max_size=5).map(lambda t: state_key(Secret(t))),
)
KEY_LISTS: Final = st.lists(KEYS, max_size=5).map(tuple)
FRAMES: Final[st.SearchStrategy[Frame]] = st.one_of(
    st.builds(Hello, st.integers(), KEY_LISTS),
    st.builds(Welcome, st.integers(), KEY_LISTS),
    st.builds(Claim, st.integers(), KEY_LISTS, KEY_LISTS),
    st.builds(Claimed, st.integers(), KEY_LISTS),
    st.builds(Visit, st.binary(max_size=200)),
    st.just(Ping()),
    st.just(Pong()),
)


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(1, 50), max_size=40))
def test_frames_arrive_as_they_were_sent_in_whatever_pieces(frames: list[Frame], sizes: list[int]) -> None:
    data = b"".join(map(encode, frames))
    reader = Frames()
    read: list[Frame] = []
    for size in sizes:
        read += reader.feed(data[:size])
        data = data[size:]
    assert read + reader.feed(data) == frames


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_an_error(data: bytes) -> None:
    try:
        frames = Frames().feed(data)
    except FrameError:
        return
    assert b"".join(map(encode, frames)) == data[: len(b"".join(map(encode, frames)))]


JSON: Final = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)
FIELDS: Final = st.sampled_from(["kind", "version", "keys", "number", "add", "drop", "refused", "request"])
KINDS: Final = st.sampled_from(["hello", "welcome", "claim", "claimed", "visit", "ping", "pong", "Hello", ""])


@given(st.dictionaries(FIELDS, JSON), KINDS)
def test_any_object_is_a_frame_of_right_types_or_an_error(content: dict[str, object], kind: str) -> None:
    data = json.dumps({**content, "kind": kind}).encode()
    try:
        (frame,) = Frames().feed(struct.pack("!I", len(data)) + data)
    except FrameError:
        return
    assert Frames().feed(encode(frame)) == [frame]


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff",
        struct.pack("!I", MAX_FRAME + 1),
        struct.pack("!I", 2) + b"[]",
        struct.pack("!I", 4) + b"null",
        struct.pack("!I", 0),
        struct.pack("!I", 20_000) + b"[" * 20_000,
        struct.pack("!I", 3) + b"\xff\xfe\xfd",
    ],
)
def test_what_is_no_frame(said: bytes) -> None:
    with pytest.raises(FrameError):
        Frames().feed(said)


def test_more_keys_than_anybody_has_are_no_frame() -> None:
    with pytest.raises(FrameError):
        Frames().feed(encode(Hello(1, (ANY,) * (MAX_KEYS + 1))))


# --- Keys -------------------------------------------------------------------------------------------------------------

STATES: Final = st.text("abcAB01-_~", min_size=1, max_size=12)


@given(STATES)
def test_a_callback_has_the_key_of_its_state_and_the_key_does_not_have_the_state(state: str) -> None:
    key = state_key(Secret(state))
    head = RequestHead(method="GET", target=f"/oauth/callback?code=c&state={state}", hosts=("localhost:3128",))
    assert key in keys_of(head)
    assert len(state) < 4 or state not in key
    form = RequestHead(
        method="POST",
        target="/oauth/callback",
        hosts=("localhost:3128",),
        content_type="application/x-www-form-urlencoded",
        body=f"code=c&state={state}".encode(),
    )
    assert keys_of(form) == [key]


@given(STATES, STATES)
def test_two_states_have_two_keys(one: str, other: str) -> None:
    assert (state_key(Secret(one)) == state_key(Secret(other))) == (one == other)
    assert state_key(Secret(one)) != page_key(one)


def test_a_request_that_says_two_states_has_the_key_of_neither() -> None:
    head = RequestHead(method="GET", target="/oauth/callback?state=a&state=b", hosts=("localhost:3128",))
    assert not {state_key(Secret("a")), state_key(Secret("b"))} & set(keys_of(head))


def test_the_keys_of_a_leg_are_its_state_and_the_page_after_it() -> None:
    rule = LegRule(leg=1, paths=frozenset({"/x"}), state=Secret("s"), follow_up="/index.html")
    assert keys_of_leg(rule) == [state_key(Secret("s")), page_key("/index.html")]
    assert keys_of_leg(LegRule(leg=1, paths=frozenset({"/x"}), state=None)) == [ANY]
