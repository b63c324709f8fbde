"""An organization's identity provider (Entra ID, Okta, any OpenID provider): a public client with PKCE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kirotunnel.errors import DiscoveryError, FlowUnavailableError, ServiceReplyError, ServiceUnreachableError
from kirotunnel.oauth.authorization import AuthorizationRequest
from kirotunnel.oauth.device import DEFAULT_INTERVAL_S, DEVICE_CODE_GRANT, DeviceAuthorization, PollAnswer
from kirotunnel.oauth.discovery import ProviderMetadata, discovery_requests, is_missing, read_metadata
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.oauth.http import HttpClient
from kirotunnel.oauth.id_token import Expectation, Identity, read_keys, validate
from kirotunnel.oauth.messages import Members, Reply, Request, get, post_form
from kirotunnel.oauth.refusals import code_refused, optional_page, page_url, refused, renewal_refused, user_code
from kirotunnel.oauth.session import OpenIdGrant
from kirotunnel.oauth.tokens import DEFAULT_LIFETIME_S, TokenSet
from kirotunnel.redaction import Secret

DEFAULT_SCOPES: Final = ("openid", "profile", "email", "offline_access")
REDIRECT_PATH: Final = "/oauth/callback"
_POLL: Final[dict[str, PollAnswer]] = {
    "authorization_pending": "pending",
    "slow_down": "slow_down",
    "expired_token": "expired",
    "access_denied": "denied",
    "authorization_declined": "denied",  # Entra ID's own word for it
}
_ENDS_SESSION: Final = frozenset({"invalid_grant", "interaction_required", "consent_required", "login_required"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who we are to that provider, and what we ask for."""

    issuer: str
    client_id: str
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    login_hint: str | None = None
    audience: str | None = None

    def __post_init__(self) -> None:
        if "offline_access" not in self.scopes:
            object.__setattr__(self, "scopes", (*self.scopes, "offline_access"))

    @property
    def asks_for_identity(self) -> bool:
        """Whether an ID token is to come."""
        return "openid" in self.scopes


def authorize_url(provider: ProviderMetadata, client: Client, request: AuthorizationRequest) -> Secret[str]:
    """The page to open."""
    parameters = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": request.redirect_uri,
        **request.pkce,
        "state": request.state.reveal(),
        "scope": " ".join(client.scopes),
    }
    if request.nonce is not None:
        parameters["nonce"] = request.nonce.reveal()
    if client.login_hint:
        parameters["login_hint"] = client.login_hint
    if client.audience:
        parameters["audience"] = client.audience
    return request.url(provider.authorization_endpoint, parameters)


def code_request(endpoint: str, client_id: str, request: AuthorizationRequest, code: Secret[str]) -> Request:
    """A code for tokens (RFC 6749 §4.1.3, RFC 7636 §4.5)."""
    parameters: dict[str, str | Secret[str]] = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": client_id,
        "redirect_uri": request.redirect_uri,
        "code_verifier": request.verifier.value,
    }
    return post_form(endpoint, parameters)


def refresh_request(grant: OpenIdGrant, refresh_token: Secret[str]) -> Request:
    """A refresh token for the next tokens (RFC 6749 §6)."""
    parameters: dict[str, str | Secret[str]] = {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
        "client_id": grant.client_id,
    }
    return post_form(grant.token_endpoint, parameters)


def revocation_request(endpoint: str, client_id: str, refresh_token: Secret[str]) -> Request:
    """The end of a session (RFC 7009 §2.1)."""
    parameters: dict[str, str | Secret[str]] = {
        "token": refresh_token,
        "token_type_hint": "refresh_token",
        "client_id": client_id,
    }
    return post_form(endpoint, parameters)


def device_request(endpoint: str, client: Client) -> Request:
    """A device code (RFC 8628 §3.1)."""
    return post_form(endpoint, {"client_id": client.client_id, "scope": " ".join(client.scopes)})


def poll_request(endpoint: str, client_id: str, device_code: Secret[str]) -> Request:
    """Was it confirmed? (RFC 8628 §3.4)"""
    parameters: dict[str, str | Secret[str]] = {
        "grant_type": DEVICE_CODE_GRANT,
        "device_code": device_code,
        "client_id": client_id,
    }
    return post_form(endpoint, parameters)


def read_tokens(members: Members, now: float) -> TokenSet:
    """The tokens of an answer (RFC 6749 §5.1). Raises ServiceReplyError."""
    kind = members.optional_text("token_type")
    if kind is not None and kind.lower() != "bearer":
        raise ServiceReplyError(f"the provider gave a token of the type {members.quoted('token_type')}, not Bearer")
    return TokenSet(
        access_token=members.secret("access_token"),
        refresh_token=members.optional_secret("refresh_token"),
        expires_at=now + members.seconds("expires_in", DEFAULT_LIFETIME_S),
        id_token=members.optional_secret("id_token"),
        email=members.quoted("email") or None,
    )


def read_device(reply: Reply, endpoints: Endpoints) -> DeviceAuthorization:
    """The device code (RFC 8628 §3.2). Raises ServiceRefusedError or ServiceReplyError."""
    if not reply.ok:
        raise refused(reply, _words(reply))
    members = reply.members()
    return DeviceAuthorization(
        device_code=members.secret("device_code"),
        user_code=user_code(members.text("user_code")),
        verification_uri=page_url(members.text("verification_uri"), reply.host, endpoints),
        verification_uri_complete=optional_page(
            members.optional_text("verification_uri_complete"), reply.host, endpoints
        ),
        expires_in_s=members.seconds("expires_in", 600.0),
        interval_s=members.seconds("interval", DEFAULT_INTERVAL_S),
    )


def read_poll(reply: Reply, now: float) -> TokenSet | PollAnswer:
    """What became of the device code (RFC 8628 §3.5). Raises ServiceRefusedError for another error."""
    if reply.ok:
        return read_tokens(reply.members(), now)
    if reply.status == 429:
        return "slow_down"
    if answer := _POLL.get(reply.error_members().optional_text("error") or ""):
        return answer
    raise refused(reply, _words(reply))


def _words(reply: Reply) -> str:
    members = reply.error_members()
    error, said = members.quoted("error"), members.quoted("error_description")
    return f"{error}, {said}" if error and said else error or said


class OpenIdProvider:
    """The provider, spoken to; made by `discover`."""

    def __init__(self, http: HttpClient, endpoints: Endpoints, metadata: ProviderMetadata, client: Client) -> None:
        self._http = http
        self._endpoints = endpoints
        self.metadata = metadata
        self.client = client

    @classmethod
    async def discover(cls, http: HttpClient, endpoints: Endpoints, client: Client) -> OpenIdProvider:
        """Read the provider's description of itself. Raises DiscoveryError."""
        first, second = discovery_requests(client.issuer, endpoints)
        reply = await http.send(first)
        if is_missing(reply):
            other = await http.send(second)
            reply = other if other.ok else reply
        return cls(http, endpoints, read_metadata(reply, client.issuer, endpoints), client)

    async def exchange(self, request: AuthorizationRequest, code: Secret[str], now: float) -> TokenSet:
        """A code for tokens. Raises TokenRequestError where it is refused."""
        reply = await self._http.send(code_request(self.metadata.token_endpoint, self.client.client_id, request, code))
        if not reply.ok:
            raise code_refused(reply, _words(reply))
        return read_tokens(reply.members(), now)

    async def start_device(self) -> DeviceAuthorization:
        """A device code. Raises FlowUnavailableError where the provider offers none."""
        endpoint = self.metadata.device_authorization_endpoint
        if endpoint is None:
            raise FlowUnavailableError(
                f"{self.metadata.issuer} offers no one-time codes", "leave `--flow device` out: a callback works there"
            )
        return read_device(await self._http.send(device_request(endpoint, self.client)), self._endpoints)

    async def poll(self, device_code: Secret[str], now: float) -> TokenSet | PollAnswer:
        """Was it confirmed?"""
        request = poll_request(self.metadata.token_endpoint, self.client.client_id, device_code)
        try:
            return read_poll(await self._http.send(request, once=True), now)
        except (ServiceUnreachableError, ServiceReplyError):
            return "trouble"

    async def identity(self, tokens: TokenSet, nonce: Secret[str] | None, now: float) -> Identity | None:
        """Who it is, where an ID token came. Raises IdTokenError."""
        if tokens.id_token is None:
            return None
        if self.metadata.jwks_uri is None:
            raise DiscoveryError(f"the description of {self.metadata.issuer} has no jwks_uri for its ID token")
        expected = Expectation(issuer=self.metadata.issuer, client_id=self.client.client_id, now=now, nonce=nonce)
        keys = read_keys(await self._http.send(get(self.metadata.jwks_uri)))
        return validate(tokens.id_token, keys, expected)

    def grant(self) -> OpenIdGrant:
        """What a session needs to be renewed and ended."""
        return OpenIdGrant(
            issuer=self.metadata.issuer,
            client_id=self.client.client_id,
            token_endpoint=self.metadata.token_endpoint,
            revocation_endpoint=self.metadata.revocation_endpoint,
        )


async def renew(http: HttpClient, grant: OpenIdGrant, refresh_token: Secret[str], now: float) -> TokenSet:
    """A refresh token for the next tokens. Raises SessionEndedError where it is refused.

    An ID token in the answer is passed over: nothing is taken from it, and a failure to check it would lose the
    refresh token that came with it.
    """
    reply = await http.send(refresh_request(grant, refresh_token))
    if not reply.ok:
        error = reply.error_members().optional_text("error")
        raise renewal_refused(reply, _words(reply), ends=error in _ENDS_SESSION)
    return read_tokens(reply.members(), now)


async def end(http: HttpClient, grant: OpenIdGrant, refresh_token: Secret[str]) -> bool:
    """Revoke at the provider, where it can; whether it did."""
    if grant.revocation_endpoint is None:
        return False
    return (await http.send(revocation_request(grant.revocation_endpoint, grant.client_id, refresh_token))).ok
