"""An organization's OpenID provider: discovery, authorization code with PKCE, device code, refresh, revocation."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode, urlsplit

from kirotunnel.local.http1 import Request
from kirotunnel.sandbox.accounts import SAMPLE_ACCOUNTS
from kirotunnel.sandbox.behaviour import Behaviour, Clock, HandOver
from kirotunnel.sandbox.consent import consent_page, decision_of
from kirotunnel.sandbox.device_pages import DevicePages
from kirotunnel.sandbox.grants import (
    Authorization,
    DeviceCodes,
    GrantError,
    Grants,
    Shelf,
    is_code_challenge,
    opaque_token,
)
from kirotunnel.sandbox.handover import form_post, hand_over
from kirotunnel.sandbox.redirect_uris import redirect_problem
from kirotunnel.sandbox.templates import refusal
from kirotunnel.sandbox.web import (
    BadRequestError,
    Handler,
    Response,
    Route,
    asked_origin,
    form_of,
    json_response,
    query_of,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

SERVICE: Final = "idp"
PATH: Final = "/idp"
DEVICE_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
CLIENT_ID: Final = "kiro-cli-sample"
CLIENT_NAME: Final = "Kiro CLI"
SCOPES: Final = ("openid", "profile", "email", "offline_access")
TITLE: Final = "Example Organization"

_POLL_ERRORS: Final = {
    "unknown": "invalid_grant",
    "expired": "expired_token",
    "denied": "access_denied",
    "pending": "authorization_pending",
    "slow_down": "slow_down",
}
_STATUS: Final = {"invalid_client": 401, "server_error": 500, "temporarily_unavailable": 503}


class OAuthRefusedError(Exception):
    """An error answer (RFC 6749 §4.1.2.1 and §5.2)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True, kw_only=True)
class _AuthorizationRequest:
    """A good `/authorize` request."""

    redirect_uri: str
    response_mode: str
    scopes: tuple[str, ...]
    state: str | None
    nonce: str | None
    code_challenge: str


class SigningKey:
    """An RSA key of the provider's lifetime, and RS256 with it (RFC 7518 §3.3)."""

    def __init__(self) -> None:
        self.key_id = secrets.token_hex(8)

    @cached_property
    def _key(self) -> RSAPrivateKey:
        # Loaded and made when first needed: most sign-ins are others'.
        from cryptography.hazmat.primitives.asymmetric import rsa

        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwk(self) -> dict[str, str]:
        """The public key (RFC 7517 §4, RFC 7518 §6.3)."""
        numbers = self._key.public_key().public_numbers()
        modulus = _base64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big"))
        exponent = _base64url(numbers.e.to_bytes(3, "big"))
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.key_id, "n": modulus, "e": exponent}

    def sign(self, claims: Mapping[str, object]) -> str:
        """The claims as a signed JWT (RFC 7519)."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        header = {"typ": "JWT", "alg": "RS256", "kid": self.key_id}
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64url(signature)}"


class IdentityProvider:
    """The provider under `/idp`, with one public client."""

    def __init__(
        self, clock: Clock, behaviour: Behaviour, *, hand_over: HandOver, public_url: str, issuer_url: str
    ) -> None:
        self._clock = clock
        self._behaviour = behaviour
        self._hand_over: HandOver = hand_over
        self._public_url = public_url
        self._issuer = issuer_url
        self._grants = Grants(clock, behaviour)
        self._devices = DeviceCodes(clock, behaviour)
        self._asked: Shelf[_AuthorizationRequest] = Shelf()
        self._key = SigningKey()
        self._pages = DevicePages(self._devices, service=SERVICE, title=TITLE, path=f"{PATH}/device", look="idp")

    def routes(self) -> Iterable[Route]:
        """What is answered."""
        # RFC 8414 §3 puts the well-known part before the issuer's path, OpenID Connect Discovery §4 behind it.
        for well_known in (
            f"{PATH}/.well-known/openid-configuration",
            f"/.well-known/oauth-authorization-server{PATH}",
        ):
            yield Route(SERVICE, "discovery", "GET", well_known, self.discovery)
        yield Route(SERVICE, "authorize", "GET", f"{PATH}/authorize", self.authorize)
        yield Route(SERVICE, "decision", "POST", f"{PATH}/authorize/decision", self.decide)
        yield Route(SERVICE, "token", "POST", f"{PATH}/token", _api(self.token))
        yield Route(SERVICE, "jwks", "GET", f"{PATH}/jwks", self.jwks)
        yield Route(SERVICE, "revoke", "POST", f"{PATH}/revoke", _api(self.revoke))
        yield Route(
            SERVICE, "device authorization", "POST", f"{PATH}/device_authorization", _api(self.device_authorization)
        )
        yield from self._pages.routes()

    def failure(self, error: str) -> Response:
        """What this service answers when it fails: `error` is an OAuth error code."""
        return _error(OAuthRefusedError(error, "This failure was asked for"))

    # --- metadata ----------------------------------------------------------------------------------------------------

    def discovery(self, request: Request) -> Response:
        """The metadata. What the browser opens is at the public address, what the client calls where it asked."""
        browser, client = f"{self._public_url}{PATH}", f"{asked_origin(request)}{PATH}"
        metadata = {
            "issuer": self._issuer,
            "authorization_endpoint": f"{browser}/authorize",
            "token_endpoint": f"{client}/token",
            "jwks_uri": f"{client}/jwks",
            "revocation_endpoint": f"{client}/revoke",
            "device_authorization_endpoint": f"{client}/device_authorization",
            "scopes_supported": list(SCOPES),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "form_post"],
            "grant_types_supported": ["authorization_code", "refresh_token", DEVICE_CODE_GRANT],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        return json_response(200, metadata)

    def jwks(self, request: Request) -> Response:
        """The public keys."""
        del request
        return json_response(200, {"keys": [self._key.jwk()]})

    # --- the authorization endpoint ----------------------------------------------------------------------------------

    def authorize(self, request: Request) -> Response:
        """The authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3)."""
        query = query_of(request)
        if query.get("client_id") != CLIENT_ID:
            return refusal("Invalid request. The client is unknown.", look="idp")
        redirect_uri = query.get("redirect_uri", "")
        if redirect_problem(redirect_uri) or urlsplit(redirect_uri).path not in self._behaviour.redirect_paths:
            return refusal("Invalid request. The redirect URI is not one of the client's.", look="idp")
        try:
            good = _authorization_request(query)
        except OAuthRefusedError as exc:
            refused = {"error": exc.error, "error_description": exc.description}
            return hand_over("redirect", redirect_uri, self._response(refused, query.get("state")), look="idp")
        asked = secrets.token_urlsafe(16)
        self._asked.put(asked, good)
        return consent_page(
            service=TITLE,
            heading=f"Allow {CLIENT_NAME} to sign in?",
            question=f"{CLIENT_NAME} asks for:",
            granted=good.scopes,
            account=SAMPLE_ACCOUNTS["external-idp"],
            action=f"{PATH}/authorize/decision",
            request=asked,
            look="idp",
            form_targets=(redirect_uri, self._public_url),
        )

    def decide(self, request: Request) -> Response:
        """Send the browser back to the client with the answer."""
        decision = decision_of(request)
        asked = self._asked.pop(decision.request)
        if asked is None:
            return refusal("This request was answered already, or it is too old.", look="idp")
        answer = {"error": "access_denied", "error_description": "The user denied the request"}
        if decision.allowed:
            answer = {"code": self._code(asked)}
        response = self._response(answer, asked.state)
        if asked.response_mode == "form_post":
            return form_post(asked.redirect_uri, response, look="idp")
        return hand_over(self._hand_over, asked.redirect_uri, response, look="idp")

    def _code(self, asked: _AuthorizationRequest) -> str:
        authorization = Authorization(
            method="external-idp", client_id=CLIENT_ID, scopes=asked.scopes, nonce=asked.nonce
        )
        return self._grants.issue_code(
            authorization, redirect_uri=asked.redirect_uri, code_challenge=asked.code_challenge
        )

    def _response(self, answer: dict[str, str], state: str | None) -> dict[str, str]:
        """The answer with the state it belongs to, and who gave it (RFC 9207 §2)."""
        return {**answer, **({"state": state} if state is not None else {}), "iss": self._issuer}

    # --- the token endpoint and its neighbours -----------------------------------------------------------------------

    def token(self, request: Request) -> Response:
        """Tokens for a code, a refresh token or a device code."""
        form = _client_form(request)
        grant_type = _required(form, "grant_type")
        if grant_type == DEVICE_CODE_GRANT:
            return self._tokens(self._by_device_code(form))
        if grant_type not in {"authorization_code", "refresh_token"}:
            raise OAuthRefusedError("unsupported_grant_type", "This grant type is not supported")
        try:
            by_code = grant_type == "authorization_code"
            return self._tokens(self._by_code(form) if by_code else self._by_refresh_token(form))
        except GrantError as exc:
            raise OAuthRefusedError("invalid_grant", str(exc)) from exc

    def revoke(self, request: Request) -> Response:
        """Revocation (RFC 7009); a token that is unknown is revoked already."""
        self._grants.revoke(_required(_client_form(request), "token"), client_id=CLIENT_ID)
        return Response(200)

    def device_authorization(self, request: Request) -> Response:
        """A device code (RFC 8628 §3.2)."""
        scopes = _scopes(_client_form(request).get("scope", "openid"))
        device = self._devices.issue(method="external-idp", client_id=CLIENT_ID, client_name=CLIENT_NAME, scopes=scopes)
        page = f"{self._public_url}{PATH}/device"
        answer = {
            "device_code": device.device_code,
            "user_code": device.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?{urlencode({'user_code': device.user_code}, quote_via=quote)}",
            "expires_in": self._behaviour.device_lifetime_s,
            "interval": device.interval_s,
        }
        return json_response(200, answer)

    def _by_code(self, form: dict[str, str]) -> Authorization:
        return self._grants.redeem_code(
            _required(form, "code"),
            client_id=CLIENT_ID,
            redirect_uri=_required(form, "redirect_uri"),
            code_verifier=_required(form, "code_verifier"),
        )

    def _by_refresh_token(self, form: dict[str, str]) -> Authorization:
        return self._grants.rotate(_required(form, "refresh_token"), client_id=CLIENT_ID)

    def _by_device_code(self, form: dict[str, str]) -> Authorization:
        polled = self._devices.poll(_required(form, "device_code"), client_id=CLIENT_ID)
        if not isinstance(polled, Authorization):
            raise OAuthRefusedError(_POLL_ERRORS[polled], "The device code is not authorized")
        return polled

    def _tokens(self, authorization: Authorization) -> Response:
        answer: dict[str, object] = {
            "access_token": opaque_token(),
            "token_type": "Bearer",
            "expires_in": self._behaviour.access_token_lifetime_s,
            "scope": " ".join(authorization.scopes),
            # Not of OAuth: the stand-in CLI has no API to ask who it is.
            "email": authorization.account.email,
        }
        if "offline_access" in authorization.scopes:
            answer["refresh_token"] = self._grants.issue_refresh_token(authorization)
        if "openid" in authorization.scopes:
            answer["id_token"] = self._key.sign(self._claims(authorization))
        return json_response(200, answer)

    def _claims(self, authorization: Authorization) -> dict[str, object]:
        """The ID token's claims (OpenID Connect Core §2)."""
        now, account = int(self._clock()), authorization.account
        claims: dict[str, object] = {
            "iss": self._issuer,
            "sub": account.subject,
            "aud": authorization.client_id,
            "iat": now,
            "exp": now + self._behaviour.access_token_lifetime_s,
            "auth_time": now,
            "email": account.email,
            "email_verified": True,
            "name": account.name,
        }
        return claims | ({"nonce": authorization.nonce} if authorization.nonce is not None else {})


def _authorization_request(query: dict[str, str]) -> _AuthorizationRequest:
    """The request, once it is known to whom errors go."""
    if query.get("response_type") != "code":
        raise OAuthRefusedError("unsupported_response_type", "The response type is code")
    response_mode = query.get("response_mode", "query")
    if response_mode not in {"query", "form_post"}:
        raise OAuthRefusedError("invalid_request", "The response mode is query or form_post")
    if query.get("code_challenge_method") != "S256" or not is_code_challenge(query.get("code_challenge", "")):
        raise OAuthRefusedError("invalid_request", "A code challenge by S256 is required")
    if query.get("prompt") == "none":
        raise OAuthRefusedError("login_required", "Nobody is signed in here without being asked")
    return _AuthorizationRequest(
        redirect_uri=query["redirect_uri"],
        response_mode=response_mode,
        scopes=_scopes(query.get("scope", "")),
        state=query.get("state"),
        nonce=query.get("nonce"),
        code_challenge=query["code_challenge"],
    )


def _scopes(text: str) -> tuple[str, ...]:
    scopes = tuple(text.split())
    if not scopes:
        raise OAuthRefusedError("invalid_scope", "A scope is required")
    if not set(scopes) <= set(SCOPES):
        raise OAuthRefusedError("invalid_scope", f"The scopes are {' '.join(SCOPES)}")
    return scopes


def _client_form(request: Request) -> dict[str, str]:
    """The form of the one client, which is public: it has an identifier and nothing to prove it with."""
    form = form_of(request)
    if request.header("authorization") is not None or "client_secret" in form:
        raise OAuthRefusedError("invalid_client", "This client has no secret")
    if form.get("client_id") != CLIENT_ID:
        raise OAuthRefusedError("invalid_client", "The client is unknown")
    return form


def _required(form: dict[str, str], name: str) -> str:
    if not form.get(name):
        raise OAuthRefusedError("invalid_request", f"{name} is missing")
    return form[name]


def _api(handler: Handler) -> Handler:
    """Errors as RFC 6749 §5.2 words them."""

    def answer(request: Request) -> Response:
        try:
            return handler(request)
        except OAuthRefusedError as exc:
            return _error(exc)
        except BadRequestError as exc:
            return _error(OAuthRefusedError("invalid_request", str(exc)))

    return answer


def _error(error: OAuthRefusedError) -> Response:
    body = {"error": error.error, "error_description": error.description}
    return json_response(_STATUS.get(error.error, 400), body)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
