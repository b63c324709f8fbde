"""The address that a browser ended on, as a person pastes it: read, and judged by the same gate as a request. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from kirotunnel.events import Outcome, RefusalReason
from kirotunnel.wire.gate import LegRule, Refuse, RequestHead, decide
from kirotunnel.wire.redirect import LOOPBACK_HOSTS
from kirotunnel.wire.terminal import one_line

MAX_PASTED: Final = 16 * 1024
_QUOTES: Final = "\"'<>`"


@dataclass(frozen=True, slots=True)
class Pasted:
    """An address that is this leg's callback."""

    target: str
    """Path and query, which hold the code: a secret."""
    host: str
    """For the Host header."""
    outcome: Outcome

    def __repr__(self) -> str:
        return f"Pasted({self.host}, {self.outcome})"


@dataclass(frozen=True, slots=True)
class NotPasted:
    """Why an address is not the callback, for events and for the person."""

    reason: RefusalReason
    words: str


def read_pasted(text: str, port: int, rule: LegRule) -> Pasted | NotPasted:
    """Judge what a person pasted. Never raises, and its words hold nothing of the address but scheme, host and port."""
    text = _unwrapped(text)
    if not text:
        return NotPasted("malformed", "that line is empty")
    if len(text) > MAX_PASTED:
        return NotPasted("malformed", "that is far too long for an address")
    try:
        parts = urlsplit(text)
        scheme, host, found = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError:
        return NotPasted("malformed", "that cannot be read as an address")
    if scheme not in {"http", "https"} or not host:
        return NotPasted("malformed", f"that is no address; it begins with http://localhost:{port}/")
    if host not in LOOPBACK_HOSTS:
        return NotPasted(
            "host",
            f"that is a page on {one_line(host, 80)}; wanted is the address after it, which begins with http://localhost:{port}/",
        )
    if scheme != "http":
        return NotPasted("malformed", "that address is https; the callback is http")
    if found != port:
        return NotPasted("host", f"that address has port {found or 80}, but this sign-in page comes back to {port}")
    if "@" in parts.netloc:
        return NotPasted("malformed", "that address has user information before its host")
    return _judge(text, parts.netloc.lower(), port, rule)


def _judge(text: str, host: str, port: int, rule: LegRule) -> Pasted | NotPasted:
    target = text.partition("#")[0].split("://", 1)[1]
    target = target[target.index("/") :] if "/" in target else "/"
    decision = decide(RequestHead(method="GET", target=target, hosts=(host,)), port, [rule])
    if isinstance(decision, Refuse):
        words = _WORDS.get(decision.reason, "that is not the address of a callback")
        if decision.reason == "path":
            words = f"{words} ({' or '.join(sorted(rule.paths))})"
        return NotPasted(decision.reason, words)
    return Pasted(target, host, getattr(decision, "outcome", "granted"))


_WORDS: Final[dict[RefusalReason, str]] = {
    "path": "that address has another path than the callback",
    "state": "that address belongs to another sign-in: its state is not the one of this page, or is cut off",
    "method": "that sign-in page answers by a form (POST), which no address can carry",
    "malformed": "that address has characters or repeated parameters that no callback has",
}


def _unwrapped(text: str) -> str:
    """Without what a mail, a chat or a narrow terminal put around and into it."""
    return re.sub(r"\s+", "", text).strip(_QUOTES)
