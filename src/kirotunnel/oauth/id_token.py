"""The ID token (OpenID Connect Core §2 and §3.1.3.7): who signed in, proved by the provider's signature."""

from __future__ import annotations

import hmac
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kirotunnel.errors import IdTokenError, ServiceReplyError
from kirotunnel.oauth.messages import Reply, quotable
from kirotunnel.redaction import Secret

LEEWAY_S: Final = 300.0
"""How far this machine's clock and the provider's may be apart."""
ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"),
    *("Ed25519", "Ed448", "EdDSA"),  # EdDSA is what providers called the two before RFC 9864
)
"""Signatures by a key pair. `none` is no signature; HS256 and its kind need a secret, which a public client has not."""
_MAX_TOKEN: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """What the token says of the person."""

    subject: str
    email: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What the token must say."""

    issuer: str
    client_id: str
    now: float
    nonce: Secret[str] | None = None


def read_keys(reply: Reply) -> Mapping[str, Any]:
    """The provider's key set (RFC 7517 §5). Raises ServiceReplyError."""
    if not reply.ok:
        raise ServiceReplyError(f"{reply.host} does not give its keys (status {reply.status})")
    keys = reply.members().value("keys")
    if not isinstance(keys, list):
        raise ServiceReplyError(f"the answer of {reply.host} has no keys")
    return {"keys": [key for key in keys if isinstance(key, dict)]}


def validate(token: Secret[str], keys: Mapping[str, Any], expected: Expectation) -> Identity:
    """Check signature, issuer, audience, nonce and time. Raises IdTokenError; the token is in no message."""
    claims = _signed_claims(token, keys)
    if claims.get("iss") != expected.issuer:
        raise IdTokenError(f"the ID token is of {_shown(claims.get('iss'))}, and {expected.issuer} was asked")
    _check_audience(claims, expected.client_id)
    _check_time(claims, expected.now)
    if expected.nonce is not None:
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.reveal().encode()):
            raise IdTokenError("the ID token belongs to another sign-in: its nonce is not the one that was sent")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise IdTokenError("the ID token says nobody's name: it has no sub")
    email = claims.get("email")
    return Identity(subject, quotable(email) if isinstance(email, str) and email else None)


def _signed_claims(token: Secret[str], keys: Mapping[str, Any]) -> dict[str, Any]:
    from joserfc import jws
    from joserfc.errors import JoseError, SecurityWarning
    from joserfc.jwk import KeySet

    text = token.reveal()
    if len(text) > _MAX_TOKEN:
        raise IdTokenError("the ID token is too large to be one")
    problem = "the ID token's signature does not hold"
    try:
        usable = KeySet.import_key_set({"keys": [key for key in keys["keys"] if _is_signing_key(key)]})
        with warnings.catch_warnings():
            # joserfc warns of the name EdDSA, which is the provider's affair: nobody here could choose another.
            warnings.simplefilter("ignore", SecurityWarning)
            payload = jws.deserialize_compact(text, _chosen(usable, text), algorithms=list(ALGORITHMS)).payload
        claims = json.loads(payload)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        # Without the cause, whose text or values may be of the token.
        raise IdTokenError(f"{problem} ({type(exc).__name__})") from None
    if not isinstance(claims, dict):
        raise IdTokenError("the ID token holds no claims")
    return claims


def _is_signing_key(key: Mapping[str, Any]) -> bool:
    return key.get("kty") in {"RSA", "EC", "OKP"} and key.get("use", "sig") == "sig"


def _chosen(keys: Any, text: str) -> Any:
    """The one key of the set where the token names none (OpenID Connect Core §10.1); else the set, for its `kid`."""
    from joserfc import jws

    if len(keys.keys) == 1 and "kid" not in jws.extract_compact(text.encode()).headers():
        return keys.keys[0]
    return keys


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    if client_id not in audiences:
        raise IdTokenError("the ID token is for another client")
    # §3.1.3.7, steps 4 and 5: with several audiences, the one that it was issued to is named apart.
    if claims.get("azp", client_id) != client_id or (len(audiences) > 1 and "azp" not in claims):
        raise IdTokenError("the ID token was issued to another client")


def _check_time(claims: Mapping[str, Any], now: float) -> None:
    expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
    not_before = claims.get("nbf")
    clock = "; this machine's clock and the provider's are apart"
    if expires <= now - LEEWAY_S:
        raise IdTokenError(f"the ID token expired {_ago(now - expires)} ago{clock}")
    if issued > now + LEEWAY_S:
        raise IdTokenError(f"the ID token is from {_ago(issued - now)} in the future{clock}")
    if isinstance(not_before, (int, float)) and not isinstance(not_before, bool) and not_before > now + LEEWAY_S:
        raise IdTokenError(f"the ID token is not valid yet{clock}")


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e11:
        raise IdTokenError(f"the ID token has no {name}")
    return float(value)


def _ago(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"


def _shown(value: object) -> str:
    return quotable(value, limit=120) if isinstance(value, str) else "nobody"
