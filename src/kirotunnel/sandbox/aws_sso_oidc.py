"""AWS's SSO OIDC service for Builder ID and IAM Identity Center: botocore's `sso-oidc` model, and its pages."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode

from kirotunnel.local.http1 import Request
from kirotunnel.sandbox.accounts import SAMPLE_ACCOUNTS, SignInMethod
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
from kirotunnel.sandbox.handover import hand_over
from kirotunnel.sandbox.portal import BUILDER_ID_START_URL
from kirotunnel.sandbox.redirect_uris import matches_registered, redirect_problem
from kirotunnel.sandbox.templates import refusal
from kirotunnel.sandbox.web import (
    BadRequestError,
    Handler,
    Response,
    Route,
    asked_origin,
    json_of,
    json_response,
    query_of,
    web_address,
)

SERVICE: Final = "aws-sso-oidc"
DEVICE_PATH: Final = "/start/device"
DEVICE_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
GRANT_TYPES: Final = frozenset({"authorization_code", "refresh_token", DEVICE_CODE_GRANT})

ERRORS: Final[dict[str, tuple[int, str]]] = {
    "AccessDeniedException": (400, "access_denied"),
    "AuthorizationPendingException": (400, "authorization_pending"),
    "ExpiredTokenException": (400, "expired_token"),
    "InternalServerException": (500, "server_error"),
    "InvalidClientException": (401, "invalid_client"),
    "InvalidClientMetadataException": (400, "invalid_client_metadata"),
    "InvalidGrantException": (400, "invalid_grant"),
    "InvalidRedirectUriException": (400, "invalid_redirect_uri"),
    "InvalidRequestException": (400, "invalid_request"),
    "InvalidRequestRegionException": (400, "invalid_request"),
    "InvalidScopeException": (400, "invalid_scope"),
    "SlowDownException": (400, "slow_down"),
    "UnauthorizedClientException": (400, "unauthorized_client"),
    "UnsupportedGrantTypeException": (400, "unsupported_grant_type"),
}
"""Every error shape of the model, with its HTTP status and the `error` that its documentation gives."""
_POLL_ERRORS: Final = {
    "unknown": ("InvalidGrantException", "Invalid device code provided"),
    "expired": ("ExpiredTokenException", "The device code has expired"),
    "denied": ("AccessDeniedException", "The user denied the request"),
    "pending": ("AuthorizationPendingException", "The user has not answered yet"),
    "slow_down": ("SlowDownException", "Poll less often"),
}
_SCOPE: Final = re.compile(r"[A-Za-z0-9_.-]+(?::[A-Za-z0-9_.-]+)*")


class OidcError(Exception):
    """An error shape of the model, with its description."""

    def __init__(self, shape: str, description: str) -> None:
        super().__init__(description)
        self.shape = shape
        self.description = description


@dataclass(frozen=True, slots=True, kw_only=True)
class _Client:
    """A registration (RegisterClient)."""

    client_id: str
    client_secret: str = field(repr=False)
    name: str
    scopes: tuple[str, ...]
    redirect_uris: tuple[str, ...]
    grant_types: frozenset[str]
    issuer_url: str
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _AuthorizationRequest:
    """A good `/authorize` request."""

    client: _Client
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str
    code_challenge: str


class AwsSsoOidc:
    """The three operations of the service, and the pages under `/authorize` and `/start`."""

    def __init__(self, clock: Clock, behaviour: Behaviour, *, hand_over: HandOver, public_url: str) -> None:
        self._clock = clock
        self._behaviour = behaviour
        self._hand_over: HandOver = hand_over
        self._public_url = public_url
        self._grants = Grants(clock, behaviour)
        self._devices = DeviceCodes(clock, behaviour)
        self._clients: Shelf[_Client] = Shelf()
        self._asked: Shelf[_AuthorizationRequest] = Shelf()
        self._pages = DevicePages(
            self._devices, service=SERVICE, title="AWS access portal", path=DEVICE_PATH, look="aws"
        )

    def routes(self) -> Iterable[Route]:
        """What is answered."""
        yield Route(SERVICE, "RegisterClient", "POST", "/client/register", _api(self.register_client))
        yield Route(
            SERVICE, "StartDeviceAuthorization", "POST", "/device_authorization", _api(self.start_device_authorization)
        )
        yield Route(SERVICE, _token_operation, "POST", "/token", _api(self.create_token))
        yield Route(SERVICE, "authorize", "GET", "/authorize", self.authorize)
        yield Route(SERVICE, "decision", "POST", "/authorize/decision", self.decide)
        yield from self._pages.routes()

    def failure(self, error: str) -> Response:
        """What this service answers when it fails: `error` is the name of an error shape."""
        return _error(OidcError(error, "This failure was asked for"))

    # --- the operations ----------------------------------------------------------------------------------------------

    def register_client(self, request: Request) -> Response:
        """RegisterClient: public clients only, each with a secret that is none (RFC 8252 §8.5)."""
        body = _body(request)
        name, client_type = _text(body, "clientName"), _text(body, "clientType")
        if client_type != "public":
            raise OidcError("InvalidClientMetadataException", "clientType must be public")
        grant_types = _grant_types(body)
        redirect_uris = _redirect_uris(body)
        issuer_url = _text(body, "issuerUrl", required="authorization_code" in grant_types)
        if issuer_url and not _is_start_url(issuer_url):
            raise OidcError("InvalidRequestException", "Invalid issuerUrl provided")
        if "authorization_code" in grant_types and not redirect_uris:
            raise OidcError("InvalidRequestException", "redirectUris is required for authorization_code")
        now = self._clock()
        client = _Client(
            client_id=secrets.token_urlsafe(16),
            client_secret=secrets.token_urlsafe(48),
            name=name,
            scopes=_scopes(body),
            redirect_uris=redirect_uris,
            # A registration that names no grant types is one for device codes.
            grant_types=grant_types or frozenset({DEVICE_CODE_GRANT, "refresh_token"}),
            issuer_url=issuer_url,
            expires_at=now + self._behaviour.client_secret_lifetime_s,
        )
        self._clients.put(client.client_id, client)
        answer = {
            "clientId": client.client_id,
            "clientSecret": client.client_secret,
            "clientIdIssuedAt": int(now),
            "clientSecretExpiresAt": int(client.expires_at),
            "authorizationEndpoint": f"{self._public_url}/authorize",
            "tokenEndpoint": f"{asked_origin(request)}/token",
        }
        return json_response(200, answer)

    def start_device_authorization(self, request: Request) -> Response:
        """StartDeviceAuthorization: a device code for a start URL."""
        body = _body(request)
        client = self._client(body)
        start_url = _text(body, "startUrl")
        _expect_grant(client, DEVICE_CODE_GRANT)
        if not _is_start_url(start_url):
            raise OidcError("InvalidRequestException", "Invalid startUrl provided")
        device = self._devices.issue(
            method=_method(start_url), client_id=client.client_id, client_name=client.name, scopes=client.scopes
        )
        page = f"{self._public_url}{DEVICE_PATH}"
        answer = {
            "deviceCode": device.device_code,
            "userCode": device.user_code,
            "verificationUri": page,
            "verificationUriComplete": f"{page}?{urlencode({'user_code': device.user_code}, quote_via=quote)}",
            "expiresIn": self._behaviour.device_lifetime_s,
            "interval": device.interval_s,
        }
        return json_response(200, answer)

    def create_token(self, request: Request) -> Response:
        """CreateToken, by device code, authorization code or refresh token."""
        if _token_operation(request) == "CreateTokenWithIAM":
            raise OidcError("UnauthorizedClientException", "There are no applications with IAM authentication here")
        body = _body(request)
        grant_type = _text(body, "grantType")
        client = self._client(body)
        if grant_type not in GRANT_TYPES:
            raise OidcError("UnsupportedGrantTypeException", "This grantType is not supported")
        _expect_grant(client, grant_type)
        if not set(_scopes(body, "scope")) <= set(client.scopes):
            raise OidcError("InvalidScopeException", "The client is not registered for this scope")
        if grant_type == DEVICE_CODE_GRANT:
            return self._tokens(self._by_device_code(client, body))
        try:
            by_code = grant_type == "authorization_code"
            return self._tokens(self._by_code(client, body) if by_code else self._by_refresh_token(client, body))
        except GrantError as exc:
            raise OidcError("InvalidGrantException", str(exc)) from exc

    def _by_device_code(self, client: _Client, body: dict[str, object]) -> Authorization:
        polled = self._devices.poll(_text(body, "deviceCode"), client_id=client.client_id)
        if not isinstance(polled, Authorization):
            raise OidcError(*_POLL_ERRORS[polled])
        return polled

    def _by_code(self, client: _Client, body: dict[str, object]) -> Authorization:
        return self._grants.redeem_code(
            _text(body, "code"),
            client_id=client.client_id,
            redirect_uri=_text(body, "redirectUri"),
            code_verifier=_text(body, "codeVerifier"),
        )

    def _by_refresh_token(self, client: _Client, body: dict[str, object]) -> Authorization:
        return self._grants.rotate(_text(body, "refreshToken"), client_id=client.client_id)

    def _tokens(self, authorization: Authorization) -> Response:
        answer = {
            "accessToken": opaque_token(),
            "tokenType": "Bearer",
            "expiresIn": self._behaviour.access_token_lifetime_s,
            "refreshToken": self._grants.issue_refresh_token(authorization),
            # Not of the real service: the stand-in CLI has no API to ask who it is.
            "email": authorization.account.email,
        }
        return json_response(200, answer)

    def _client(self, body: dict[str, object]) -> _Client:
        client_id, client_secret = _text(body, "clientId"), _text(body, "clientSecret")
        client = self._clients.get(client_id)
        if client is None or not hmac.compare_digest(client.client_secret.encode(), client_secret.encode()):
            raise OidcError("InvalidClientException", "Invalid client provided")
        if self._clock() >= client.expires_at:
            raise OidcError("InvalidClientException", "The client secret has expired")
        return client

    # --- the pages ---------------------------------------------------------------------------------------------------

    def authorize(self, request: Request) -> Response:
        """The authorization request (RFC 6749 §4.1.1); the parameter is called `scopes` here."""
        query = query_of(request)
        client = self._clients.get(query.get("client_id", ""))
        if client is None or self._clock() >= client.expires_at:
            return refusal("Invalid request. The client is unknown.", look="aws")
        redirect_uri = query.get("redirect_uri", "")
        if not any(matches_registered(redirect_uri, registered) for registered in client.redirect_uris):
            return refusal("Invalid request. The redirect URI is not one of the client's.", look="aws")
        problem = _authorization_problem(client, query)
        if problem:
            answer = {"error": problem[0], "error_description": problem[1], "state": query.get("state", "")}
            return hand_over(
                "redirect", redirect_uri, {name: value for name, value in answer.items() if value}, look="aws"
            )
        asked = secrets.token_urlsafe(16)
        good = _AuthorizationRequest(
            client=client,
            redirect_uri=redirect_uri,
            scopes=tuple(query["scopes"].split()),
            state=query["state"],
            code_challenge=query["code_challenge"],
        )
        self._asked.put(asked, good)
        return self._consent(asked, good)

    def decide(self, request: Request) -> Response:
        """Send the browser back to the client with the answer."""
        decision = decision_of(request)
        asked = self._asked.pop(decision.request)
        if asked is None:
            return refusal("This request was answered already, or it is too old.", look="aws")
        if not decision.allowed:
            denial = {"error": "access_denied", "error_description": "The user denied the request"}
            return hand_over(self._hand_over, asked.redirect_uri, {**denial, "state": asked.state}, look="aws")
        code = self._grants.issue_code(
            Authorization(
                method=_method(asked.client.issuer_url), client_id=asked.client.client_id, scopes=asked.scopes
            ),
            redirect_uri=asked.redirect_uri,
            code_challenge=asked.code_challenge,
        )
        return hand_over(self._hand_over, asked.redirect_uri, {"code": code, "state": asked.state}, look="aws")

    def _consent(self, asked: str, good: _AuthorizationRequest) -> Response:
        method = _method(good.client.issuer_url)
        return consent_page(
            service="AWS Builder ID" if method == "builder-id" else "IAM Identity Center",
            heading=f"Allow {good.client.name} to access your data?",
            question=f"{good.client.name} asks for:",
            granted=good.scopes,
            account=SAMPLE_ACCOUNTS[method],
            action="/authorize/decision",
            request=asked,
            look="aws",
            form_targets=(good.redirect_uri, self._public_url),
        )


def _token_operation(request: Request) -> str:
    return "CreateTokenWithIAM" if query_of(request).get("aws_iam") == "t" else "CreateToken"


def _authorization_problem(client: _Client, query: dict[str, str]) -> tuple[str, str] | None:
    """What is wrong with the request, as the error of RFC 6749 §4.1.2.1 and its description."""
    if query.get("response_type") != "code":
        return "unsupported_response_type", "The response type is code"
    if "authorization_code" not in client.grant_types:
        return "unauthorized_client", "The client is not registered for authorization_code"
    if query.get("code_challenge_method") != "S256" or not is_code_challenge(query.get("code_challenge", "")):
        return "invalid_request", "A code challenge by S256 is required"
    if not query.get("state"):
        return "invalid_request", "The state is missing"
    scopes = query.get("scopes", "").split()
    if not scopes:
        return "invalid_request", "The parameter scopes is missing"
    if not set(scopes) <= set(client.scopes):
        return "invalid_scope", "The client is not registered for these scopes"
    return None


def _is_start_url(text: str) -> bool:
    """Whether it can be the start URL, or the issuer URL, of an identity centre."""
    url = web_address(text)
    return url is not None and (url.path.rstrip("/") == "/start" or url.hostname == "identitycenter.amazonaws.com")


def _method(start_url: str) -> SignInMethod:
    return "builder-id" if start_url.rstrip("/") == BUILDER_ID_START_URL else "idc"


def _grant_types(body: dict[str, object]) -> frozenset[str]:
    grant_types = frozenset(_texts(body, "grantTypes"))
    if not grant_types <= GRANT_TYPES:
        raise OidcError("UnsupportedGrantTypeException", "One of the grantTypes is not supported")
    return grant_types


def _redirect_uris(body: dict[str, object]) -> tuple[str, ...]:
    redirect_uris = _texts(body, "redirectUris")
    for redirect_uri in redirect_uris:
        if problem := redirect_problem(redirect_uri):
            raise OidcError("InvalidRedirectUriException", problem)
    return redirect_uris


def _scopes(body: dict[str, object], name: str = "scopes") -> tuple[str, ...]:
    scopes = _texts(body, name)
    if not all(_SCOPE.fullmatch(scope) for scope in scopes):
        raise OidcError("InvalidScopeException", "One of the scopes is malformed")
    return scopes


def _expect_grant(client: _Client, grant_type: str) -> None:
    if grant_type not in client.grant_types:
        raise OidcError("UnauthorizedClientException", "The client is not registered for this grant type")


def _body(request: Request) -> dict[str, object]:
    try:
        return json_of(request)
    except BadRequestError as exc:
        raise OidcError("InvalidRequestException", str(exc)) from exc


def _text(body: dict[str, object], name: str, *, required: bool = True) -> str:
    value = body.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or not value:
        raise OidcError("InvalidRequestException", f"{name} is missing or no text")
    return value


def _texts(body: dict[str, object], name: str) -> tuple[str, ...]:
    values = body.get(name)
    if values is None:
        return ()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise OidcError("InvalidRequestException", f"{name} is no list of texts")
    return tuple(values)


def _api(handler: Handler) -> Handler:
    """Errors as this service words them."""

    def answer(request: Request) -> Response:
        try:
            return handler(request)
        except OidcError as exc:
            return _error(exc)
        except BadRequestError as exc:
            return _error(OidcError("InvalidRequestException", str(exc)))

    return answer


def _error(error: OidcError) -> Response:
    status, code = ERRORS[error.shape]
    body: dict[str, str] = {"error": code, "error_description": error.description}
    if error.shape == "InvalidRequestRegionException":
        body |= {"endpoint": "https://oidc.us-east-1.amazonaws.com", "region": "us-east-1"}
    # The SDKs find the exception by this header alone: the body's `error` is not its name.
    return json_response(status, body, (("x-amzn-ErrorType", error.shape),))
