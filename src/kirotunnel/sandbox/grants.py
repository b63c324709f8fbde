"""What an authorization server remembers: codes used once, rotating refresh tokens, device codes and their polls."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Generic, Literal, TypeVar

from kirotunnel.sandbox.accounts import SAMPLE_ACCOUNTS, Account, SignInMethod
from kirotunnel.sandbox.behaviour import Behaviour, Clock

V = TypeVar("V")

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 §4.1
_USER_CODE_ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628 §6.1: no vowels, so that no words appear
_SHELF_SIZE: Final = 1024


class GrantError(Exception):
    """A code, a verifier or a refresh token that does not hold (RFC 6749 §5.2, invalid_grant)."""


class Shelf(Generic[V]):
    """Things by their key; the oldest falls off, so that nobody can fill the memory."""

    def __init__(self) -> None:
        self._things: dict[str, V] = {}

    def put(self, key: str, thing: V) -> None:
        """Keep a thing under its key."""
        self._things[key] = thing
        if len(self._things) > _SHELF_SIZE:
            del self._things[next(iter(self._things))]

    def get(self, key: str) -> V | None:
        """The thing under that key."""
        return self._things.get(key)

    def pop(self, key: str) -> V | None:
        """The thing under that key, which is gone afterwards."""
        return self._things.pop(key, None)

    def values(self) -> tuple[V, ...]:
        """All things, oldest first."""
        return tuple(self._things.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """What a person allowed: who, to which client, how."""

    method: SignInMethod
    client_id: str
    scopes: tuple[str, ...] = ()
    nonce: str | None = None
    grant: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    """Names everything that came of one consent, so that it can be revoked together (RFC 9700 §4.14.2)."""

    @property
    def account(self) -> Account:
        """Whose account it is."""
        return SAMPLE_ACCOUNTS[self.method]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Code:
    authorization: Authorization
    redirect_uri: str
    code_challenge: str
    expires_at: float
    used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _RefreshToken:
    authorization: Authorization
    used: bool = False


def is_code_challenge(text: str) -> bool:
    """Whether the text can be an S256 code challenge (RFC 7636 §4.2)."""
    return _CHALLENGE.fullmatch(text) is not None


def code_challenge(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636 §4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode()


def opaque_token() -> str:
    """A token that says nothing but that it is none of a real account."""
    return f"demo.{secrets.token_urlsafe(32)}"


class Grants:
    """Authorization codes and refresh tokens of one authorization server."""

    def __init__(self, clock: Clock, behaviour: Behaviour) -> None:
        self._clock = clock
        self._behaviour = behaviour
        self._codes: Shelf[_Code] = Shelf()
        self._refresh_tokens: Shelf[_RefreshToken] = Shelf()
        self._revoked: Shelf[bool] = Shelf()

    def issue_code(
        self,
        authorization: Authorization,
        *,
        redirect_uri: str,
        code_challenge: str,
        generate: Callable[[], str] = opaque_token,
    ) -> str:
        """A new authorization code, bound to the redirect URI and the challenge."""
        code = generate()
        expires_at = self._clock() + self._behaviour.code_lifetime_s
        bound = _Code(
            authorization=authorization, redirect_uri=redirect_uri, code_challenge=code_challenge, expires_at=expires_at
        )
        self._codes.put(code, bound)
        return code

    def redeem_code(self, code: str, *, client_id: str, redirect_uri: str, code_verifier: str) -> Authorization:
        """What the code stands for. The first attempt spends it, good or bad; a second revokes what it gave."""
        known = self._codes.get(code)
        if known is None:
            raise GrantError("The code is unknown")
        if known.used:
            self._revoked.put(known.authorization.grant, True)
            raise GrantError("The code was used before")
        self._codes.put(code, replace(known, used=True))
        if self._clock() >= known.expires_at:
            raise GrantError("The code has expired")
        if known.authorization.client_id != client_id:
            raise GrantError("The code was issued to another client")
        if known.redirect_uri != redirect_uri:
            raise GrantError("The redirect URI is not the one of the authorization request")
        if not _VERIFIER.fullmatch(code_verifier):
            raise GrantError("The code verifier is malformed")
        if not hmac.compare_digest(code_challenge(code_verifier), known.code_challenge):
            raise GrantError("The code verifier does not match the challenge")
        return known.authorization

    def issue_refresh_token(self, authorization: Authorization) -> str:
        """A new refresh token."""
        token = opaque_token()
        self._refresh_tokens.put(token, _RefreshToken(authorization=authorization))
        return token

    def rotate(self, refresh_token: str, *, client_id: str) -> Authorization:
        """What the refresh token stands for; it is spent. One used twice was copied, so all of its grant is revoked."""
        known = self._refresh_tokens.get(refresh_token)
        if known is None:
            raise GrantError("The refresh token is unknown")
        if known.authorization.client_id != client_id:
            raise GrantError("The refresh token was issued to another client")
        if known.used:
            self._revoked.put(known.authorization.grant, True)
            raise GrantError("The refresh token was used before")
        if self._revoked.get(known.authorization.grant):
            raise GrantError("The refresh token was revoked")
        self._refresh_tokens.put(refresh_token, replace(known, used=True))
        return known.authorization

    def revoke(self, refresh_token: str, *, client_id: str) -> bool:
        """End everything that came of the refresh token's consent; False where there is nothing to end (RFC 7009)."""
        known = self._refresh_tokens.get(refresh_token)
        if known is None or known.authorization.client_id != client_id:
            return False
        self._revoked.put(known.authorization.grant, True)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAuthorization:
    """One device code and its user code, and what the person said (RFC 8628 §3.2)."""

    device_code: str = field(repr=False)
    user_code: str = field(repr=False)
    method: SignInMethod
    client_id: str
    client_name: str
    scopes: tuple[str, ...]
    expires_at: float
    interval_s: int
    state: Literal["pending", "allowed", "denied", "redeemed"] = "pending"
    polls: int = 0
    last_poll: float | None = None

    @property
    def account(self) -> Account:
        """Whose account it will be."""
        return SAMPLE_ACCOUNTS[self.method]


PollRefusal = Literal["unknown", "expired", "denied", "pending", "slow_down"]


class DeviceCodes:
    """The device codes of one authorization server."""

    def __init__(self, clock: Clock, behaviour: Behaviour) -> None:
        self._clock = clock
        self._behaviour = behaviour
        self._devices: Shelf[DeviceAuthorization] = Shelf()

    def issue(
        self, *, method: SignInMethod, client_id: str, client_name: str, scopes: tuple[str, ...] = ()
    ) -> DeviceAuthorization:
        """A new device code with its user code."""
        device = DeviceAuthorization(
            device_code=opaque_token(),
            user_code=_user_code(),
            method=method,
            client_id=client_id,
            client_name=client_name,
            scopes=scopes,
            expires_at=self._clock() + self._behaviour.device_lifetime_s,
            interval_s=self._behaviour.device_interval_s,
        )
        self._devices.put(device.device_code, device)
        return device

    def waiting(self, user_code: str) -> DeviceAuthorization | None:
        """The device that waits for this user code to be confirmed, however the person typed it."""
        wanted = _normalised(user_code)
        for device in self._devices.values():
            if _normalised(device.user_code) == wanted and device.state == "pending" and not self._expired(device):
                return device
        return None

    def decide(self, device: DeviceAuthorization, *, allowed: bool) -> None:
        """Keep what the person said."""
        self._devices.put(device.device_code, replace(device, state="allowed" if allowed else "denied"))

    def poll(self, device_code: str, *, client_id: str) -> Authorization | PollRefusal:
        """What a poll is told (RFC 8628 §3.5); the authorization is given once."""
        device = self._devices.get(device_code)
        if device is None or device.client_id != client_id or device.state == "redeemed":
            return "unknown"
        if self._expired(device):
            return "expired"
        hurried = self._hurried(device)
        device = replace(
            device,
            polls=device.polls + 1,
            last_poll=self._clock(),
            interval_s=device.interval_s + (5 if hurried else 0),
        )
        self._devices.put(device_code, device)
        if hurried:
            return "slow_down"
        if device.state == "denied":
            return "denied"
        if device.state == "pending" or device.polls <= self._behaviour.pending_polls:
            return "pending"
        self._devices.put(device_code, replace(device, state="redeemed"))
        return Authorization(method=device.method, client_id=client_id, scopes=device.scopes)

    def _hurried(self, device: DeviceAuthorization) -> bool:
        if self._behaviour.slow_down_once and device.polls == 0:
            return True
        if not self._behaviour.enforce_interval or device.last_poll is None:
            return False
        return self._clock() - device.last_poll < device.interval_s

    def _expired(self, device: DeviceAuthorization) -> bool:
        return self._clock() >= device.expires_at


def _user_code() -> str:
    letters = [secrets.choice(_USER_CODE_ALPHABET) for _ in range(8)]
    return f"{''.join(letters[:4])}-{''.join(letters[4:])}"


def _normalised(user_code: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", user_code.upper())
