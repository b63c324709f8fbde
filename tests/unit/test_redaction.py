"""Secrets print as `***`, and what others print is masked."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from dataclasses import dataclass
from typing import Any, Final

import pytest

from kirotunnel.redaction import Secret, redacted

CANARY: Final = "s3cr3t-c0de"


@dataclass
class Holder:
    secret: Secret[str]


def test_a_secret_shows_itself_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(CANARY)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").info("%s %r %s", secret, secret, Holder(secret))
    by_percent = "%s" % secret  # noqa: UP031 - that way, too
    ways = [str(secret), repr(secret), f"{secret}", f"{secret!r:>20}", f"{secret:^9}", by_percent]
    ways += [repr([secret]), repr({"a": secret}), repr(Holder(secret)), str(ValueError(secret)), caplog.text]
    try:
        raise ValueError(secret)
    except ValueError:
        ways.append(traceback.format_exc())
    assert [way for way in ways if CANARY in way or "***" not in way] == []


@pytest.mark.parametrize("way", [pickle.dumps, json.dumps, copy.copy, copy.deepcopy], ids=lambda way: way.__name__)
def test_a_secret_is_not_written_anywhere(way: Any) -> None:
    with pytest.raises(TypeError):
        way(Secret(CANARY))


def test_a_secret_has_no_members_to_look_into() -> None:
    assert not hasattr(Secret(CANARY), "__dict__")


def test_secrets_compare_by_their_values() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert [bool(Secret("")), bool(Secret("a"))] == [False, True]
    assert Secret("a").reveal() == "a"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("?code=X", "?code=***"),
        ("https://a.example/cb?code=X&state=X#f", "https://a.example/cb?code=***&state=***#f"),
        ("http://localhost:3128/oauth/callback?login_option=google&code=X", None),
        ("code=X", "code=***"),
        ("(code=X) was sent", "(code=*** was sent"),
        ("url='a?state=X'", "url='a?state=***'"),
        ("a=1;state=X;b=2", "a=1;state=***;b=2"),
        ("redirect=http%3A%2F%2Flocalhost%3Fcode%3DX%26state%3DX%26a%3Db", None),
        ("device_code=X&user_code=X&code_verifier=X&client_secret=X&refreshToken=X", None),
        ("CODE=X", "CODE=***"),
        ('{"accessToken":"X","expiresIn":3600}', '{"accessToken":"***","expiresIn":3600}'),
        ('{"refresh_token" : "X"}', '{"refresh_token" : "***"}'),
        ('{"code": "a\\"X"}', '{"code": "***"}'),
        ('"{\\"code\\":\\"X\\",\\"a\\":1}"', '"{\\"code\\":\\"***\\",\\"a\\":1}"'),
        ("{'code': 'X', 'a': 'b'}", "{'code': '***', 'a': 'b'}"),
        ('{"idToken":"X\nX"}', '{"idToken":"***"}'),
        ("OAuth state mismatch. Actual: X | Expected: X", "OAuth state mismatch. Actual: *** | Expected: ***"),
        ("OAuth state mismatch: expected=X, actual=X", "OAuth state mismatch: expected=***, actual=***"),
        ("exit code: 1", "exit code: 1"),
        ("status_code=500", "status_code=500"),
        ("zipcode=12345", "zipcode=12345"),
        ("the state of things", "the state of things"),
        ("", ""),
    ],
)
def test_what_others_print_is_masked(text: str, masked: str | None) -> None:
    shown = redacted(text.replace("X", CANARY))
    assert CANARY not in shown
    if masked is not None:
        assert shown == masked
