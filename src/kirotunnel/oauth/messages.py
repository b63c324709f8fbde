"""A request to a sign-in service and its reply, as values: built and read without sending anything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from kirotunnel.errors import ServiceReplyError
from kirotunnel.redaction import MASK, Secret, redacted
from kirotunnel.wire.terminal import one_line, plain

MAX_REPLY: Final = 1024 * 1024
"""Bytes of a reply: the largest that are right, key sets, have some ten thousand."""
_MAX_QUOTED: Final = 200
"""Characters of a service's own words in a message of ours."""
_SHORTEST_SECRET: Final = 6
"""Characters: masking shorter ones would garble words, and nothing that short is a secret."""

JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be sent."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: Secret[bytes] | None = None
    unsaid: tuple[Secret[str], ...] = ()
    """The secrets among what is sent: a service may repeat them in its error, and then they are masked."""

    @property
    def host(self) -> str:
        """Whom it goes to, for messages: never the path or query."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


def get(url: str) -> Request:
    """A GET of JSON."""
    return Request(method="GET", url=url, headers=(("Accept", JSON_TYPE),))


def post_json(url: str, members: Mapping[str, object], headers: tuple[tuple[str, str], ...] = ()) -> Request:
    """A POST of a JSON object, its members in the given order and without spaces; secrets are given as Secret."""
    revealed = {name: value.reveal() if isinstance(value, Secret) else value for name, value in members.items()}
    body = Secret(json.dumps(revealed, separators=(",", ":"), ensure_ascii=False).encode())
    headers = (("Content-Type", JSON_TYPE), *headers)
    return Request(method="POST", url=url, headers=headers, body=body, unsaid=_secrets(members))


def post_form(url: str, parameters: Mapping[str, str | Secret[str]]) -> Request:
    """A POST of a form (RFC 6749 §4.1.3); secrets are given as Secret."""
    revealed = {name: value.reveal() if isinstance(value, Secret) else value for name, value in parameters.items()}
    headers = (("Content-Type", FORM_TYPE), ("Accept", JSON_TYPE))
    body = Secret(urlencode(revealed).encode("ascii"))
    return Request(method="POST", url=url, headers=headers, body=body, unsaid=_secrets(parameters))


def _secrets(members: Mapping[str, object]) -> tuple[Secret[str], ...]:
    return tuple(value for value in members.values() if isinstance(value, Secret))


def quotable(text: str, unsaid: tuple[Secret[str], ...] = (), limit: int = _MAX_QUOTED) -> str:
    """Somebody else's words for a message of ours: one line, harmless, short, without these secrets and any other."""
    text = plain(text)
    for secret in unsaid:
        if len(secret.reveal()) >= _SHORTEST_SECRET:
            text = text.replace(secret.reveal(), MASK)
    return one_line(redacted(text), limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back, whole. Its body may hold tokens."""

    host: str
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Secret[bytes]
    unsaid: tuple[Secret[str], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the status is of the 2xx kind."""
        return 200 <= self.status < 300

    def members(self) -> Members:
        """The JSON object of the body. Raises ServiceReplyError where it is none."""
        content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = self.body.reveal()
        if content_type == "text/html" or body.lstrip()[:1] == b"<":
            raise ServiceReplyError(f"{self.host} answered with an HTML page instead of JSON (status {self.status})")
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as exc:
            # Without the cause: its text and its `doc` are the body.
            raise ServiceReplyError(f"{self.host} answered with broken JSON (status {self.status})") from _bare(exc)
        if not isinstance(value, dict):
            raise ServiceReplyError(f"{self.host} answered with JSON that is no object (status {self.status})")
        return Members(self.host, value, self.unsaid)

    def error_members(self) -> Members:
        """The JSON object of an error reply; empty where the body is none, since the status already says it all."""
        try:
            return self.members()
        except ServiceReplyError:
            return Members(self.host, {})


def _bare(exc: BaseException) -> Exception:
    return ValueError(type(exc).__name__)


class Members:
    """The members of a JSON object from the network, read by type."""

    def __init__(self, host: str, values: Mapping[str, Any], unsaid: tuple[Secret[str], ...] = ()) -> None:
        self._host = host
        self._values = values
        self._unsaid = unsaid

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def text(self, name: str) -> str:
        """A text that must be there and not be empty."""
        value = self.optional_text(name)
        if value is None:
            raise ServiceReplyError(f"the answer of {self._host} has no {name}")
        return value

    def optional_text(self, name: str) -> str | None:
        """A text; None where it is missing, empty or something else."""
        value = self._values.get(name)
        return value if isinstance(value, str) and value else None

    def secret(self, name: str) -> Secret[str]:
        """A text that must be there and that nobody may see. It goes into headers and arguments: printable ASCII."""
        value = self.optional_secret(name)
        if value is None:
            raise ServiceReplyError(f"the answer of {self._host} has no usable {name}")
        return value

    def optional_secret(self, name: str) -> Secret[str] | None:
        """A text that nobody may see; None where it is missing or has characters that no token has."""
        value = self.optional_text(name)
        if value is None or not value.isascii() or not value.isprintable():
            return None
        return Secret(value)

    def seconds(self, name: str, default: float) -> float:
        """A duration: a number, or a text of one (some providers send "3600"). The default where it is neither."""
        return duration(self._values.get(name), default)

    def quoted(self, *names: str) -> str:
        """The first of these texts, shortened, made harmless and masked, for a message; empty where there is none."""
        for name in names:
            if value := self.optional_text(name):
                return quotable(value, self._unsaid)
        return ""

    def value(self, name: str) -> object:
        """Whatever is there."""
        return self._values.get(name)


_LONGEST_S: Final = 10 * 365 * 86400.0


def duration(value: object, default: float) -> float:
    """Seconds out of JSON, within reason."""
    if isinstance(value, str) and len(value) <= 20:
        try:
            value = float(value)
        except ValueError:
            return default
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return default
    try:
        number = float(value)
    except OverflowError:
        return default
    return min(number, _LONGEST_S) if math.isfinite(number) and number > 0 else default
