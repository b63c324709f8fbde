"""What else than one callback reaches a command's listener, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import Decision, Forward, LegRule, Pass, Preflight, Refuse, RequestHead, Widening, decide

PORT = 8976
NAVIGATION = (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", "cross-site"))
SCRIPT = (("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"), ("sec-fetch-site", "cross-site"), ("origin", "null"))
STRANGER = (*SCRIPT[:-1], ("origin", "https://evil.example"))
PICTURE = (("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image"), ("sec-fetch-site", "cross-site"))
AHEAD = (*NAVIGATION, ("sec-purpose", "prefetch"))
FORM = ("content-type", "application/x-www-form-urlencoded")


def rule(
    state: str | None = "right", *, paths: tuple[str, ...] = ("/callback",), post: bool = True, **wider: object
) -> LegRule:
    widening = Widening(**wider)
    secret = None if state is None else Secret(state)
    return LegRule(leg=1, paths=frozenset(paths), state=secret, form_post=post, wider=widening)


def ask(rule: LegRule, target: str, *headers: tuple[str, str], method: str = "GET", body: bytes = b"") -> Decision:
    head = RequestHead.of(method, target, (("host", f"localhost:{PORT}"), *headers), body)
    return decide(head, PORT, [rule])


@pytest.mark.parametrize("headers", [(), NAVIGATION])
def test_the_page_with_which_it_begins_passes_to_the_letter_only(headers: tuple[tuple[str, str], ...]) -> None:
    begins = rule(paths=(), start=Secret("/auth?state=right"))
    assert isinstance(ask(begins, "/auth?state=right", *headers), Pass)
    for other in ("/auth", "/auth?state=wrong", "/auth?state=right&x=1", "/", "/favicon.ico"):
        assert isinstance(ask(begins, other, *headers), Refuse), other


@pytest.mark.parametrize("headers", [PICTURE, SCRIPT, AHEAD])
def test_the_page_with_which_it_begins_is_nothing_to_embed_or_fetch(headers: tuple[tuple[str, str], ...]) -> None:
    assert isinstance(ask(rule(paths=(), start=Secret("/auth")), "/auth", *headers), Refuse)


def test_an_answer_in_the_fragment_comes_as_the_bare_path_and_then_by_a_script() -> None:
    before = rule(fragment=True)
    assert isinstance(ask(before, "/callback", *NAVIGATION), Pass)
    assert isinstance(ask(before, "/token?access_token=t&state=right", *SCRIPT), Refuse)  # no page is shown yet
    after = rule(fragment=True, shown=True)
    assert isinstance(ask(after, "/token?access_token=t&state=right", *SCRIPT), Forward)
    assert isinstance(ask(after, "/token", FORM, *SCRIPT, method="POST", body=b"{}"), Forward)
    assert isinstance(ask(after, "/token", *SCRIPT, method="OPTIONS"), Preflight)


@pytest.mark.parametrize(
    ("target", "headers", "method"),
    [
        ("/token?access_token=t&state=wrong", SCRIPT, "GET"),
        ("/token?access_token=t", STRANGER, "GET"),
        ("/token?access_token=t", PICTURE, "GET"),
        ("/token?access_token=t", AHEAD, "GET"),
        ("/token?state=right&state=wrong", STRANGER, "GET"),
        ("/favicon.ico", (), "GET"),
        ("/token", STRANGER, "OPTIONS"),
        ("/token", SCRIPT, "PUT"),
    ],
)
def test_strays_do_not_pass_while_a_page_is_shown(
    target: str, headers: tuple[tuple[str, str], ...], method: str
) -> None:
    assert isinstance(ask(rule(fragment=True, shown=True), target, *headers, method=method), Refuse)


@pytest.mark.parametrize(
    ("target", "method", "body"),
    [
        ("/callback?token=t", "GET", b""),
        ("/callback?key=k&user=ada", "GET", b""),
        ("/callback", "POST", b"SAMLResponse=x"),
    ],
)
def test_a_login_of_its_own_making_has_any_names_and_no_state(target: str, method: str, body: bytes) -> None:
    own = rule(None, fragment=True)
    assert isinstance(ask(own, target, FORM, *NAVIGATION, method=method, body=body), Forward | Pass)
    for headers in (PICTURE, STRANGER, AHEAD):
        assert isinstance(ask(own, target, FORM, *headers, method=method, body=body), Refuse)
    assert isinstance(ask(own, target.replace("/callback", "/other"), *NAVIGATION, method=method), Refuse)


SITE = (*SCRIPT[:-1], ("origin", "https://app.acme.example"))
OTHERS = (
    "https://evil.example", "http://app.acme.example", "https://app.acme.example:8443", "https://acme.example",
    "https://app.acme.example.evil.example", "null", "https://console.acme.example@evil.example",
)  # fmt: skip


@pytest.mark.parametrize(
    "wider", [{"origins": frozenset({"https://app.acme.example"})}, {"fetch_hosts": ("app.*.example",)}]
)
def test_the_sign_in_pages_own_script_may_send_the_answer_and_no_other(wider: dict[str, Any]) -> None:
    fetched = rule(None, **wider)
    assert isinstance(ask(fetched, "/success", *SITE, method="OPTIONS"), Preflight)
    assert isinstance(ask(fetched, "/success", *SITE, method="POST", body=b'{"api_key": "k"}'), Forward)
    assert isinstance(ask(fetched, "/done?token=t", *SITE), Forward)
    assert isinstance(ask(fetched, "/status", *SITE), Pass)
    assert isinstance(ask(fetched, "/favicon.ico", *SITE), Refuse)
    assert isinstance(ask(fetched, "/success", *SITE, method="PUT"), Refuse)
    assert isinstance(ask(fetched, "/success", *SITE, ("origin", "https://evil.example"), method="POST"), Refuse)
    for other in OTHERS:
        headers = (*SCRIPT[:-1], ("origin", other))
        for method in ("OPTIONS", "POST", "GET"):
            assert isinstance(ask(fetched, "/success?token=t", *headers, method=method), Refuse), other


def test_with_a_state_the_sign_in_pages_script_must_not_bring_another() -> None:
    fetched = rule(origins=frozenset({"https://app.acme.example"}))
    for target, decision in (("/x?token=t&state=right", Forward), ("/x?token=t&state=wrong", Refuse)):
        assert isinstance(ask(fetched, target, *SITE), decision)


def test_without_a_fragment_the_bare_path_is_no_callback() -> None:
    assert isinstance(ask(rule(), "/callback", *NAVIGATION), Refuse)
    assert isinstance(ask(rule(fragment=True), "/", *NAVIGATION), Refuse)


def test_where_no_url_named_the_port_whatever_a_tab_goes_to_passes() -> None:
    listens = rule(None, paths=(), any_page=True)
    assert isinstance(ask(listens, "/", *NAVIGATION), Pass)
    assert isinstance(ask(listens, "/cb?token=t", *NAVIGATION), Forward)
    assert isinstance(ask(listens, "/cb?code=t", *NAVIGATION), Forward)
    assert isinstance(ask(listens, "/cb", FORM, *NAVIGATION, method="POST", body=b"token=t"), Forward)
    for target, headers in (("/favicon.ico", ()), ("/cb?code=t", AHEAD), ("/", PICTURE), ("/", STRANGER), ("//x", ())):
        assert isinstance(ask(listens, target, *headers), Refuse), target


def test_another_host_is_refused_whatever_the_widening() -> None:
    head = RequestHead.of("GET", "/", (("host", f"evil.example:{PORT}"),))
    assert decide(head, PORT, [rule(None, paths=(), any_page=True)]) == Refuse(403, "host")


def test_a_leg_with_its_state_goes_before_one_that_takes_anything() -> None:
    known, anything = rule(), rule(None, paths=(), any_page=True)
    head = RequestHead.of("GET", "/callback?code=c&state=right", (("host", f"localhost:{PORT}"),))
    decision = decide(head, PORT, [anything, known])
    assert isinstance(decision, Forward)
    assert decision.rule is known


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/callback", b"code=1&state=wrong"),
        ("/elsewhere", b"code=1&st%61te=wrong"),
        ("/callback", b"state=right&state=wrong"),
        ("/callback?state=wrong", b"state=right"),
        ("/elsewhere?state=right&state=wrong", b""),
    ],
)
@pytest.mark.parametrize("wider", ["shown", "any_page"])
def test_no_widening_takes_an_answer_with_the_state_of_another(wider: str, target: str, body: bytes) -> None:
    widened = rule(**{wider: True})
    assert isinstance(ask(widened, target, FORM, *NAVIGATION, method="POST", body=body), Refuse)
    assert isinstance(ask(widened, "/callback", FORM, *NAVIGATION, method="POST", body=b"code=1&state=right"), Forward)
