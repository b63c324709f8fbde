"""Which URL of a remote may be opened here, and where its callback will come: parsing and policy of authorize URLs.

The remote is not trusted: what it asks to open can be a page of its own, a page of our network, or no page at all
(CVE-2025-6514: an authorization endpoint passed to `open` ran programs). So a URL is parsed, judged and named before
anything is done with it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qs, urlsplit

from kirotunnel.errors import (
    PortNotPermittedError,
    RedirectNotLoopbackError,
    SettingsError,
    UrlHostPrivateError,
    UrlRefusedError,
)
from kirotunnel.redaction import Secret

MAX_URL: Final = 8192
"""Characters: the longest authorize URLs seen have two or three thousand."""
MIN_PORT: Final = 1024
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})

# RFC 3986's characters and the few more that browsers take as they are; no space, control, quote, backslash, non-ASCII.
_URL_CHARACTERS: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%{}|]+")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
# Host and port as all parsers read them alike: urlsplit would also take `[v1.name]`, empty labels, `name[::1]`.
_AUTHORITY: Final = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+)*\.?)(?::(?P<port>[0-9]{1,5}))?"
)
# Names that resolve inside a network only (RFC 6761, 6762, 8375, and what routers and VPNs use).
_PRIVATE_SUFFIXES: Final = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".intranet", ".corp", ".private")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
# WHATWG's URL parser reads a host whose last label is a number as an IPv4 address: 2130706433, 0x7f.1, 127.1.
_NUMERIC_LABEL: Final = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)")


@dataclass(frozen=True, slots=True)
class TrustedHost:
    """A host that the person allowed beforehand: any scheme of http and https, private or not."""

    host: str
    port: int | None = None
    """None allows every port."""

    @classmethod
    def parse(cls, text: str) -> TrustedHost:
        """`HOST`, `HOST:PORT`, `[v6addr]` or `[v6addr]:PORT`. Raises SettingsError for anything else."""
        problem = SettingsError(
            f"{text!r} is no host for --trust-url-host", "give a host name, or HOST:PORT, without https:// and path"
        )
        authority = text.strip()
        try:
            parts = urlsplit(f"//{authority}")
            host, port = parts.hostname, parts.port
        except ValueError as exc:
            raise problem from exc
        if not host or port == 0 or not _AUTHORITY.fullmatch(authority):
            raise problem
        return cls(_normal(host), port)

    def covers(self, host: str, port: int) -> bool:
        """Whether this entry allows that host at that port."""
        return host == self.host and self.port in {None, port}


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlPolicy:
    """Which hosts a CLI is known to use, and which the person trusts."""

    known_hosts: tuple[str, ...] = ()
    """Host patterns: a name; `*.name` for any name under it; `oidc.*.name` with the asterisk for one label."""
    trusted: tuple[TrustedHost, ...] = ()

    def trusting(self, host: str, port: int | None = None) -> UrlPolicy:
        """The same policy with one more trusted host."""
        return UrlPolicy(known_hosts=self.known_hosts, trusted=(*self.trusted, TrustedHost(host, port)))


Standing = Literal["trusted", "known", "unknown"]


@dataclass(frozen=True, slots=True)
class CheckedUrl:
    """A URL that may be opened, once the person agrees where its host is unknown."""

    url: Secret[str]
    host: str
    """Lower case, without the port; v6 addresses without brackets."""
    port: int
    standing: Standing

    @property
    def authority(self) -> str:
        """Host for a person to read, with the port where it is not https's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedirectUri:
    """Where the browser will come back to (RFC 6749 §3.1.2, RFC 8252 §7.3): a loopback host with a port."""

    host: str
    port: int
    path: str
    """Empty where the redirect URI names the origin only: then the paths of the CLI's profile count."""


@dataclass(frozen=True, slots=True)
class AuthorizationUrl:
    """An authorization request's URL (RFC 6749 §4.1.1), judged."""

    checked: CheckedUrl
    redirect: RedirectUri
    state: Secret[str]
    form_post: bool = False
    """OAuth 2.0 Form Post Response Mode: the callback is a POST."""


def check_url(text: str, policy: UrlPolicy) -> CheckedUrl:
    """Judge a URL that a remote wants opened.

    Raises UrlRefusedError for what must never be opened, UrlHostPrivateError for this machine and private networks.
    The answer's `standing` is `unknown` where only a person's yes allows it.
    """
    parts = split_url(text)
    host = _normal(parts.hostname or "")
    port = parts.port or (443 if parts.scheme == "https" else 80)  # port 0 was refused by then
    if any(entry.covers(host, port) for entry in policy.trusted):
        return CheckedUrl(Secret(text), host, port, "trusted")
    if is_private_host(host):
        raise UrlHostPrivateError(
            f"the remote asked to open a page on {host}, which is this machine or a private network"
        )
    if parts.scheme != "https":
        raise UrlRefusedError(f"the remote asked to open an http page on {host}; only https is opened")
    known = port == 443 and matches_host(host, policy.known_hosts)
    return CheckedUrl(Secret(text), host, port, "known" if known else "unknown")


def parse_authorization_url(text: str, policy: UrlPolicy) -> AuthorizationUrl:
    """Judge an authorize URL and read its redirect and state from it.

    Raises what `check_url` raises, RedirectNotLoopbackError where the callback would not come to this machine or could
    not be told from a stranger's, PortNotPermittedError for a privileged port.
    """
    checked = check_url(text, policy)
    parameters = parse_qs(urlsplit(text).query, keep_blank_values=True)
    redirect = parse_redirect_uri(_single(parameters, "redirect_uri", checked))
    state = _single(parameters, "state", checked)
    form_post = parameters.get("response_mode") == ["form_post"]
    return AuthorizationUrl(checked, redirect, Secret(state), form_post)


def has_loopback_redirect(text: str) -> bool:
    """Whether the URL is an authorization request with a redirect at all; no judgement."""
    try:
        return bool(parse_qs(urlsplit(text).query).get("redirect_uri"))
    except ValueError:
        return False


def parse_redirect_uri(text: str) -> RedirectUri:
    """`http://localhost|127.0.0.1|[::1]:PORT[/path]`. Raises RedirectNotLoopbackError or PortNotPermittedError."""
    unreadable = RedirectNotLoopbackError("the authorize URL's redirect_uri cannot be read")
    if not _URL_CHARACTERS.fullmatch(text):  # urlsplit takes line breaks and tabs out
        raise unreadable
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise unreadable from exc
    if parts.scheme != "http" or host not in LOOPBACK_HOSTS or "@" in parts.netloc:
        raise RedirectNotLoopbackError(
            f"the authorize URL's redirect_uri leads to {host or 'no host'}, not to a loopback address over http"
        )
    if port is None or port < MIN_PORT:
        raise PortNotPermittedError(
            f"the authorize URL's redirect_uri asks for local port {80 if port is None else port}"
        )
    return RedirectUri(host, port, parts.path)


def is_private_host(host: str) -> bool:
    """Whether a browser would find that host on this machine or in a private network, as far as the name tells."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        labels = host.split(".")
    else:
        if isinstance(address, ipaddress.IPv6Address):
            if address.is_site_local:
                return True
            address = address.ipv4_mapped or address.sixtofour or _nat64(address) or address
        return not address.is_global
    return (
        len(labels) == 1
        or _NUMERIC_LABEL.fullmatch(labels[-1]) is not None
        or host.endswith(_PRIVATE_SUFFIXES)
        or "%" in host
    )


def _nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a NAT64 gateway makes of it (RFC 6052 §2.1)."""
    return ipaddress.IPv4Address(address.packed[12:]) if address in _NAT64 else None


def matches_host(host: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns names the host.

    A leading asterisk stands for one label or more: all names under it are the service's own. An inner one stands for
    exactly one: `oidc.*.amazonaws.com` is each region, and not the bucket `oidc.evil.s3.amazonaws.com`.
    """
    return any(_host_pattern(pattern).fullmatch(host) for pattern in patterns)


@cache
def _host_pattern(pattern: str) -> re.Pattern[str]:
    first, *others = ("[^.]+" if label == "*" else re.escape(label) for label in pattern.split("."))
    return re.compile(r"\.".join([f"{first}(?:\\.{first})*" if pattern.startswith("*") else first, *others]))


def _normal(host: str) -> str:
    """The host as browsers compare it: lower case, no final dot, IPv6 in its shortest spelling."""
    host = host.lower().removesuffix(".")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def split_url(text: str) -> SplitResult:
    """A URL as every parser reads it alike. Raises UrlRefusedError for what must never be opened, whatever its host."""
    if len(text) > MAX_URL:
        raise UrlRefusedError(f"the remote asked to open a URL of {len(text)} characters")
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise UrlRefusedError("the remote asked to open something that is no URL")
    if scheme[1].lower() not in {"https", "http"}:
        raise UrlRefusedError(f"the remote asked to open a URL of the scheme {scheme[1][:32]!r}")
    if not _URL_CHARACTERS.fullmatch(text):
        raise UrlRefusedError("the remote asked to open a URL with spaces, control or other forbidden characters")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as exc:
        raise UrlRefusedError("the remote asked to open a URL whose host or port cannot be read") from exc
    if not host or not text[scheme.end() :].startswith("//"):
        raise UrlRefusedError("the remote asked to open a URL without a host")
    if "@" in parts.netloc:
        raise UrlRefusedError("the remote asked to open a URL with user information before its host")
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if authority is None or int(authority["port"] or 443) == 0:
        raise UrlRefusedError("the remote asked to open a URL whose host or port cannot be read")
    return parts


def _single(parameters: dict[str, list[str]], name: str, checked: CheckedUrl) -> str:
    values = parameters.get(name, [])
    if len(values) != 1 or not values[0]:
        found = "several" if len(values) > 1 else "no"
        raise RedirectNotLoopbackError(
            f"the URL on {checked.authority} that the remote asked to open has {found} {name}"
        )
    return values[0]
