"""How legs that share a port are told apart without telling their states: by keys, which are hashes."""

from __future__ import annotations

import hashlib
from typing import Final

from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import RequestHead, claimed_state

ANY: Final = "any"
"""The key of a leg that does not know its state: what has no other key is its."""


def state_key(state: Secret[str] | None) -> str:
    """The key of the leg with that state. A state is random, so its hash tells nothing."""
    return ANY if state is None else _hash("state", state.reveal())


def page_key(target: str) -> str:
    """The key of a page that a leg's answer sent the browser to, by its path and query."""
    return _hash("page", target)


def keys_of(head: RequestHead) -> list[str]:
    """The keys under which a leg may have asked for this request, the surest first."""
    keys = [page_key(head.target)] if head.method == "GET" else []
    if (state := claimed_state(head)) is not None:
        keys.append(state_key(state))
    return [*keys, ANY]


def _hash(kind: str, text: str) -> str:
    return hashlib.sha256(f"kirotunnel {kind}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()
