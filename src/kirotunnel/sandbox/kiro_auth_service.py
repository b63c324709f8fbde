"""Kiro's own auth service: tokens for Google and GitHub sign-ins, by authorization code and by device code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, urlencode

from kirotunnel.local.http1 import Request
from kirotunnel.sandbox.accounts import SignInMethod
from kirotunnel.sandbox.behaviour import Behaviour
from kirotunnel.sandbox.device_pages import DevicePages
from kirotunnel.sandbox.grants import Authorization, DeviceAuthorization, DeviceCodes, GrantError, Grants, opaque_token
from kirotunnel.sandbox.portal import KIRO_CLIENT_ID
from kirotunnel.sandbox.web import BadRequestError, Handler, Response, Route, json_of, json_response

SERVICE: Final = "kiro-auth"
DEVICE_PATH: Final = "/account/device"
SAMPLE_PROFILE_ARN: Final = "arn:aws:codewhisperer:us-east-1:000000000000:profile/SAMPLE"
_PROVIDERS: Final[dict[str, SignInMethod]] = {"Google": "google", "Github": "github"}
_POLL_STATUS: Final = {
    "unknown": "invalid_token",
    "expired": "expired_token",
    "denied": "access_denied",
    "pending": "authorization_pending",
    "slow_down": "slow_down",
}


class KiroAuthService:
    """The JSON endpoints that kiro-cli calls, and the page where a device code is confirmed."""

    def __init__(self, grants: Grants, devices: DeviceCodes, behaviour: Behaviour, *, public_url: str) -> None:
        self._grants = grants
        self._devices = devices
        self._behaviour = behaviour
        self._public_url = public_url
        self._pages = DevicePages(devices, service=SERVICE, title="Kiro", path=DEVICE_PATH, look="portal")

    def routes(self) -> Iterable[Route]:
        """What is answered."""
        yield Route(SERVICE, "token", "POST", "/oauth/token", _api(self.token))
        yield Route(SERVICE, "refreshToken", "POST", "/refreshToken", _api(self.refresh_token))
        yield Route(SERVICE, "logout", "POST", "/logout", _api(self.logout))
        yield Route(
            SERVICE,
            "device authorization",
            "POST",
            "/oauth/device/authorization",
            _api(self.device_authorization),
        )
        yield Route(SERVICE, "device poll", "POST", "/oauth/device/poll", _api(self.device_poll))
        yield from self._pages.routes()

    def failure(self, error: str) -> Response:
        """What this service answers when it fails: `error` is the HTTP status."""
        return _refused(int(error), "Service unavailable")

    def token(self, request: Request) -> Response:
        """A code with its verifier for tokens."""
        body = json_of(request)
        try:
            authorization = self._grants.redeem_code(
                _text(body, "code"),
                client_id=KIRO_CLIENT_ID,
                redirect_uri=_text(body, "redirect_uri"),
                code_verifier=_text(body, "code_verifier"),
            )
        except GrantError as exc:
            return _refused(400, str(exc))
        return json_response(200, self._tokens(authorization))

    def refresh_token(self, request: Request) -> Response:
        """A refresh token for the next tokens."""
        try:
            authorization = self._grants.rotate(_text(json_of(request), "refreshToken"), client_id=KIRO_CLIENT_ID)
        except GrantError as exc:
            return _refused(401, str(exc))
        return json_response(200, self._tokens(authorization))

    def logout(self, request: Request) -> Response:
        """The end of a refresh token; one that is unknown has ended already."""
        self._grants.revoke(_text(json_of(request), "refreshToken"), client_id=KIRO_CLIENT_ID)
        return json_response(200, {})

    def device_authorization(self, request: Request) -> Response:
        """A device code. Times are in milliseconds here."""
        body = json_of(request)
        provider = _text(body, "loginProvider")
        if _text(body, "clientId") != KIRO_CLIENT_ID or provider not in _PROVIDERS:
            return _refused(400, "Unknown clientId or loginProvider")
        device = self._devices.issue(method=_PROVIDERS[provider], client_id=KIRO_CLIENT_ID, client_name="Kiro CLI")
        return json_response(200, self._device_answer(device, provider))

    def device_poll(self, request: Request) -> Response:
        """What became of a device code: always 200, with a status (the client takes anything else for the end)."""
        body = json_of(request)
        if _text(body, "clientId") != KIRO_CLIENT_ID:
            return _refused(400, "Unknown clientId")
        polled = self._devices.poll(_text(body, "deviceCode"), client_id=KIRO_CLIENT_ID)
        if not isinstance(polled, Authorization):
            return json_response(200, {"status": _POLL_STATUS[polled]})
        answer = {"status": "authorized", **self._tokens(polled), "identityProvider": polled.method}
        return json_response(200, answer)

    def _device_answer(self, device: DeviceAuthorization, provider: str) -> dict[str, object]:
        page = f"{self._public_url}{DEVICE_PATH}"
        query = urlencode({"user_code": device.user_code, "login_provider": provider}, quote_via=quote)
        return {
            "deviceCode": device.device_code,
            "userCode": device.user_code,
            "verificationUri": page,
            "verificationUriComplete": f"{page}?{query}",
            "expiresInMilliseconds": self._behaviour.device_lifetime_s * 1000,
            "intervalInMilliseconds": device.interval_s * 1000,
        }

    def _tokens(self, authorization: Authorization) -> dict[str, object]:
        return {
            "accessToken": opaque_token(),
            "refreshToken": self._grants.issue_refresh_token(authorization),
            "expiresIn": self._behaviour.access_token_lifetime_s,
            "profileArn": SAMPLE_PROFILE_ARN,
            # Not of the real service: the stand-in CLI has no API to ask who it is.
            "email": authorization.account.email,
        }


def _api(handler: Handler) -> Handler:
    """Errors of the request as this service words them."""

    def answer(request: Request) -> Response:
        try:
            return handler(request)
        except BadRequestError as exc:
            return _refused(400, str(exc))

    return answer


def _text(body: dict[str, object], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequestError(f"{name} is missing")
    return value


def _refused(status: int, message: str) -> Response:
    return json_response(status, {"message": message})
