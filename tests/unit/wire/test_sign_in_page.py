"""What the URLs of unknown CLIs say of their sign-in."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest

from kirotunnel.errors import PortNotPermittedError, RedirectNotLoopbackError, UrlHostPrivateError, UrlRefusedError
from kirotunnel.redaction import Secret
from kirotunnel.wire.redirect import RedirectUri, UrlPolicy
from kirotunnel.wire.sign_in_page import SignInPage, looks_like_sign_in, parse_sign_in_page

HERE = "http://localhost:8976/callback"
RELATIVE = f"/authorize?{urlencode({'redirect_uri': HERE, 'state': 's-1'})}"
BACK = RedirectUri("localhost", 8976, "/callback")


def page(url: str) -> SignInPage:
    return parse_sign_in_page(url, UrlPolicy(known_hosts=("idp.example",)))


def authorize(**parameters: str) -> str:
    return f"https://idp.example/authorize?{urlencode(parameters)}"


@pytest.mark.parametrize(
    "url",
    [
        authorize(redirect_uri=HERE, state="s-1"),
        authorize(redirect_url=HERE, state="s-1"),
        authorize(callback=HERE, state="s-1"),
        authorize(cli_return_to=HERE, state="s-1"),
        authorize(next=authorize(redirect_uri=HERE, state="s-1")),
        f"https://idp.example/login?continue={quote(RELATIVE, safe='')}",
        f"https://idp.example/#/cli?{urlencode({'redirect_uri': HERE, 'state': 's-1'})}",
    ],
)
def test_the_return_address_is_found_whatever_it_is_called(url: str) -> None:
    found = page(url)
    assert (found.redirect, found.state) == (BACK, Secret("s-1"))
    assert looks_like_sign_in(url)


@pytest.mark.parametrize(
    ("more", "form_post", "fragment"),
    [
        ({"response_type": "code"}, False, False),
        ({"response_type": "code", "response_mode": "form_post"}, True, False),
        ({"response_type": "code", "response_mode": "form_post.jwt"}, True, False),
        ({"response_type": "code", "response_mode": "fragment"}, False, True),
        ({"response_type": "token"}, False, True),
        ({"response_type": "code id_token"}, False, True),
        ({"response_type": "id_token", "response_mode": "form_post"}, True, False),
        ({}, False, True),
    ],
)
def test_how_the_answer_comes(more: dict[str, str], form_post: bool, fragment: bool) -> None:
    found = page(authorize(redirect_uri=HERE, state="s-1", **more))
    assert (found.form_post, found.fragment) == (form_post, fragment)


@pytest.mark.parametrize(
    "url",
    [
        "https://idp.example/device",
        "https://idp.example/?redirect_uri=urn:ietf:wg:oauth:2.0:oob",
        authorize(redirect_uri="https://console.example/code", state="s"),
        authorize(redirect_uri="https://console.example/code", fallback=HERE),
    ],
)
def test_a_page_may_say_nothing_of_where_it_comes_back(url: str) -> None:
    assert page(url).redirect is None
    assert not looks_like_sign_in(url)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://IDP.example/x?callback=http://localhost:1234/", "https://idp.example"),
        ("https://idp.example:443/x", "https://idp.example"),
        ("https://idp.example:8443/x", "https://idp.example:8443"),
    ],
)
def test_the_origin_of_a_page_is_as_a_browser_says_it(url: str, origin: str) -> None:
    assert page(url).origin == origin
    assert not page(url).by_oauth


def test_without_a_state_there_is_none() -> None:
    assert page(authorize(redirect_uri=HERE)).state is None
    assert page(authorize(redirect_uri=HERE, state="")).state is None


@pytest.mark.parametrize(
    ("url", "error"),
    [
        (f"{authorize(redirect_uri=HERE, state='a')}&state=b", RedirectNotLoopbackError),
        (f"{authorize(redirect_uri=HERE)}&redirect_uri=https://evil.example", RedirectNotLoopbackError),
        (authorize(callback=HERE, back="http://localhost:1234/"), RedirectNotLoopbackError),
        (authorize(redirect_uri="https://localhost:8976/"), RedirectNotLoopbackError),
        (authorize(redirect_uri="http://localhost/"), PortNotPermittedError),
        (authorize(redirect_uri="http://localhost:80/"), PortNotPermittedError),
        ("http://localhost/", PortNotPermittedError),
        ("http://127.0.0.1:22/", PortNotPermittedError),
        ("https://localhost:8976/", RedirectNotLoopbackError),
        ("http://x@localhost:8976/", UrlRefusedError),
        ("http://localhost:8976/\n", UrlRefusedError),
        ("http://localhost.:8976/", UrlHostPrivateError),
        ("https://192.168.1.1/", UrlHostPrivateError),
        ("file:///etc/passwd", UrlRefusedError),
        ("javascript:alert(1)", UrlRefusedError),
        ("", UrlRefusedError),
    ],
)
def test_what_is_not_to_be_opened(url: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        page(url)


def test_a_page_of_its_own_listener_is_known_to_the_letter() -> None:
    found = page("http://127.0.0.1:53682/auth?state=s-1#x")
    assert found.checked is None
    assert found.redirect == RedirectUri("127.0.0.1", 53682, "/auth")
    assert (found.start, found.state) == (Secret("/auth?state=s-1"), Secret("s-1"))
    assert page("http://[::1]:8400").start == Secret("/")


@pytest.mark.parametrize(
    ("url", "sign_in"),
    [
        ("http://127.0.0.1:53682/auth?state=s-1", True),
        ("http://localhost:8400/login", True),
        ("http://localhost:8400/?state=x", True),
        ("http://localhost:3000/", False),
        ("http://localhost:3000/?token=x", False),
        ("https://localhost:8400/login", False),
        ("http://[::1", False),
    ],
)
def test_of_its_own_pages_only_those_of_a_sign_in_are_opened_when_printed(url: str, sign_in: bool) -> None:
    assert looks_like_sign_in(url) is sign_in


def test_nothing_of_a_page_is_shown() -> None:
    assert "s-1" not in repr(page(authorize(redirect_uri=HERE, state="s-1")))
    assert "s-1" not in repr(page("http://127.0.0.1:53682/auth?state=s-1"))
