"""The address that a person pastes: the callback however it was copied, and nothing else."""

from __future__ import annotations

import pytest

from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import LegRule
from kirotunnel.wire.pasted import NotPasted, Pasted, read_pasted

RULE = LegRule(leg=1, paths=frozenset({"/oauth/callback", "/signin/callback"}), state=Secret("s3cr3t"))
GOOD = "http://localhost:3128/oauth/callback?login_option=google&code=c0de&state=s3cr3t"


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"  {GOOD}\r\n",
        f'"{GOOD}"',
        f"<{GOOD}>",
        GOOD.replace("&code", "\n&code"),
        GOOD.replace("localhost", "127.0.0.1"),
        GOOD.replace("localhost", "[::1]"),
        GOOD.replace("http:", "HTTP:").replace("localhost", "LOCALHOST"),
        GOOD + "#top",
    ],
)
def test_the_callback_is_read_however_it_was_copied(text: str) -> None:
    pasted = read_pasted(text, 3128, RULE)
    assert isinstance(pasted, Pasted)
    assert pasted.target == "/oauth/callback?login_option=google&code=c0de&state=s3cr3t"
    assert pasted.outcome == "granted"
    assert "c0de" not in repr(pasted)


def test_a_denial_is_one() -> None:
    pasted = read_pasted("http://localhost:3128/signin/callback?error=access_denied&state=s3cr3t", 3128, RULE)
    assert isinstance(pasted, Pasted)
    assert pasted.outcome == "denied"


@pytest.mark.parametrize(
    ("text", "reason", "word"),
    [
        ("", "malformed", "empty"),
        ("hello", "malformed", "no address"),
        ("c0de", "malformed", "no address"),
        ("localhost:3128/oauth/callback?code=c0de&state=s3cr3t", "malformed", "no address"),
        ("javascript:alert(1)", "malformed", "no address"),
        ("http://[::1", "malformed", "cannot be read"),
        ("http://localhost:99999/oauth/callback", "malformed", "cannot be read"),
        (GOOD.replace("http:", "https:"), "malformed", "https"),
        (GOOD.replace("localhost", "ada:pw@localhost"), "malformed", "user information"),
        ("https://app.kiro.dev/signin?state=s3cr3t", "host", "app.kiro.dev"),
        (GOOD.replace("localhost", "localhost.evil.example"), "host", "localhost.evil.example"),
        (GOOD.replace("3128", "4649"), "host", "4649"),
        (GOOD.replace(":3128", ""), "host", "port 80"),
        (GOOD.replace("/oauth/callback", "/favicon.ico"), "path", "/oauth/callback or /signin/callback"),
        (GOOD.replace("s3cr3t", "s3cr3"), "state", "another sign-in"),
        (GOOD.replace("&state=s3cr3t", ""), "state", "another sign-in"),
        (GOOD + "&state=s3cr3t", "malformed", "repeated"),
        ("http://localhost:3128", "path", "another path"),
        ("x" * 20000, "malformed", "too long"),
    ],
)
def test_anything_else_is_refused_with_its_reason(text: str, reason: str, word: str) -> None:
    refused = read_pasted(text, 3128, RULE)
    assert isinstance(refused, NotPasted)
    assert refused.reason == reason
    assert word in refused.words
    assert "c0de" not in refused.words
    assert "s3cr3" not in refused.words
