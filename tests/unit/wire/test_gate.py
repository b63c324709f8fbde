"""Which request on the callback port reaches the remote: the gate's table."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import (
    Decision,
    FollowUp,
    Forward,
    LegRule,
    Refuse,
    RequestHead,
    asked_as_page,
    decide,
    same_origin_target,
)

PORT: Final = 3128
STATE: Final = "uXk2Qp3xV9"
PATHS: Final = frozenset({"/oauth/callback", "/signin/callback"})
LEG: Final = LegRule(leg=1, paths=PATHS, state=Secret(STATE))
POSTED: Final = LegRule(leg=1, paths=PATHS, state=Secret(STATE), form_post=True)
ATTACHED: Final = LegRule(leg=1, paths=PATHS, state=None)
HOST: Final = f"localhost:{PORT}"
FORM: Final = "application/x-www-form-urlencoded"

GRANTED: Final = f"/oauth/callback?code=s3cr3t&state={STATE}"
MALFORMED: Final = Refuse(400, "malformed")
WRONG_STATE: Final = Refuse(403, "state")
WRONG_HOST: Final = Refuse(403, "host")
WRONG_PATH: Final = Refuse(404, "path")
WRONG_METHOD: Final = Refuse(405, "method")


def get(target: str, *hosts: str) -> RequestHead:
    return RequestHead(method="GET", target=target, hosts=hosts or (HOST,))


def post(body: str, target: str = "/oauth/callback", content_type: str = FORM) -> RequestHead:
    return RequestHead(method="POST", target=target, hosts=(HOST,), content_type=content_type, body=body.encode())


@pytest.mark.parametrize(
    ("target", "decision"),
    [
        pytest.param(GRANTED, Forward(LEG, "granted"), id="the callback"),
        pytest.param(
            f"/signin/callback?login_option=awsidc&state={STATE}", Forward(LEG, "granted"), id="the other path"
        ),
        pytest.param(f"/oauth/callback?state={STATE}", Forward(LEG, "granted"), id="nothing but the state"),
        pytest.param(f"/oauth/callback?error=access_denied&state={STATE}", Forward(LEG, "denied"), id="a denial"),
        pytest.param(f"/oauth/callback?error=&state={STATE}", Forward(LEG, "denied"), id="an empty error"),
        pytest.param("/oauth/callback?state=%75Xk2Qp3xV9", Forward(LEG, "granted"), id="percent-encoded state"),
        pytest.param(f"/oauth/callback?st%61te={STATE}", Forward(LEG, "granted"), id="percent-encoded name"),
        pytest.param(r"/oauth/callback?a=\&state=" + STATE, Forward(LEG, "granted"), id="backslash in the query"),
        pytest.param("/oauth/callback", WRONG_STATE, id="no query"),
        pytest.param("/oauth/callback?code=s3cr3t", WRONG_STATE, id="no state"),
        pytest.param("/oauth/callback?code=s3cr3t&state=", WRONG_STATE, id="empty state"),
        pytest.param("/oauth/callback?code=s3cr3t&state", WRONG_STATE, id="state without a value"),
        pytest.param(f"/oauth/callback?state={STATE[:-1]}", WRONG_STATE, id="a prefix of the state"),
        pytest.param(f"/oauth/callback?state={STATE}x", WRONG_STATE, id="more than the state"),
        pytest.param(f"/oauth/callback?state={STATE.lower()}", WRONG_STATE, id="the state in another case"),
        pytest.param(f"/oauth/callback?state={STATE}%00", WRONG_STATE, id="the state and NUL"),
        pytest.param(f"/oauth/callback?state=+{STATE}", WRONG_STATE, id="the state and a space"),
        pytest.param(f"/oauth/callback?State={STATE}", WRONG_STATE, id="the name in another case"),
        pytest.param(f"/oauth/callback?x=1;state={STATE}", WRONG_STATE, id="a semicolon separates nothing"),
        pytest.param(f"/oauth/callback?state=%25{STATE}", WRONG_STATE, id="encoded twice"),
        pytest.param("/oauth/callback?state=%FF%FE", WRONG_STATE, id="no UTF-8"),
        pytest.param(f"/oauth/callback?state={STATE}&state={STATE}", MALFORMED, id="state twice, both right"),
        pytest.param(f"/oauth/callback?state={STATE}&state=x", MALFORMED, id="state twice, the first right"),
        pytest.param(f"/oauth/callback?state=x&st%61te={STATE}", MALFORMED, id="state twice, once encoded"),
        pytest.param(f"/oauth/callback?code=a&code=b&state={STATE}", MALFORMED, id="code twice"),
        pytest.param("/oauth/callback?" + "&".join(f"a{i}=1" for i in range(65)), MALFORMED, id="too many parameters"),
        pytest.param(f"/oauth/callback?state={STATE}#x", MALFORMED, id="fragment"),
        pytest.param(f"/oauth/callback?state={STATE}\n", MALFORMED, id="line break"),
        pytest.param(f"/oauth/\ncallback?state={STATE}", MALFORMED, id="line break in the path"),
        pytest.param(f"/oauth/callback?a b&state={STATE}", MALFORMED, id="space"),
        pytest.param(f"/oauth/callback?é&state={STATE}", MALFORMED, id="no ASCII"),
        pytest.param(f"/oauth/callback/?state={STATE}", WRONG_PATH, id="final slash"),
        pytest.param(f"/oauth//callback?state={STATE}", WRONG_PATH, id="two slashes within"),
        pytest.param(f"/oauth/./callback?state={STATE}", WRONG_PATH, id="dot"),
        pytest.param(f"/x/../oauth/callback?state={STATE}", WRONG_PATH, id="dots"),
        pytest.param(f"/oauth/callbac%6B?state={STATE}", WRONG_PATH, id="encoded path"),
        pytest.param(f"/OAuth/callback?state={STATE}", WRONG_PATH, id="path in another case"),
        pytest.param(f"/oauth/callback;x?state={STATE}", WRONG_PATH, id="path parameter"),
        pytest.param("/", WRONG_PATH, id="root"),
        pytest.param("/favicon.ico", WRONG_PATH, id="favicon"),
        pytest.param("/index.html", WRONG_PATH, id="a follow-up before there is one"),
        pytest.param(f"/?next=/oauth/callback&state={STATE}", WRONG_PATH, id="the path in the query"),
        pytest.param("", MALFORMED, id="empty target"),
        pytest.param("*", MALFORMED, id="asterisk form"),
        pytest.param("oauth/callback", MALFORMED, id="no slash"),
        pytest.param(HOST, MALFORMED, id="authority form"),
        pytest.param(f"http://{HOST}{GRANTED}", MALFORMED, id="absolute form"),
        pytest.param(f"//{HOST}{GRANTED}", MALFORMED, id="two slashes before"),
        pytest.param(f"/\\{HOST}{GRANTED}", MALFORMED, id="slash and backslash before"),
    ],
)
def test_the_target_decides(target: str, decision: Decision) -> None:
    assert decide(get(target), PORT, [LEG]) == decision


@pytest.mark.parametrize(
    ("hosts", "decision"),
    [
        (("localhost:3128",), Forward(LEG, "granted")),
        (("127.0.0.1:3128",), Forward(LEG, "granted")),
        (("[::1]:3128",), Forward(LEG, "granted")),
        (("LocalHost:3128",), Forward(LEG, "granted")),
        (("localhost",), WRONG_HOST),
        (("localhost:80",), WRONG_HOST),
        (("localhost:31280",), WRONG_HOST),
        (("localhost:03128",), WRONG_HOST),
        (("localhost.:3128",), WRONG_HOST),
        (("::1:3128",), WRONG_HOST),
        (("127.1:3128",), WRONG_HOST),
        (("127.0.0.2:3128",), WRONG_HOST),
        (("rebound.example:3128",), WRONG_HOST),
        (("localhost.rebound.example:3128",), WRONG_HOST),
        (("x@localhost:3128",), WRONG_HOST),
        (("localhost:3128,localhost:3128",), WRONG_HOST),
        ((" localhost:3128",), WRONG_HOST),
        (("",), WRONG_HOST),
        ((), MALFORMED),
        (("localhost:3128", "localhost:3128"), MALFORMED),
        (("localhost:3128", "rebound.example"), MALFORMED),
    ],
)
def test_only_our_own_names_with_our_port_count(hosts: tuple[str, ...], decision: Decision) -> None:
    assert decide(replace(get(GRANTED), hosts=hosts), PORT, [LEG]) == decision


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "GETS", ""])
def test_only_get_passes_where_the_response_comes_in_the_query(method: str) -> None:
    assert decide(replace(get(GRANTED), method=method), PORT, [LEG]) == WRONG_METHOD


@pytest.mark.parametrize("method", ["HEAD", "PUT", "OPTIONS", "post"])
def test_no_third_method_passes_where_the_response_may_be_posted(method: str) -> None:
    assert decide(replace(post(f"code=a&state={STATE}"), method=method), PORT, [POSTED]) == WRONG_METHOD


@pytest.mark.parametrize(
    ("head", "decision"),
    [
        pytest.param(post(f"code=a&state={STATE}"), Forward(POSTED, "granted"), id="granted"),
        pytest.param(post(f"error=access_denied&state={STATE}"), Forward(POSTED, "denied"), id="denied"),
        pytest.param(
            post(f"code=a&state={STATE}", content_type=f"{FORM.title()}; charset=UTF-8"),
            Forward(POSTED, "granted"),
            id="with a charset",
        ),
        pytest.param(
            post(f"code=a&state={STATE}", "/oauth/callback?tenant=1"),
            Forward(POSTED, "granted"),
            id="a query of its own",
        ),
        pytest.param(get(GRANTED), Forward(POSTED, "granted"), id="an error response may still be a GET"),
        pytest.param(post("code=a&state=x"), WRONG_STATE, id="wrong state"),
        pytest.param(post(""), WRONG_STATE, id="empty body"),
        pytest.param(post("\ud7ff"), WRONG_STATE, id="not ASCII"),
        pytest.param(post("", f"/oauth/callback?state={STATE}"), MALFORMED, id="state in the query only"),
        pytest.param(post(f"state={STATE}", "/oauth/callback?state=x"), MALFORMED, id="another state in the query"),
        pytest.param(post(f"state={STATE}", "/oauth/callback?code=x"), MALFORMED, id="a code in the query"),
        pytest.param(post(f"state=x&state={STATE}"), MALFORMED, id="state twice"),
        pytest.param(post(f"state={STATE}", content_type="text/plain"), MALFORMED, id="plain text"),
        pytest.param(post(f"state={STATE}", content_type="multipart/form-data"), MALFORMED, id="multipart"),
        pytest.param(post(f"state={STATE}", content_type=""), MALFORMED, id="no content type"),
    ],
)
def test_a_posted_response_is_read_from_its_body(head: RequestHead, decision: Decision) -> None:
    assert decide(head, PORT, [POSTED]) == decision


@pytest.mark.parametrize(
    ("headers", "as_page"),
    [
        ([], True),
        ([("sec-fetch-mode", "navigate")], True),
        ([("sec-fetch-mode", "Navigate ")], True),
        ([("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")], True),
        ([("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")], True),
        ([("sec-fetch-user", "?1"), ("purpose", "")], True),
        ([("sec-fetch-mode", "no-cors")], False),
        ([("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")], False),
        ([("sec-fetch-mode", "websocket")], False),
        ([("sec-fetch-mode", "")], False),
        ([("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")], False),
        ([("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "object")], False),
        ([("sec-fetch-dest", "image")], False),
        ([("sec-fetch-mode", "navigate"), ("sec-fetch-mode", "cors")], False),
        ([("sec-fetch-dest", "document"), ("sec-fetch-dest", "iframe")], False),
        ([("sec-fetch-mode", "navigate"), ("sec-purpose", "prefetch")], False),
        ([("sec-purpose", "prefetch;prerender")], False),
        ([("sec-purpose", "Prefetch; anonymous-client-ip")], False),
        ([("purpose", "prefetch")], False),
        ([("x-moz", "prefetch")], False),
    ],
)
def test_only_the_page_of_a_tab_is_a_callback(headers: list[tuple[str, str]], as_page: bool) -> None:
    assert asked_as_page(headers) is as_page
    head = RequestHead.of("GET", GRANTED, [("host", HOST), *headers])
    assert decide(head, PORT, [LEG]) == (Forward(LEG, "granted") if as_page else WRONG_METHOD)
    followed = replace(LEG, follow_up="/index.html")
    head = RequestHead.of("GET", "/index.html", [("host", HOST), *headers])
    assert decide(head, PORT, [followed]) == (FollowUp(followed) if as_page else WRONG_METHOD)


def test_what_is_wrong_otherwise_is_told_before_the_way_of_asking() -> None:
    image = [("host", HOST), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")]
    assert decide(RequestHead.of("GET", "/favicon.ico", image), PORT, [LEG]) == WRONG_PATH
    assert decide(RequestHead.of("GET", "/oauth/callback?state=x", image), PORT, [LEG]) == WRONG_STATE


def test_the_follow_up_page_passes_once_the_remote_has_named_it() -> None:
    rule = replace(LEG, follow_up="/index.html?error=access_denied")
    assert decide(get("/index.html?error=access_denied"), PORT, [rule]) == FollowUp(rule)
    assert decide(get("/index.html"), PORT, [rule]) == WRONG_PATH
    assert decide(replace(get("/index.html?error=access_denied"), method="HEAD"), PORT, [rule]) == WRONG_PATH
    assert decide(get("/index.html?error=access_denied", "evil.example"), PORT, [rule]) == WRONG_HOST
    assert decide(get(GRANTED), PORT, [rule]) == Forward(rule, "granted")


def test_several_logins_on_one_port_are_told_apart_by_their_state() -> None:
    rules = [replace(LEG, leg=leg, state=Secret(f"state-{leg}")) for leg in range(1, 11)]
    for rule in rules:
        assert decide(get(f"/oauth/callback?code=x&state=state-{rule.leg}"), PORT, rules) == Forward(rule, "granted")
    assert decide(get("/oauth/callback?code=x&state=state-11"), PORT, rules) == WRONG_STATE


def test_several_logins_on_one_port_keep_their_own_paths_and_methods() -> None:
    sso = LegRule(leg=1, paths=frozenset({"/oauth/callback"}), state=Secret("one"))
    other = LegRule(leg=1, paths=frozenset({"/cb"}), state=Secret("two"), form_post=True)
    assert decide(get("/cb?state=one"), PORT, [sso, other]) == WRONG_STATE
    assert decide(post("state=two", "/oauth/callback"), PORT, [sso, other]) == WRONG_METHOD
    assert decide(post("state=two", "/cb"), PORT, [sso, other]) == Forward(other, "granted")


@pytest.mark.parametrize(
    ("target", "decision"),
    [
        ("/oauth/callback?code=a&state=whatever", Forward(ATTACHED, "granted")),
        ("/oauth/callback?code=a", Forward(ATTACHED, "granted")),
        ("/signin/callback?login_option=builderid", Forward(ATTACHED, "granted")),
        ("/oauth/callback?error=access_denied", Forward(ATTACHED, "denied")),
        ("/oauth/callback", WRONG_STATE),
        ("/oauth/callback?state=whatever", WRONG_STATE),
        ("/oauth/callback?codes=a", WRONG_STATE),
        ("/favicon.ico", WRONG_PATH),
    ],
)
def test_an_attached_login_takes_any_response_but_nothing_else(target: str, decision: Decision) -> None:
    assert decide(get(target), PORT, [ATTACHED]) == decision


def test_an_attached_login_does_not_take_the_response_of_another() -> None:
    attached = replace(ATTACHED, leg=2)
    for rules in ([attached, LEG], [LEG, attached]):
        assert decide(get(GRANTED), PORT, rules) == Forward(LEG, "granted")
        assert decide(get("/oauth/callback?code=a&state=other"), PORT, rules) == Forward(attached, "granted")


def test_without_rules_nothing_passes() -> None:
    assert decide(get(GRANTED), PORT, []) == WRONG_PATH


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("http://127.0.0.1:3128/index.html", "/index.html"),
        ("http://localhost:3128/index.html?error=access_denied", "/index.html?error=access_denied"),
        ("HTTP://LOCALHOST:3128/Index.html", "/Index.html"),
        ("http://[::1]:3128/", "/"),
        ("/index.html", "/index.html"),
        ("/index.html?a=/b", "/index.html?a=/b"),
        ("/index.html#top", "/index.html"),
        ("", None),
        ("#top", None),
        ("index.html", None),
        ("?x=1", None),
        ("https://127.0.0.1:3128/index.html", None),
        ("http://127.0.0.1:3129/index.html", None),
        ("http://127.0.0.1/index.html", None),
        ("http://127.0.0.1:31280/index.html", None),
        ("http://127.0.0.1:3128.evil.example/", None),
        ("http://127.0.0.1:3128@evil.example/", None),
        ("http://127.0.0.1:3128\\@evil.example/", None),
        ("http://127.0.0.1:3128//evil.example/", None),
        ("//127.0.0.1:3128/index.html", None),
        ("//evil.example/x", None),
        ("///evil.example/x", None),
        ("/\\evil.example/x", None),
        ("\\\\evil.example/x", None),
        ("/\t/evil.example/x", None),
        ("/x\\..\\..\\y", None),
        ("https:/evil.example/x", None),
        ("https:evil.example", None),
        ("http:/evil.example/x", None),
        ("javascript:/alert(1)", None),
        ("https://app.kiro.dev/signin", None),
        ("http://[::1/", None),
        ("/a b", None),
        ("/é", None),
        ("/\r\nSet-Cookie: a=b", None),
    ],
)
def test_only_a_location_that_every_browser_finds_on_this_port_is_a_follow_up(
    location: str, target: str | None
) -> None:
    assert same_origin_target(location, PORT) == target
