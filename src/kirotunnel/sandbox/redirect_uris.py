"""Redirect URIs of native apps: what may be registered, and what matches it (RFC 8252 §7.3)."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def redirect_problem(redirect_uri: str) -> str:
    """Why this cannot be the redirect URI of a native app; empty where it can."""
    try:
        url = urlsplit(redirect_uri)
        port = url.port
    except ValueError:
        return "A redirect URI is malformed"
    if url.scheme != "http" or url.hostname not in _LOOPBACK:
        return "A redirect URI must be http on a loopback address"
    if url.username is not None or url.fragment or "#" in redirect_uri:
        return "A redirect URI has no user and no fragment"
    if not redirect_uri.isascii() or not redirect_uri.isprintable() or " " in redirect_uri:
        return "A redirect URI is printable ASCII"
    if port is not None and port < 1024:
        return "The port of a redirect URI is 1024 or above"
    return ""


def matches_registered(redirect_uri: str, registered: str) -> bool:
    """Whether it is the registered one: exactly, or but for the port where none was registered."""
    if redirect_problem(redirect_uri):
        return False
    if redirect_uri == registered:
        return True
    url = urlsplit(redirect_uri)
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else str(url.hostname)
    return url._replace(netloc=host) == urlsplit(registered)
