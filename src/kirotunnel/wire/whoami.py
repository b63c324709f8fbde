"""Read what `kiro-cli whoami -f json` or `kirotunnel whoami --json` says into an account; and what a logout says."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, get_args

from kirotunnel.events import Account, AccountType
from kirotunnel.wire.terminal import one_line, plain

_TYPES: Final[dict[str, tuple[AccountType, str | None]]] = {
    "BuilderId": ("builder-id", None),
    "IamIdentityCenter": ("idc", None),
    "Social": ("social", None),
    "SocialGoogle": ("social", "Google"),  # the launcher's own spelling, still seen in 2.2x
    "SocialGitHub": ("social", "GitHub"),
    "ExternalIdP": ("external-idp", None),
    "ApiKey": ("api-key", None),
}
_MAX_BRACES: Final = 16
_MAX_LINES: Final = 100
_MAX_LINE: Final = 300
"""Lines, and characters of one, in which a profile's expressions are looked for. The target may answer with anything,
and an expression can take a time that grows with the square of a line: 4 MiB took minutes, with nothing else done."""


@dataclass(frozen=True, slots=True)
class WhoamiPatterns:
    """How to read another CLI's whoami: regular expressions, each looked for in every line."""

    email: str | None = None
    """Its first group, or all of it, is the e-mail or name."""
    nobody: str | None = None
    """Found: nobody is signed in."""

    def read(self, output: str) -> Account | None:
        """The account that an output names; None for nobody. Somebody without a name is an account without one."""
        lines = [plain(line[: 4 * _MAX_LINE])[:_MAX_LINE] for line in output.splitlines()[:_MAX_LINES]]
        if self.nobody is not None and any(re.search(self.nobody, line) for line in lines):
            return None
        if self.email is None:
            return Account(type=None)
        found = next((match for line in lines if (match := re.search(self.email, line))), None)
        name = None if found is None else next((group for group in found.groups() if group), found[0])
        return Account(type=None, email=one_line(name, 200) if name else None)


def parse_whoami(output: str) -> Account | None:
    """The account, or None where nobody is signed in or the output is not understood.

    An account of a kind that is not known here has no type. Only the first JSON object with an account type counts: for
    IAM Identity Center the plain text of the profile follows it, even with `-f json` (seen in 2.21.0), and a log line
    with a brace may stand before it.
    """
    answer = next((value for value in _values(output) if _is_answer(value)), None)
    if answer is None:
        return None
    if answer.get("event") == "signed_in":
        return _own(answer.get("account"))
    kind = answer.get("accountType")
    if not isinstance(kind, str):
        return None
    account_type, provider = _TYPES.get(kind, (None, None))
    return Account(
        type=account_type,
        provider=provider or _text(answer, "provider"),
        email=_text(answer, "email"),
        start_url=_text(answer, "startUrl"),
        region=_text(answer, "region"),
    )


def parse_revoked(output: str) -> bool | None:
    """Whether a logout ended the session at the service, by kirotunnel's own event; None where the output has none."""
    ended = next((value for value in _values(output) if value.get("event") == "signed_out"), {})
    revoked = ended.get("revoked")
    return revoked if isinstance(revoked, bool) else None


def _values(output: str) -> Iterator[dict[str, object]]:
    """The JSON objects in the output, each looked for from one of its first few braces."""
    for brace in itertools.islice(re.finditer(r"\{", output), _MAX_BRACES):
        try:
            value, _ = json.JSONDecoder().raw_decode(output, brace.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _is_answer(value: dict[str, object]) -> bool:
    return "accountType" in value or value.get("event") == "signed_in"


def _own(account: object) -> Account | None:
    """The account of kirotunnel's own event."""
    if not isinstance(account, dict):
        return None
    kind = next((known for known in get_args(AccountType) if known == account.get("type")), None)
    return Account(
        type=kind,
        provider=_text(account, "provider"),
        email=_text(account, "email"),
        start_url=_text(account, "start_url"),
        region=_text(account, "region"),
    )


def _text(answer: dict[str, object], key: str) -> str | None:
    value = answer.get(key)
    return one_line(value, 200) or None if isinstance(value, str) else None
