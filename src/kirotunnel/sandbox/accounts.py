"""The sample accounts that every sign-in here ends with: one for each method, none of them real."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

SignInMethod = Literal["google", "github", "builder-id", "idc", "external-idp"]


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who does not exist."""

    subject: str
    name: str
    email: str


SAMPLE_ACCOUNTS: Final[dict[SignInMethod, Account]] = {
    "google": Account("sample-google-1", "Ada Sample", "ada@example.com"),
    "github": Account("sample-github-1", "Grace Sample", "grace@example.com"),
    "builder-id": Account("sample-builder-1", "Alan Sample", "alan@example.com"),
    "idc": Account("sample-idc-1", "Katherine Sample", "katherine@example.com"),
    "external-idp": Account("sample-idp-1", "Edsger Sample", "edsger@example.com"),
}
