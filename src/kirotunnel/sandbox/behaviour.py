"""What the sign-in services can be told to do differently: how the browser is sent back, how long things live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

HandOver = Literal["link", "redirect", "form"]
Clock = Callable[[], float]
"""Seconds since the epoch, as `time.time` gives them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """The knobs; as they stand, everything is as a person would meet it."""

    code_lifetime_s: float = 600.0
    """Authorization codes (RFC 6749 §4.1.2 recommends ten minutes at most)."""
    access_token_lifetime_s: int = 3600
    client_secret_lifetime_s: float = 90 * 86400.0
    """AWS registers a client for 90 days."""
    device_lifetime_s: int = 600
    device_interval_s: int = 1
    """What the device answer asks the client to wait between polls."""
    enforce_interval: bool = False
    """Whether a poll that comes too early is answered slow_down (RFC 8628 §3.5); off, since tests poll at once."""
    pending_polls: int = 0
    """Polls that are answered authorization_pending at least, even when the person was faster."""
    slow_down_once: bool = False
    """Whether the first poll of each device code is answered slow_down."""
    redirect_paths: frozenset[str] = frozenset({"/oauth/callback"})
    """The paths that the identity provider's client has registered for its loopback redirects."""
