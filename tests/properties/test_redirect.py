"""Whatever a remote wants opened: an error of ours, or an address that an independent parser finds harmless."""

from __future__ import annotations

import ipaddress
from typing import Final

import httpx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kirotunnel.errors import KirotunnelError
from kirotunnel.profiles.profile import load_profile
from kirotunnel.wire.redirect import (
    TrustedHost,
    UrlPolicy,
    check_url,
    has_loopback_redirect,
    parse_authorization_url,
    parse_redirect_uri,
)

TRUSTED: Final = TrustedHost("idp.corp", 8443)
POLICY: Final = UrlPolicy(known_hosts=load_profile("kiro-cli").authorize_hosts, trusted=(TRUSTED,))

PIECES: Final = [
    "https", "http", "HTTPS", "file", "javascript", ":", "//", "/", "\\", "@", "?", "#", "[", "]", "%", "%2f",
    ".", "..",
    "app.kiro.dev", "idp.corp", ":8443", ":443", ":0", ":99999", ":abc", "oidc.", "us-east-1", ".amazonaws.com",
    "localhost", "127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:10.0.0.1]", "[2600::1]",
    "evil.example",
    "redirect_uri=", "http%3A%2F%2Flocalhost%3A3128", "state=", "abc", "&", "=", " ", "\n", "\t", "\x00",
    "\x1b", "é", "。",
    "-", "_", "xn--", "signin", "{", "|", "}", "^", "`", '"', "<",
]  # fmt: skip
ADDRESSES: Final = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
LIKELY: Final = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["https", "http", "Https", "ftp"]),
    st.lists(st.sampled_from(PIECES), max_size=4).map("".join),
    st.sampled_from(["", ":443", ":8443", ":80", ":0"]),
    st.lists(st.sampled_from(["/", "?", *PIECES]), max_size=6).map("".join),
)


@settings(max_examples=800)
@given(st.one_of(ADDRESSES, LIKELY, st.text(), st.text(alphabet=st.characters(max_codepoint=0x7F))))
@example("https://[v1.okta.com]/")
@example("https://app.kiro.dev:0/")
@example("https://login.okta.com[2600::1]/")
def test_what_is_accepted_is_https_or_trusted_for_another_parser_too(text: str) -> None:
    try:
        check_url(text, POLICY)
    except KirotunnelError as exc:
        refusal = exc.message
    else:
        refusal = ""
    assert refusal.isprintable()
    if refusal:
        return
    checked = check_url(text, POLICY)
    assert text.isascii()
    assert text.isprintable()
    assert not set(text) & set(' \\"<>`^')
    other = httpx.URL(text)
    port = other.port or {"https": 443, "http": 80}[other.scheme]
    assert other.userinfo == b""
    assert (other.host.removesuffix("."), port) == (checked.host, checked.port) or ":" in checked.host
    if checked.standing == "trusted":
        assert TRUSTED.covers(checked.host, port)
        return
    assert other.scheme == "https"
    assert "." in checked.host or ":" in checked.host
    assert checked.host != "localhost"
    try:
        assert ipaddress.ip_address(checked.host).is_global
    except ValueError:
        assert not checked.host.rpartition(".")[2].isdecimal()
    if checked.standing == "known":
        assert port == 443
        assert checked.host.endswith(
            (".kiro.dev", ".amazonaws.com", ".signin.aws", ".awsapps.com", ".microsoftonline.com",
            ".microsoftonline.us",
             ".okta.com", ".oktapreview.com", ".okta-emea.com")
        )  # fmt: skip


@settings(max_examples=300)
@given(st.one_of(ADDRESSES, LIKELY, st.text()))
def test_reading_an_authorize_url_raises_nothing_but_our_own(text: str) -> None:
    has_loopback_redirect(text)
    try:
        url = parse_authorization_url(text, POLICY)
    except KirotunnelError:
        return
    assert url.redirect.host in {"localhost", "127.0.0.1", "::1"}
    assert 1024 <= url.redirect.port <= 65535
    assert url.state


@settings(max_examples=300)
@given(st.one_of(LIKELY, ADDRESSES, st.text().map("http://localhost:3128/{}".format)))
@example("http://local\nhost:3128")
def test_a_redirect_that_is_accepted_comes_to_this_machine_for_another_parser_too(text: str) -> None:
    try:
        redirect = parse_redirect_uri(text)
    except KirotunnelError:
        return
    other = httpx.URL(text)
    assert (other.scheme, other.host, other.port) == ("http", redirect.host, redirect.port)


@given(st.one_of(ADDRESSES, st.text()))
def test_a_trusted_host_is_a_host_or_an_error_of_ours(text: str) -> None:
    try:
        trusted = TrustedHost.parse(text)
    except KirotunnelError:
        return
    shown = f"[{trusted.host}]" if ":" in trusted.host else trusted.host
    url = f"https://{shown}" + ("" if trusted.port is None else f":{trusted.port}")
    assert check_url(url, UrlPolicy(trusted=(trusted,))).standing == "trusted"
