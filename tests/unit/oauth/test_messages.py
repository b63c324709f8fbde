"""Whatever a service answers is read by type, and its own words are quoted without a secret."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.errors import ServiceReplyError
from kirotunnel.oauth.messages import Reply, duration, post_form, post_json, quotable
from kirotunnel.redaction import Secret


def a_reply(body: bytes, *, status: int = 200, content_type: str = "application/json", unsaid: str = "") -> Reply:
    secrets = (Secret(unsaid),) if unsaid else ()
    headers = {"content-type": content_type}
    return Reply(host="idp.example", status=status, headers=headers, body=Secret(body), unsaid=secrets)


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"<!doctype html><p>log in first", "text/html; charset=utf-8", "HTML"),
        (b"\n <html>", "application/json", "HTML"),
        (b'{"access_token": "s3cr3t', "application/json", "broken JSON"),
        (b"", "application/json", "broken JSON"),
        (b"[" * 100_000, "application/json", "broken JSON"),
        (b"\xff\xfe{}", "application/json", "broken JSON"),
        (b'["s3cr3t"]', "application/json", "no object"),
        (b'"s3cr3t"', "application/json", "no object"),
    ],
)
def test_what_is_no_json_object_is_said_without_its_content(body: bytes, content_type: str, words: str) -> None:
    with pytest.raises(ServiceReplyError, match=words) as caught:
        a_reply(body, content_type=content_type).members()
    cause: BaseException | None = caught.value
    while cause is not None:
        assert "s3cr3t" not in f"{cause!r} {vars(cause)}"
        cause = cause.__cause__


@given(st.binary(max_size=400))
def test_any_bytes_are_members_or_our_error(body: bytes) -> None:
    try:
        a_reply(body).members()
    except ServiceReplyError:
        return


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["t", "s", "n"]), _json))
def test_members_of_any_type_are_read_or_refused(values: dict[str, object]) -> None:
    members = a_reply(json.dumps(values).encode()).members()
    assert members.seconds("n", 7.0) > 0
    members.quoted("t")
    for read in (members.text, members.secret):
        try:
            read("t")
        except ServiceReplyError:
            continue


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (60, 60.0),
        ("60", 60.0),
        (0.5, 0.5),
        (True, 9.0),
        (-1, 9.0),
        (0, 9.0),
        ("nan", 9.0),
        (float("inf"), 9.0),
        (10**400, 9.0),
        ("1" * 50, 9.0),
        (None, 9.0),
        ([], 9.0),
        (1e15, 10 * 365 * 86400.0),
    ],
)
def test_durations_within_reason(value: object, seconds: float) -> None:
    assert duration(value, 9.0) == seconds


def test_a_token_with_control_characters_is_none() -> None:
    assert a_reply(b'{"t": "a\\r\\nX: y"}').members().optional_secret("t") is None


def test_json_is_compact_and_in_order_and_knows_its_secrets() -> None:
    request = post_json("https://a.example/x?y", {"code": Secret("c0de"), "plain": "ä"})
    assert request.body == Secret('{"code":"c0de","plain":"ä"}'.encode())
    assert request.unsaid == (Secret("c0de"),)
    assert request.host == "a.example"
    assert "c0de" not in repr(request)


def test_a_form_is_encoded_and_knows_its_secrets() -> None:
    request = post_form("https://a.example/x", {"token": Secret("t&k"), "client_id": "a b"})
    assert request.body == Secret(b"token=t%26k&client_id=a+b")
    assert "t&k" not in repr(request)


def test_a_service_that_repeats_a_secret_is_not_quoted_with_it() -> None:
    reply = a_reply(b'{"error_description": "the code c0de-5ecret is not known"}', unsaid="c0de-5ecret")
    assert reply.members().quoted("error_description") == "the code *** is not known"


def test_a_secret_is_masked_before_the_text_is_shortened() -> None:
    text = "x" * 190 + " s3cr3t-s3cr3t-s3cr3t"
    assert "s3cr" not in quotable(text, (Secret("s3cr3t-s3cr3t-s3cr3t"),))
