"""The device authorization grant (RFC 8628): one code for a person, and how often to ask for it. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from kirotunnel.redaction import Secret

DEVICE_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
"""RFC 8628 §3.4."""
DEFAULT_INTERVAL_S: Final = 5.0
"""RFC 8628 §3.2: where the service names none."""
SLOW_DOWN_S: Final = 5.0
"""RFC 8628 §3.5: what slow_down adds to the interval, for this and all later requests."""
MAX_TROUBLE_S: Final = 30.0
"""The longest pause that trouble on the network leads to."""

PollAnswer = Literal["pending", "slow_down", "denied", "expired", "trouble"]
"""`trouble`: no answer that says anything about the code: no network, status 5xx, a proxy's page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAuthorization:
    """What the service gave (RFC 8628 §3.2)."""

    device_code: Secret[str]
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    """The page with the code filled in, where there is one."""
    expires_in_s: float
    interval_s: float = DEFAULT_INTERVAL_S

    @property
    def page(self) -> str:
        """The page to open: the person compares the code rather than typing it."""
        return self.verification_uri_complete or self.verification_uri


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Expired:
    """The code is not going to be confirmed any more."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The person said no."""


Step = Wait | Expired | Refused


class DevicePolling:
    """How often to ask. Fed with answers, says what comes next; reads no clock of its own."""

    def __init__(self, authorization: DeviceAuthorization, now: float) -> None:
        self._interval = max(authorization.interval_s, 1.0)
        self._ends = now + authorization.expires_in_s
        self._trouble = 0
        self._asked_late = False

    def begin(self, now: float) -> Wait:
        """The first pause: nobody confirms a code in no time."""
        return Wait(min(self._interval, max(self._ends - now, 0)))

    def step(self, answer: PollAnswer, now: float) -> Step:
        """What to do after this answer."""
        if answer == "denied":
            return Refused()
        if answer == "expired":
            return Expired()
        if answer == "slow_down":
            self._interval += SLOW_DOWN_S
        self._trouble = self._trouble + 1 if answer == "trouble" else 0
        return self._next(now)

    def _next(self, now: float) -> Step:
        left = self._ends - now
        if left <= 0 and self._asked_late:
            return Expired()
        # One request at the very end: the person may have confirmed in the last interval.
        self._asked_late = left <= 0 or self._pause() >= left
        return Wait(max(min(self._pause(), left), 0))

    def _pause(self) -> float:
        """RFC 8628 §3.5: on connection trouble ask less and less often."""
        if not self._trouble:
            return self._interval
        return max(self._interval, min(self._interval * (1 << min(self._trouble, 8)), MAX_TROUBLE_S))
