"""AWS's dialect, SSO OIDC (REST-JSON): client registration, authorization code with PKCE, device code, renewal."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Final

from kirotunnel.errors import ServiceRefusedError, ServiceReplyError, ServiceUnreachableError
from kirotunnel.oauth.authorization import AuthorizationRequest
from kirotunnel.oauth.device import DEFAULT_INTERVAL_S, DEVICE_CODE_GRANT, DeviceAuthorization, PollAnswer
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.oauth.http import HttpClient
from kirotunnel.oauth.messages import Members, Reply, Request, post_json
from kirotunnel.oauth.refusals import code_refused, optional_page, page_url, refused, renewal_refused, user_code
from kirotunnel.oauth.session import AwsGrant
from kirotunnel.oauth.tokens import DEFAULT_LIFETIME_S, TokenSet
from kirotunnel.redaction import Secret

BUILDER_ID_START_URL: Final = "https://view.awsapps.com/start"
"""Builder ID has one start URL and one region for everybody."""
BUILDER_ID_REGION: Final = "us-east-1"
SCOPES: Final = ("codewhisperer:completions", "codewhisperer:analysis", "codewhisperer:conversations")
CLIENT_NAME: Final = "kirotunnel"
"""Stands on AWS's consent page: the person should read there who asks."""
REDIRECT_PATH: Final = "/oauth/callback"
# Without a port, so that one registration serves every sign-in (RFC 8252 §7.3; the AWS CLI registers the same way).
REGISTERED_REDIRECT: Final = f"http://127.0.0.1{REDIRECT_PATH}"
_SPARE_S: Final = 3600.0
"""A registration that ends sooner is not begun with: the session could not be renewed by it."""

_ENDS_SESSION: Final = frozenset(
    {
        "InvalidGrantException",
        "ExpiredTokenException",
        "AccessDeniedException",
        "InvalidClientException",
        "UnauthorizedClientException",
    }
)
_POLL: Final[dict[str, PollAnswer]] = {
    "AuthorizationPendingException": "pending",
    "SlowDownException": "slow_down",
    "ExpiredTokenException": "expired",
    "AccessDeniedException": "denied",
}
_ERROR_CODES: Final = {
    "authorization_pending": "AuthorizationPendingException",
    "slow_down": "SlowDownException",
    "expired_token": "ExpiredTokenException",
    "access_denied": "AccessDeniedException",
    "invalid_grant": "InvalidGrantException",
    "invalid_client": "InvalidClientException",
    "unauthorized_client": "UnauthorizedClientException",
}
_REGION_HINT: Final = "check --start-url and --region: the region is that of the Identity Center, not of your machines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A client of ours at AWS (RegisterClient)."""

    client_id: str
    client_secret: Secret[str]
    expires_at: float
    authorization_endpoint: str | None = None
    """Where the service says it; else it is known."""

    def is_good(self, now: float) -> bool:
        """Whether a sign-in may begin with it."""
        return now < self.expires_at - _SPARE_S

    def dump(self) -> Secret[str]:
        """As text, to be kept."""
        values = {
            "client_id": self.client_id,
            "client_secret": self.client_secret.reveal(),
            "expires_at": self.expires_at,
            "authorization_endpoint": self.authorization_endpoint,
        }
        return Secret(json.dumps(values))

    @classmethod
    def load(cls, text: Secret[str]) -> Registration | None:
        """The registration of a text that `dump` made; None for any other: it can be made anew."""
        try:
            values = json.loads(text.reveal())
            client_id, secret, expires = values["client_id"], values["client_secret"], values["expires_at"]
            endpoint = values.get("authorization_endpoint")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        good = isinstance(client_id, str) and isinstance(secret, str) and isinstance(expires, (int, float))
        if not good or not math.isfinite(expires):
            return None
        return cls(
            client_id=client_id,
            client_secret=Secret(secret),
            expires_at=float(expires),
            authorization_endpoint=endpoint if isinstance(endpoint, str) else None,
        )


# --- requests --------------------------------------------------------------------------------------------------------


def register_request(base: str, start_url: str, *, device: bool) -> Request:
    """RegisterClient."""
    members: dict[str, object] = {"clientName": CLIENT_NAME, "clientType": "public", "scopes": list(SCOPES)}
    if not device:
        members |= {
            "issuerUrl": start_url,
            "redirectUris": [REGISTERED_REDIRECT],
            "grantTypes": ["authorization_code", "refresh_token"],
        }
    return post_json(f"{base}/client/register", members)


def authorize_url(base: str, client: Registration, request: AuthorizationRequest) -> Secret[str]:
    """The page to open. The parameter is called `scopes` here."""
    parameters = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": request.redirect_uri,
        "scopes": " ".join(SCOPES),
        "state": request.state.reveal(),
        **request.pkce,
    }
    return request.url(client.authorization_endpoint or f"{base}/authorize", parameters)


def device_request(base: str, client: Registration, start_url: str) -> Request:
    """StartDeviceAuthorization."""
    return post_json(f"{base}/device_authorization", {**_identity(client), "startUrl": start_url})


def code_request(base: str, client: Registration, request: AuthorizationRequest, code: Secret[str]) -> Request:
    """CreateToken by authorization code."""
    members = {
        **_identity(client),
        "grantType": "authorization_code",
        "code": code,
        "codeVerifier": request.verifier.value,
        "redirectUri": request.redirect_uri,
    }
    return post_json(f"{base}/token", members)


def poll_request(base: str, client: Registration, device_code: Secret[str]) -> Request:
    """CreateToken by device code."""
    return post_json(f"{base}/token", {**_identity(client), "grantType": DEVICE_CODE_GRANT, "deviceCode": device_code})


def refresh_request(base: str, grant: AwsGrant, refresh_token: Secret[str]) -> Request:
    """CreateToken by refresh token."""
    members = {
        "clientId": grant.client_id,
        "clientSecret": grant.client_secret,
        "grantType": "refresh_token",
        "refreshToken": refresh_token,
    }
    return post_json(f"{base}/token", members)


def _identity(client: Registration) -> dict[str, object]:
    return {"clientId": client.client_id, "clientSecret": client.client_secret}


# --- replies ---------------------------------------------------------------------------------------------------------


def error_shape(reply: Reply) -> str:
    """The name of the error shape: in a header, in `__type`, or by the OAuth code in `error`."""
    members = reply.error_members()
    named = reply.headers.get("x-amzn-errortype") or members.optional_text("__type") or ""
    # `com.amazonaws.ssooidc#SlowDownException:http://internal.amazon.com/...`
    shape = named.partition(":")[0].rpartition("#")[2].strip()
    return shape or _ERROR_CODES.get(members.optional_text("error") or "", "")


def read_registration(reply: Reply, endpoints: Endpoints) -> Registration:
    """The registration. Raises ServiceRefusedError or ServiceReplyError."""
    if not reply.ok:
        raise refused(reply, _words(reply), _REGION_HINT)
    members = reply.members()
    expires = members.value("clientSecretExpiresAt")
    if isinstance(expires, bool) or not isinstance(expires, (int, float)) or not 0 <= expires < 1e11:
        raise ServiceReplyError(f"the answer of {reply.host} has no clientSecretExpiresAt")
    return Registration(
        client_id=members.secret("clientId").reveal(),
        client_secret=members.secret("clientSecret"),
        # RFC 7591 §3.2.1: 0 is for ever.
        expires_at=float(expires) or 1e11,
        authorization_endpoint=optional_page(members.optional_text("authorizationEndpoint"), reply.host, endpoints),
    )


def read_device(reply: Reply, endpoints: Endpoints) -> DeviceAuthorization:
    """The device code. Raises ServiceRefusedError or ServiceReplyError."""
    if not reply.ok:
        raise refused(reply, _words(reply), _REGION_HINT)
    members = reply.members()
    return DeviceAuthorization(
        device_code=members.secret("deviceCode"),
        user_code=user_code(members.text("userCode")),
        verification_uri=page_url(members.text("verificationUri"), reply.host, endpoints),
        verification_uri_complete=optional_page(
            members.optional_text("verificationUriComplete"), reply.host, endpoints
        ),
        expires_in_s=members.seconds("expiresIn", 600.0),
        interval_s=members.seconds("interval", DEFAULT_INTERVAL_S),
    )


def read_tokens(members: Members, now: float) -> TokenSet:
    """The tokens of an answer. Raises ServiceReplyError."""
    return TokenSet(
        access_token=members.secret("accessToken"),
        refresh_token=members.optional_secret("refreshToken"),
        expires_at=now + members.seconds("expiresIn", DEFAULT_LIFETIME_S),
        email=members.quoted("email") or None,
    )


def read_poll(reply: Reply, now: float) -> TokenSet | PollAnswer:
    """What became of the device code. Raises ServiceRefusedError for an error that is about something else."""
    if reply.ok:
        return read_tokens(reply.members(), now)
    if reply.status == 429:
        return "slow_down"
    if answer := _POLL.get(error_shape(reply)):
        return answer
    raise refused(reply, _words(reply))


def _words(reply: Reply) -> str:
    shape, said = error_shape(reply), reply.error_members().quoted("error_description", "message", "Message")
    known = shape if shape.isalnum() and len(shape) < 60 else ""
    return f"{known}, {said}" if known and said else known or said


class RegistrationRefusedError(ServiceRefusedError):
    """The registration that was kept is not good any more: make a new one and try again."""


class AwsSsoOidc:
    """The service of one region, spoken to."""

    def __init__(self, http: HttpClient, endpoints: Endpoints, region: str) -> None:
        self._http = http
        self._endpoints = endpoints
        self.base = endpoints.aws(region)

    async def register(self, start_url: str, *, device: bool) -> Registration:
        """A client of ours."""
        reply = await self._http.send(register_request(self.base, start_url, device=device))
        return read_registration(reply, self._endpoints)

    async def exchange(
        self, client: Registration, request: AuthorizationRequest, code: Secret[str], now: float
    ) -> TokenSet:
        """A code for tokens. Raises TokenRequestError where it is refused."""
        reply = await self._http.send(code_request(self.base, client, request, code))
        if not reply.ok:
            raise code_refused(reply, _words(reply))
        return read_tokens(reply.members(), now)

    async def renew(self, grant: AwsGrant, refresh_token: Secret[str], now: float) -> TokenSet:
        """A refresh token for the next tokens. Raises SessionEndedError where it is refused."""
        reply = await self._http.send(refresh_request(self.base, grant, refresh_token))
        if not reply.ok:
            raise renewal_refused(reply, _words(reply), ends=error_shape(reply) in _ENDS_SESSION)
        return read_tokens(reply.members(), now)

    async def start_device(self, client: Registration, start_url: str) -> DeviceAuthorization:
        """A device code. Raises RegistrationRefusedError where the client is not known any more."""
        reply = await self._http.send(device_request(self.base, client, start_url))
        if error_shape(reply) in {"InvalidClientException", "UnauthorizedClientException"} and not reply.ok:
            raise RegistrationRefusedError(f"{reply.host} no longer knows this client")
        return read_device(reply, self._endpoints)

    async def poll(self, client: Registration, device_code: Secret[str], now: float) -> TokenSet | PollAnswer:
        """Was it confirmed?"""
        try:
            return read_poll(await self._http.send(poll_request(self.base, client, device_code), once=True), now)
        except (ServiceUnreachableError, ServiceReplyError):
            return "trouble"
