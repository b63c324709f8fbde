"""A session: who signed in how, the tokens, and what is needed to renew and to end them. To text and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from kirotunnel.events import Account
from kirotunnel.oauth.tokens import TokenSet
from kirotunnel.redaction import Secret

Method = Literal["github", "google", "builder-id", "idc", "external-idp"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
_VERSION: Final = 1
_PROVIDERS: Final = {"github": "GitHub", "google": "Google"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KiroGrant:
    """Google and GitHub: Kiro's auth service renews with the refresh token alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsGrant:
    """Builder ID and IAM Identity Center: renewing takes the registration with which the session began."""

    start_url: str
    region: str
    client_id: str
    client_secret: Secret[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIdGrant:
    """An organization's identity provider."""

    issuer: str
    client_id: str
    token_endpoint: str
    revocation_endpoint: str | None = None


Grant = KiroGrant | AwsGrant | OpenIdGrant


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One signed-in account."""

    method: Method
    grant: Grant
    tokens: TokenSet
    email: str | None = None
    signed_in_at: float = 0.0
    """Seconds since the epoch."""

    @property
    def key(self) -> str:
        """What keeps accounts apart: method, and start URL or issuer."""
        return session_key(self.method, self.where)

    @property
    def where(self) -> str | None:
        """The start URL, or the issuer; None where there is only one place."""
        match self.grant:
            case AwsGrant(start_url=start_url):
                return start_url if self.method == "idc" else None
            case OpenIdGrant(issuer=issuer):
                return issuer
        return None

    @property
    def account(self) -> Account:
        """Who it is, as events and `whoami` say it."""
        if self.method in {"github", "google"}:
            return Account(type="social", provider=_PROVIDERS[self.method], email=self.email)
        if isinstance(self.grant, AwsGrant):
            kind: Literal["builder-id", "idc"] = "builder-id" if self.method == "builder-id" else "idc"
            return Account(type=kind, email=self.email, start_url=self.grant.start_url, region=self.grant.region)
        return Account(type="external-idp", email=self.email)

    def renewed(self, tokens: TokenSet) -> Session:
        """The same session with new tokens; what a renewal leaves out stays as it was (RFC 6749 §6)."""
        before = self.tokens
        tokens = replace(
            tokens,
            refresh_token=tokens.refresh_token or before.refresh_token,
            profile_arn=tokens.profile_arn or before.profile_arn,
        )
        return replace(self, tokens=tokens, email=tokens.email or self.email)


def session_key(method: Method, where: str | None) -> str:
    """The name under which a session is kept."""
    return f"{method} {where.rstrip('/')}" if where else method


# --- to text and back ------------------------------------------------------------------------------------------------


def dump(session: Session) -> Secret[str]:
    """The session as text, tokens and all."""
    tokens = session.tokens
    values: dict[str, object] = {
        "version": _VERSION,
        "method": session.method,
        "email": session.email,
        "signed_in_at": session.signed_in_at,
        "access_token": tokens.access_token.reveal(),
        "refresh_token": tokens.refresh_token.reveal() if tokens.refresh_token else None,
        "expires_at": tokens.expires_at,
        "profile_arn": tokens.profile_arn,
    }
    match session.grant:
        case AwsGrant() as aws:
            values["aws"] = {
                "start_url": aws.start_url,
                "region": aws.region,
                "client_id": aws.client_id,
                "client_secret": aws.client_secret.reveal(),
            }
        case OpenIdGrant() as openid:
            names = ("issuer", "client_id", "token_endpoint", "revocation_endpoint")
            values["openid"] = {name: getattr(openid, name) for name in names}
        case KiroGrant():
            pass
    return Secret(json.dumps(values))


def load(text: Secret[str]) -> Session:
    """The session of a text that `dump` made. Raises ValueError, whose own text has nothing of it, for any other."""
    try:
        values = json.loads(text.reveal())
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    if not isinstance(values, dict) or values.get("version") != _VERSION:
        raise ValueError("no session, or one of a later version")
    method = values.get("method")
    if method not in METHODS:
        raise ValueError("no known method")
    refresh = _optional(values, "refresh_token")
    return Session(
        method=method,
        grant=_grant(method, values),
        email=_optional(values, "email"),
        signed_in_at=_number(values, "signed_in_at"),
        tokens=TokenSet(
            access_token=Secret(_text(values, "access_token")),
            refresh_token=Secret(refresh) if refresh else None,
            expires_at=_number(values, "expires_at"),
            profile_arn=_optional(values, "profile_arn"),
        ),
    )


def _grant(method: Method, values: Mapping[str, Any]) -> Grant:
    if method in {"github", "google"}:
        return KiroGrant()
    inner = values.get("openid" if method == "external-idp" else "aws")
    if not isinstance(inner, dict):
        raise ValueError("the session lacks what renews it")  # noqa: TRY004 - a bad value, whatever its type
    if method == "external-idp":
        return OpenIdGrant(
            issuer=_text(inner, "issuer"),
            client_id=_text(inner, "client_id"),
            token_endpoint=_text(inner, "token_endpoint"),
            revocation_endpoint=_optional(inner, "revocation_endpoint"),
        )
    return AwsGrant(
        start_url=_text(inner, "start_url"),
        region=_text(inner, "region"),
        client_id=_text(inner, "client_id"),
        client_secret=Secret(_text(inner, "client_secret")),
    )


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"the session has no {name}")
    return value


def _optional(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"the session's {name} is no text")
    return value or None


def _number(values: Mapping[str, Any], name: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"the session has no {name}")
    return float(value)
