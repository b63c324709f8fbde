"""Secrets as a type: what must never be printed prints as `***`."""

from __future__ import annotations

import re
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MASK: Final = "***"


class Secret(Generic[T]):
    """A value that must not reach a log, an event, an exception, an argument list or a file.

    `str`, `repr`, `format`, JSON and pickling give the mask or fail; `reveal()` is the one way out, so that every use
    of a secret can be found by searching for that word.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """The value itself. The caller sees to it that it goes nowhere but to where it belongs."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


# Query, form and JSON values that are nobody's business, by name (RFC 6749, 7636, 8628 and Kiro's own spelling).
_PRIVATE_NAMES: Final = (
    "code|state|code_verifier|codeVerifier|code_challenge|nonce|access_token|accessToken|refresh_token|refreshToken"
    "|id_token|idToken|device_code|deviceCode|client_secret|clientSecret|password|user_code"
)
# Also within another URL, where the signs between them are percent-encoded.
_PARAMETER: Final = re.compile(
    rf"(?P<name>(?:\b|%3F|%26)(?:{_PRIVATE_NAMES})(?:=|%3D))(?:(?!%26)[^&\s\"'<>#;])*", re.IGNORECASE
)
# JSON, JSON within a JSON string, and Python's own way to show a dict.
_MEMBER: Final = re.compile(
    rf"(?P<name>(?P<quote>\\?[\"'])(?:{_PRIVATE_NAMES})(?P=quote)\s*:\s*(?P=quote))(?:(?!(?P=quote))(?:\\.|.))*",
    re.IGNORECASE | re.DOTALL,
)
# kiro-cli prints both states when they differ: "state mismatch. Actual: A | Expected: E" and "expected=E, actual=A".
_STATES: Final = re.compile(r"(?P<name>\b(?:actual|expected)\s*[:=]\s*)[^\s|,]+", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text with the values of secret parameters masked: for what a remote printed and for what a library said."""
    for pattern in (_PARAMETER, _MEMBER, _STATES):
        text = pattern.sub(lambda found: found["name"] + MASK, text)
    return text
