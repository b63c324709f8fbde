"""The authorization request and its response (RFC 6749 §4.1.1 and §4.1.2), with PKCE, nonce and `iss` (RFC 9207)."""

from __future__ import annotations

import hmac
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from kirotunnel.errors import IssuerMismatchError, OAuthError, StateMismatchError
from kirotunnel.oauth.messages import quotable
from kirotunnel.oauth.pkce import METHOD, CodeVerifier
from kirotunnel.redaction import Secret

_STATE_ALPHABET: Final = string.ascii_letters + string.digits
# The same length twice over kiro-cli's ten characters: 131 bits.
_STATE_LENGTH: Final = 22


def new_state(choose: Callable[[str], str] = secrets.choice) -> Secret[str]:
    """A state that cannot be guessed, of letters and digits."""
    return Secret("".join(choose(_STATE_ALPHABET) for _ in range(_STATE_LENGTH)))


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """One attempt: what the browser carries, and what stays here to check the response with."""

    redirect_uri: str
    state: Secret[str] = field(default_factory=new_state)
    verifier: CodeVerifier = field(default_factory=CodeVerifier.generate)
    nonce: Secret[str] | None = None
    """Only where an ID token is asked for (OpenID Connect Core §3.1.2.1)."""
    issuer: str | None = None
    """Who must have given the response; None where it is not known."""
    expects_iss: bool = False
    """Whether the provider promised to send `iss` (authorization_response_iss_parameter_supported, RFC 9207 §3)."""

    @property
    def pkce(self) -> dict[str, str]:
        """The parameters of RFC 7636 §4.3."""
        return {"code_challenge": self.verifier.challenge, "code_challenge_method": METHOD}

    def url(self, endpoint: str, parameters: Mapping[str, str]) -> Secret[str]:
        """The endpoint with these parameters added; its own query stays (RFC 6749 §3.1)."""
        separator = "&" if urlsplit(endpoint).query else "?"
        return Secret(f"{endpoint}{separator}{urlencode(parameters, quote_via=quote, safe='')}")


@dataclass(frozen=True, slots=True)
class Granted:
    """The response to use."""

    code: Secret[str]


@dataclass(frozen=True, slots=True)
class Denied:
    """The response that is an error (RFC 6749 §4.1.2.1)."""

    error: str
    description: str = ""

    def as_error(self, whom: str) -> OAuthError:
        """What the person is told."""
        if self.error == "access_denied":
            return OAuthError(f"{whom} denied the sign-in" + (f": {self.description}" if self.description else ""))
        said = f"{self.error}: {self.description}" if self.description else self.error
        return OAuthError(f"{whom} refused the sign-in: {said}")


def read_response(request: AuthorizationRequest, parameters: Mapping[str, str]) -> Granted | Denied:
    """The response, checked. Raises StateMismatchError and IssuerMismatchError before anything else is looked at."""
    check_state(request, parameters)
    _check_issuer(request, parameters)
    if "error" in parameters:  # before `code`: a response that has both is an error
        return read_denial(request, parameters)
    code = parameters.get("code", "")
    if not code or not code.isascii() or not code.isprintable():
        raise OAuthError("the browser came back without a code and without an error", "run the command again")
    return Granted(Secret(code))


def read_denial(request: AuthorizationRequest, parameters: Mapping[str, str]) -> Denied:
    """The error of a response, made harmless for a message."""
    unsaid = (request.state, request.verifier.value, Secret(parameters.get("code", "")))
    error = quotable(parameters.get("error", ""), unsaid, 80)
    return Denied(error or "error", quotable(parameters.get("error_description", ""), unsaid))


def check_state(request: AuthorizationRequest, parameters: Mapping[str, str]) -> None:
    """Compare in constant time (RFC 6749 §10.12)."""
    if not hmac.compare_digest(parameters.get("state", "").encode(), request.state.reveal().encode()):
        raise StateMismatchError("the browser came back with the answer of another sign-in")


def _check_issuer(request: AuthorizationRequest, parameters: Mapping[str, str]) -> None:
    given = parameters.get("iss")
    if request.issuer is None or (given is None and not request.expects_iss):
        return
    # Simple string comparison (RFC 9207 §2.4, RFC 3986 §6.2.1).
    if given != request.issuer:
        said = f"from {quotable(given, (request.state,), 120)}" if given else "without its issuer"
        raise IssuerMismatchError(f"the answer came {said}, and {request.issuer} was asked")
