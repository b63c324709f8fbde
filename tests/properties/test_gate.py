"""Of ten thousand requests that all look a little like the right one, nothing but the right one is forwarded."""

from __future__ import annotations

import random
from typing import Final
from urllib.parse import unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import Forward, LegRule, Refuse, RequestHead, decide, same_origin_target

PORT: Final = 3128
STATES: Final = ("uXk2Qp3xV9", "Zr81mVbQ0c")
RULES: Final = [
    LegRule(leg=i, paths=frozenset({"/oauth/callback", "/signin/callback"}), state=Secret(state))
    for i, state in enumerate(STATES)
]
METHODS: Final = ["GET"] * 12 + ["POST", "HEAD", "OPTIONS", "PUT", "get"]
HOSTS: Final = [("localhost:3128",)] * 8 + [
    ("127.0.0.1:3128",), ("[::1]:3128",), ("localhost",), ("localhost:3129",), ("evil.example:3128",), (),
    ("localhost:3128", "evil.example"), ("localhost:3128", "localhost:3128"), ("LOCALHOST:3128",), ("localhost:3128 ",),
]  # fmt: skip
PATHS: Final = ["/oauth/callback"] * 8 + [
    "/signin/callback", "/", "/favicon.ico", "/oauth/callback/", "//oauth/callback", "/oauth%2fcallback",
    "/OAUTH/callback",
    "http://localhost:3128/oauth/callback", "/./oauth/callback", "/oauth/callback;x", "/index.html",
    "/oauth/callback\\",
]  # fmt: skip
NAMES: Final = ["state"] * 5 + ["st%61te", "State", "state ", "code", "error", "login_option", "x", ""]
VALUES: Final = [*STATES, *STATES, *STATES, STATES[0][:-1], STATES[0] + "x", STATES[0].upper(), "%75Xk2Qp3xV9", "", "1"]
ENDS: Final = [""] * 12 + ["#", "#x", "&", " ", "\r\nX: y", "\x00", "é"]


def one_request(chance: random.Random) -> RequestHead:
    pairs = [f"{chance.choice(NAMES)}={chance.choice(VALUES)}" for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3)))]
    query = ("?" if chance.random() < 0.95 else "") + "&".join(pairs)
    target = chance.choice(PATHS) + query + chance.choice(ENDS)
    return RequestHead(method=chance.choice(METHODS), target=target, hosts=chance.choice(HOSTS))


def right_leg(head: RequestHead) -> int | None:
    """The leg whose one right request this is, told in another way than the gate's."""
    path, _, query = head.target.partition("?")
    if head.method != "GET" or path not in {"/oauth/callback", "/signin/callback"}:
        return None
    if len(head.hosts) != 1 or head.hosts[0].lower() not in {"localhost:3128", "127.0.0.1:3128", "[::1]:3128"}:
        return None
    if any(not "!" <= char <= "~" or char == "#" for char in head.target):
        return None
    pairs = [tuple(pair.partition("=")[::2]) for pair in query.split("&") if pair]
    names = [unquote(name) for name, _ in pairs]
    if len(set(names)) != len(names):
        return None
    state = next((unquote(value) for name, value in pairs if unquote(name) == "state"), None)
    return STATES.index(state) if state in STATES else None


def test_nothing_but_the_right_request_is_forwarded() -> None:
    chance = random.Random(20260101)
    forwarded = 0
    for _ in range(10_000):
        head = one_request(chance)
        decision = decide(head, PORT, RULES)
        leg = right_leg(head)
        if leg is None:
            assert isinstance(decision, Refuse), head
            assert decision.status in {400, 403, 404, 405}
        else:
            assert isinstance(decision, Forward), head
            assert decision.rule is RULES[leg]
            forwarded += 1
    assert forwarded > 200


@given(
    st.builds(
        RequestHead,
        method=st.sampled_from(["GET", "POST", ""]),
        target=st.one_of(st.text(), st.text().map("/oauth/callback?{}".format)),
        hosts=st.one_of(st.just(("localhost:3128",)), st.lists(st.text(), max_size=3).map(tuple)),
        content_type=st.sampled_from(["", "application/x-www-form-urlencoded"]),
        body=st.binary(),
    )
)
def test_a_decision_is_made_about_anything(head: RequestHead) -> None:
    posted = LegRule(leg=9, paths=frozenset({"/oauth/callback"}), state=Secret("é"), form_post=True)
    attached = LegRule(leg=10, paths=frozenset({"/oauth/callback"}), state=None, follow_up="/index.html")
    decide(head, PORT, [*RULES, posted, attached])


@given(
    st.lists(
        st.sampled_from(["/", "//", "\\", "http:", "https:", "127.0.0.1:3128", "evil.example", "@", "?", "#",
        "x", "\t", " ", "é", ".."]),
        max_size=8,
    ).map("".join)
)  # fmt: skip
def test_a_follow_up_stays_on_this_port_for_another_parser_too(location: str) -> None:
    target = same_origin_target(location, PORT)
    if target is None:
        return
    # What a browser makes of it: backslashes before the query are slashes.
    before, mark, after = location.partition("?")
    parts = urlsplit(before.replace("\\", "/") + mark + after)
    assert (parts.scheme, parts.netloc) in {("", ""), ("http", "127.0.0.1:3128")}
    assert target.startswith("/")
    assert not target.startswith(("//", "/\\"))
