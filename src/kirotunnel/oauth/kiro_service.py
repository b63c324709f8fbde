"""Kiro's own dialect: the sign-in portal, and the auth service of Google and GitHub sign-ins.

Byte for byte what kiro-cli sends (2.x): member order, the redirect URI with path and login option, the User-Agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args
from urllib.parse import quote

from kirotunnel.errors import OAuthError, ServiceReplyError, ServiceUnreachableError
from kirotunnel.oauth.authorization import AuthorizationRequest, Granted, check_state, read_response
from kirotunnel.oauth.device import DeviceAuthorization, PollAnswer
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.oauth.http import HttpClient
from kirotunnel.oauth.messages import Members, Reply, Request, post_json, quotable
from kirotunnel.oauth.refusals import code_refused, optional_page, page_url, refused, renewal_refused, user_code
from kirotunnel.oauth.session import Method
from kirotunnel.oauth.tokens import DEFAULT_LIFETIME_S, TokenSet
from kirotunnel.redaction import Secret

PORTS: Final = (3128, 4649, 6588, 8008, 9091, 49153, 50153, 51153, 52153, 53153)
"""The callback ports that the portal accepts, in the order in which kiro-cli tries them."""
CALLBACK_PATHS: Final = ("/oauth/callback", "/signin/callback")
CLIENT_ID: Final = "Kiro-CLI"
_HEADERS: Final = (("User-Agent", "Kiro-CLI"),)
DEFAULT_PROFILE_ARN: Final = "arn:aws:codewhisperer:us-east-1:699475941385:profile/EHGA3GRVQMUK"
"""The profile of everybody whose device sign-in names none."""

SocialProvider = Literal["google", "github"]
_DEVICE_PROVIDERS: Final[dict[SocialProvider, str]] = {"google": "Google", "github": "Github"}
_MIN_INTERVAL_S: Final = 1.0


# --- the portal ------------------------------------------------------------------------------------------------------


def portal_url(portal: str, request: AuthorizationRequest) -> Secret[str]:
    """The page on which the person chooses how to sign in."""
    parameters = {
        "state": request.state.reveal(),
        **request.pkce,
        "redirect_uri": request.redirect_uri,
        "redirect_from": "kirocli",
    }
    return request.url(f"{portal}/signin", parameters)


def portal_end_url(portal: str, problem: str | None = None) -> str:
    """The portal's last page, to which a callback is answered with a redirect."""
    if problem is None:
        return f"{portal}/signin?auth_status=success&redirect_from=kirocli"
    return f"{portal}/signin?auth_status=error&redirect_from=kirocli&error_message={quote(problem, safe='')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SocialChosen:
    """Google or GitHub: the portal did it all, and the code is to be exchanged."""

    provider: SocialProvider
    code: Secret[str]
    redirect_uri: str
    """What the exchange must name: the redirect with its path and login option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsChosen:
    """Builder ID or IAM Identity Center: the sign-in itself follows at AWS."""

    method: Literal["builder-id", "idc"]
    start_url: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationChosen:
    """The organization's identity provider: the sign-in itself follows there."""

    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    login_hint: str | None = None
    audience: str | None = None


PortalChoice = SocialChosen | AwsChosen | OrganizationChosen


def method_of(choice: PortalChoice) -> Method:
    """Which of the five it is."""
    match choice:
        case SocialChosen(provider=provider):
            return provider
        case AwsChosen(method=method):
            return method
        case OrganizationChosen():
            return "external-idp"


def read_portal_callback(request: AuthorizationRequest, path: str, parameters: Mapping[str, str]) -> PortalChoice:
    """What was chosen in the portal. Raises StateMismatchError; OAuthError for a denial and what is not understood."""
    option = parameters.get("login_option", "")
    if option in get_args(SocialProvider) or "error" in parameters:
        response = read_response(request, parameters)
        if not isinstance(response, Granted):
            raise response.as_error({"google": "Google", "github": "GitHub"}.get(option, "the sign-in page"))
        provider: SocialProvider = "google" if option == "google" else "github"
        redirect_uri = f"{request.redirect_uri}{path}?login_option={provider}"
        return SocialChosen(provider=provider, code=response.code, redirect_uri=redirect_uri)
    check_state(request, parameters)  # no code here: a second sign-in follows
    if option in {"builderid", "awsidc", "internal"}:
        start_url, region = _needed(parameters, "issuer_url"), _needed(parameters, "idc_region")
        return AwsChosen(method="builder-id" if option == "builderid" else "idc", start_url=start_url, region=region)
    if option == "external_idp":
        return OrganizationChosen(
            issuer=_needed(parameters, "issuer_url"),
            client_id=_needed(parameters, "client_id"),
            scopes=tuple(_needed(parameters, "scopes").split()),
            login_hint=parameters.get("login_hint") or None,
            audience=parameters.get("audience") or None,
        )
    said = quotable(option, (request.state, request.verifier.value), 40) or "none"
    raise OAuthError(
        f"the portal came back with a way of signing in that is not known here: {said}", "update kirotunnel"
    )


def _needed(parameters: Mapping[str, str], name: str) -> str:
    if not parameters.get(name):
        raise OAuthError(f"the portal came back without {name}", "run the command again; if it fails alike, report it")
    return parameters[name]


# --- the auth service ------------------------------------------------------------------------------------------------


def token_request(base: str, chosen: SocialChosen, request: AuthorizationRequest) -> Request:
    """A code for tokens."""
    members = {"code": chosen.code, "code_verifier": request.verifier.value, "redirect_uri": chosen.redirect_uri}
    return post_json(f"{base}/oauth/token", members, _HEADERS)


def refresh_request(base: str, refresh_token: Secret[str]) -> Request:
    """A refresh token for the next tokens."""
    return post_json(f"{base}/refreshToken", {"refreshToken": refresh_token}, _HEADERS)


def logout_request(base: str, refresh_token: Secret[str]) -> Request:
    """The end of a session at the service."""
    return post_json(f"{base}/logout", {"refreshToken": refresh_token}, _HEADERS)


def device_request(base: str, provider: SocialProvider) -> Request:
    """A device code."""
    members = {"clientId": CLIENT_ID, "loginProvider": _DEVICE_PROVIDERS[provider]}
    return post_json(f"{base}/oauth/device/authorization", members, _HEADERS)


def poll_request(base: str, device_code: Secret[str]) -> Request:
    """Was it confirmed?"""
    return post_json(f"{base}/oauth/device/poll", {"deviceCode": device_code, "clientId": CLIENT_ID}, _HEADERS)


def read_tokens(members: Members, now: float, *, default_profile: str | None = None) -> TokenSet:
    """The tokens of an answer. Raises ServiceReplyError."""
    profile = members.optional_text("profileArn") or default_profile
    if profile is None:
        raise ServiceReplyError("the auth service named no profile for this account", "sign in again, or another way")
    return TokenSet(
        access_token=members.secret("accessToken"),
        refresh_token=members.secret("refreshToken"),
        expires_at=now + members.seconds("expiresIn", DEFAULT_LIFETIME_S),
        profile_arn=profile,
        email=members.optional_text("email") and members.quoted("email"),
    )


def read_device(reply: Reply, endpoints: Endpoints) -> DeviceAuthorization:
    """The device code. Raises ServiceRefusedError or ServiceReplyError."""
    if not reply.ok:
        raise refused(reply, _words(reply))
    members = reply.members()
    return DeviceAuthorization(
        device_code=members.secret("deviceCode"),
        user_code=user_code(members.text("userCode")),
        verification_uri=page_url(members.text("verificationUri"), reply.host, endpoints),
        verification_uri_complete=optional_page(
            members.optional_text("verificationUriComplete"), reply.host, endpoints
        ),
        # Milliseconds here, and only here.
        expires_in_s=members.seconds("expiresInMilliseconds", 300_000.0) / 1000,
        interval_s=max(members.seconds("intervalInMilliseconds", 5000.0) / 1000, _MIN_INTERVAL_S),
    )


def read_poll(reply: Reply, now: float) -> TokenSet | PollAnswer:
    """What became of the code: always status 200 with a `status` of its own."""
    if reply.status == 429:
        return "slow_down"
    if not reply.ok:
        raise refused(reply, _words(reply))
    members = reply.members()
    status = members.optional_text("status") or ""
    answers: dict[str, PollAnswer] = {
        "authorization_pending": "pending",
        "slow_down": "slow_down",
        "expired_token": "expired",
        "access_denied": "denied",
    }
    if status == "authorized":
        return read_tokens(members, now, default_profile=DEFAULT_PROFILE_ARN)
    if status in answers:
        return answers[status]
    raise ServiceReplyError(f"{reply.host} answered with an unknown status: {members.quoted('status') or 'none'}")


def _words(reply: Reply) -> str:
    return reply.error_members().quoted("message", "error_description", "error")


class KiroService:
    """The auth service, spoken to."""

    def __init__(self, http: HttpClient, endpoints: Endpoints) -> None:
        self._http = http
        self._base = endpoints.auth_service
        self._endpoints = endpoints

    async def exchange(self, chosen: SocialChosen, request: AuthorizationRequest, now: float) -> TokenSet:
        """A code for tokens. Raises TokenRequestError where it is refused."""
        reply = await self._http.send(token_request(self._base, chosen, request))
        if not reply.ok:
            raise code_refused(reply, _words(reply))
        return read_tokens(reply.members(), now)

    async def renew(self, refresh_token: Secret[str], now: float) -> TokenSet:
        """A refresh token for the next tokens. Raises SessionEndedError where it is refused."""
        reply = await self._http.send(refresh_request(self._base, refresh_token))
        if not reply.ok:
            raise renewal_refused(reply, _words(reply), ends=reply.status in {400, 401, 403})
        return read_tokens(reply.members(), now)

    async def end(self, refresh_token: Secret[str]) -> bool:
        """Revoke at the service; whether it did."""
        return (await self._http.send(logout_request(self._base, refresh_token))).ok

    async def start_device(self, provider: SocialProvider) -> DeviceAuthorization:
        """A device code."""
        return read_device(await self._http.send(device_request(self._base, provider)), self._endpoints)

    async def poll(self, device_code: Secret[str], now: float) -> TokenSet | PollAnswer:
        """Was it confirmed?"""
        try:
            return read_poll(await self._http.send(poll_request(self._base, device_code), once=True), now)
        except (ServiceUnreachableError, ServiceReplyError):
            return "trouble"
