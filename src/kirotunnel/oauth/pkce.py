"""Proof Key for Code Exchange (RFC 7636): a verifier that stays here, and its challenge that the browser carries."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kirotunnel.redaction import Secret

METHOD: Final = "S256"
"""The only code_challenge_method that is used: `plain` shows the verifier (RFC 9700 §2.1.1)."""
_VERIFIER_BYTES: Final = 32
"""RFC 7636 §4.1 recommends 32 octets, which are 43 characters."""


@dataclass(frozen=True, slots=True)
class CodeVerifier:
    """The secret that proves, at the token endpoint, that we are who sent the browser off."""

    value: Secret[str]

    @classmethod
    def generate(cls, entropy: Callable[[int], bytes] = secrets.token_bytes) -> CodeVerifier:
        """A new one, for one authorization request."""
        return cls(Secret(base64url(entropy(_VERIFIER_BYTES))))

    @property
    def challenge(self) -> str:
        """BASE64URL(SHA256(ASCII(verifier))), without padding (RFC 7636 §4.2)."""
        return base64url(hashlib.sha256(self.value.reveal().encode("ascii")).digest())


def base64url(data: bytes) -> str:
    """Base64 for URLs without padding (RFC 7636, appendix A)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
