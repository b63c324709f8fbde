"""What the URL that an unknown CLI opens or prints says of its sign-in: where the answer comes, with which state, how.

kiro-cli's authorize URLs are known to the letter (`wire.redirect`). Here is the general case: OAuth requests with every
parameter optional, return addresses under names of their own (`redirect_url`, `callback`, `return_to`…), authorize URLs
inside other URLs (`continue=`), and pages of the CLI's own listener (rclone's `http://127.0.0.1:53682/auth?state=…`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from kirotunnel.errors import PortNotPermittedError, RedirectNotLoopbackError
from kirotunnel.redaction import Secret
from kirotunnel.wire.redirect import (
    LOOPBACK_HOSTS,
    MIN_PORT,
    CheckedUrl,
    RedirectUri,
    UrlPolicy,
    check_url,
    parse_redirect_uri,
    split_url,
)

_MAX_DEPTH: Final = 3
"""URLs within URLs: a login page that continues to the authorize page that comes back here."""
_LOOPBACK: Final = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?:[:/?#]|$)", re.IGNORECASE)
_SIGN_IN_WORDS: Final = re.compile(r"auth|log-?in|sign-?in|sso", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInPage:
    """One page that a CLI wants opened, judged."""

    url: Secret[str]
    checked: CheckedUrl | None
    """None for a page of the CLI's own listener, which needs nobody's judgement but the gate's."""
    redirect: RedirectUri | None
    """Where the answer comes, as far as the URL says; for a page of the CLI's own listener, that page."""
    state: Secret[str] | None = None
    form_post: bool = False
    """OAuth 2.0 Form Post Response Mode: the answer is a POST."""
    fragment: bool = False
    """The answer is, or may be, in the fragment: the request that the browser sends has nothing of it."""
    origin: str = ""
    """Of the page (RFC 6454 §6.2), as a browser says it; empty for a page of the CLI's own listener."""
    by_oauth: bool = True
    """Whether it is an OAuth request (RFC 6749 §4.1.1); any other may bring its answer in any way."""
    start: Secret[str] | None = None
    """Path and query of a page of the CLI's own listener; None for any other page."""


def parse_sign_in_page(text: str, policy: UrlPolicy) -> SignInPage:
    """Judge a URL that a CLI wants opened, and read from it where its answer will come.

    Raises what `check_url` raises, RedirectNotLoopbackError where the answer's place or state is ambiguous,
    PortNotPermittedError for a privileged port.
    """
    if _LOOPBACK.match(text):
        return _own_page(text)
    checked = check_url(text, policy)
    parameters = _request_parameters(text)
    if parameters is None:
        return SignInPage(url=checked.url, checked=checked, redirect=None, origin=_origin(text), by_oauth=False)
    redirect = parse_redirect_uri(_return_address(parameters) or "")
    states = parameters.get("state", [])
    if len(states) > 1:
        raise RedirectNotLoopbackError(
            f"the URL on {checked.authority} that the remote asked to open has several state"
        )
    state = Secret(states[0]) if states and states[0] else None
    mode = parameters.get("response_mode", [""])[0]
    return SignInPage(
        url=checked.url,
        checked=checked,
        redirect=redirect,
        state=state,
        form_post=mode.startswith("form_post"),
        fragment=mode.startswith("fragment") or (not mode and _answers_in_fragment(parameters)),
        origin=_origin(text),
        by_oauth="response_type" in parameters,
    )


def looks_like_sign_in(text: str) -> bool:
    """Whether a URL that was only printed is one to open: it comes back here, or is a sign-in page of the CLI's own."""
    try:
        if not _LOOPBACK.match(text):
            return _request_parameters(text) is not None
        parts = urlsplit(text)
        return parts.scheme.lower() == "http" and (
            "state" in parse_qs(parts.query) or _SIGN_IN_WORDS.search(parts.path) is not None
        )
    except (ValueError, RedirectNotLoopbackError):
        return False  # it was only printed: what is broken or comes back to several places is nobody's to open


def _own_page(text: str) -> SignInPage:
    parts = split_url(text)
    port = parts.port or 80
    if parts.scheme != "http" or parts.hostname not in LOOPBACK_HOSTS:
        raise RedirectNotLoopbackError("the page of its own that the remote asked to open is not one over http")
    if port < MIN_PORT:
        raise PortNotPermittedError(f"the page that the remote asked to open is on local port {port}")
    path = parts.path or "/"
    states = parse_qs(parts.query).get("state", [])
    return SignInPage(
        url=Secret(text),
        checked=None,
        redirect=RedirectUri(parts.hostname, port, path),
        state=Secret(states[0]) if len(states) == 1 else None,
        start=Secret(f"{path}?{parts.query}" if parts.query else path),
    )


def _origin(text: str) -> str:
    parts = split_url(text)
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if parts.port in {None, usual} else f":{parts.port}")


def _answers_in_fragment(parameters: dict[str, list[str]]) -> bool:
    """Without a response mode: a token in the front channel comes in the fragment (OAuth 2.0 Multiple Response Types
    §3); a request that is none of OAuth's may do anything."""
    kinds = parameters.get("response_type")
    return kinds is None or any(kind in {"token", "id_token"} for kind in kinds[0].split())


def _request_parameters(text: str) -> dict[str, list[str]] | None:
    """The parameters among which the return address is; None where the URL has none that leads to this machine."""
    return next(_requests(text, _MAX_DEPTH), None)


def _requests(text: str, depth: int) -> Iterator[dict[str, list[str]]]:
    try:
        parts = urlsplit(text)
        parameters = parse_qs(parts.query, keep_blank_values=True, max_num_fields=200)
        # Single-page sign-in sites take their parameters behind the `#`.
        behind = parse_qs(parts.fragment.partition("?")[2], keep_blank_values=True, max_num_fields=200)
    except ValueError:
        return
    for found in (parameters, behind):
        if _return_address(found) is not None:
            yield found
        if depth:
            for values in found.values():
                for value in values:
                    if "://" in value or value.startswith("/"):
                        yield from _requests(value, depth - 1)


def _return_address(parameters: dict[str, list[str]]) -> str | None:
    """The value that leads to this machine. Raises RedirectNotLoopbackError where there are several that differ."""
    if proper := parameters.get("redirect_uri"):
        found = {value for value in proper if _LOOPBACK.match(value)}
        if found and len(proper) > 1:
            raise RedirectNotLoopbackError("the URL that the remote asked to open has several redirect_uri")
    else:
        found = {value for values in parameters.values() for value in values if _LOOPBACK.match(value)}
    if len(found) > 1:
        raise RedirectNotLoopbackError("the URL that the remote asked to open comes back to several places")
    return next(iter(found), None)
