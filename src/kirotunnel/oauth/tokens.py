"""A set of tokens (RFC 6749 §5.1), with the moment at which the access token ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from kirotunnel.redaction import Secret

DEFAULT_LIFETIME_S: Final = 3600.0
"""Where a service does not say how long its token lives."""
EXPIRY_SLACK_S: Final = 60.0
"""Seconds by which a token counts as expired before it is: it must survive the way to the service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSet:
    """What a token endpoint gave."""

    access_token: Secret[str]
    expires_at: float
    """Seconds since the epoch by this machine's clock: counted from the answer, so that clocks need not agree."""
    refresh_token: Secret[str] | None = None
    id_token: Secret[str] | None = field(default=None, compare=False)
    profile_arn: str | None = None
    """Kiro's own: which profile the token is for."""
    email: str | None = None
    """Where the service says it beside the tokens."""

    def is_fresh(self, now: float, slack_s: float = EXPIRY_SLACK_S) -> bool:
        """Whether the access token can be used."""
        return now < self.expires_at - slack_s
