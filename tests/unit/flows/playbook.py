"""Dialogues with the login machine: `>>` is what happens, `<<` is what the machine does about it, in order.

    assert (
        Dialogue()
        >> facts()
        << StartRemote(("login",), own_mode=False, logout_first=False)
        >> UrlOpened(PORTAL)
        << CheckListener(1, 3128)
    )

Each `<<` must be the next action, and none may be left over at the next `>>` or at the end. Reports to whoever listens
are left out unless asked for, and are kept in `reports`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final, Self

from kirotunnel.errors import KirotunnelError
from kirotunnel.events import Account, Event
from kirotunnel.flows.login_machine import LoginMachine, Phase
from kirotunnel.flows.login_plan import LoginPlan
from kirotunnel.flows.login_steps import Action, Fail, LoginEvent, OpenBrowser, OpenTunnel, Report
from kirotunnel.profiles.profile import load_profile
from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import LegRule
from kirotunnel.wire.records import RemoteFacts
from kirotunnel.wire.redirect import UrlPolicy

PORTAL_STATE: Final = "uXk2Qp3xV9"
PORTAL: Final = (
    f"https://app.kiro.dev/signin?state={PORTAL_STATE}&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeGXs5XzZxPG0yTn8dJM"
    "&code_challenge_method=S256&redirect_uri=http%3A%2F%2Flocalhost%3A3128&redirect_from=kirocli"
)
SSO_STATE: Final = "Zr81mVbQ0c"
SSO: Final = (
    "https://oidc.us-east-1.amazonaws.com/authorize?response_type=code&client_id=abc"
    "&redirect_uri=http%3A%2F%2F127%2E0%2E0%2E1%3A41733%2Foauth%2Fcallback&scopes=codewhisperer%3Acompletions"
    f"&state={SSO_STATE}&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeGXs5XzZxPG0yTn8dJM&code_challenge_method=S256"
)
DEVICE_PAGE: Final = "https://app.kiro.dev/account/device?user_code=WDJB-MJHT&login_provider=Google"

ADA: Final = Account(type="social", provider="Google", email="ada@example.com")
BUILDER_ID: Final = Account(type="builder-id", email="ada@example.com")


def plan(**changes: Any) -> LoginPlan:
    """What `kirotunnel login box` asks for, with changes."""
    profile = load_profile("kiro-cli")
    usual: dict[str, Any] = {
        "host": "box",
        "cli": "kiro-cli",
        "profile": profile,
        "policy": UrlPolicy(known_hosts=profile.authorize_hosts),
    }
    return LoginPlan(**usual | changes)


def facts(**changes: Any) -> RemoteFacts:
    """A usual target: Linux, a current CLI, nobody signed in."""
    usual: dict[str, Any] = {
        "system": "Linux",
        "wsl": False,
        "user": "ada",
        "home": "/home/ada",
        "cli": "/usr/bin/kiro-cli",
        "version": (2, 10, 0),
        "account": None,
        "directory": "/tmp/kt.1",
    }
    return RemoteFacts(**usual | changes)


def portal_tunnel(leg: int = 1, port: int = 3128, state: str = PORTAL_STATE) -> OpenTunnel:
    """The tunnel of a page whose redirect names the origin only: the profile's paths count."""
    paths = frozenset({"/oauth/callback", "/signin/callback"})
    return OpenTunnel(port, LegRule(leg=leg, paths=paths, state=Secret(state)), plan().policy)


def sso_tunnel(leg: int = 2) -> OpenTunnel:
    """The tunnel of the second page."""
    rule = LegRule(leg=leg, paths=frozenset({"/oauth/callback"}), state=Secret(SSO_STATE))
    return OpenTunnel(41733, rule, plan().policy)


def portal_page(leg: int = 1, url: str = PORTAL) -> OpenBrowser:
    """The portal is opened."""
    return OpenBrowser(leg, Secret(url), "app.kiro.dev")


def sso_page(leg: int = 2) -> OpenBrowser:
    """The second page is opened."""
    return OpenBrowser(leg, Secret(SSO), "oidc.us-east-1.amazonaws.com")


@dataclass(frozen=True)
class Fails:
    """The end, with an error of that code whose message has these words."""

    code: str
    words: str = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fail) and other.error.code == self.code and self.words in other.error.message

    __hash__ = None  # equality with another class has no hash


class Dialogue:
    """A machine and what was said so far."""

    def __init__(self, of: LoginPlan | None = None, *, with_reports: bool = False) -> None:
        self.machine = LoginMachine(of or plan())
        self.reports: list[Event] = []
        self._with_reports = with_reports
        self._waiting: deque[Action] = deque()

    def __rshift__(self, event: RemoteFacts | LoginEvent) -> Self:
        self._nothing_left()
        actions = self.machine.begin(event) if isinstance(event, RemoteFacts) else self.machine.feed(event)
        self.reports += [action.event for action in actions if isinstance(action, Report)]
        self._waiting += [action for action in actions if self._with_reports or not isinstance(action, Report)]
        return self

    def __lshift__(self, expected: Action | Fails) -> Self:
        assert self._waiting, f"nothing was done where this was expected: {expected}"
        done = self._waiting.popleft()
        assert expected == done, f"expected {expected}, but this was done: {done}"
        return self

    def __bool__(self) -> bool:
        self._nothing_left()
        return True

    @property
    def ended(self) -> bool:
        """Whether the login is over."""
        return self.machine.phase is Phase.ENDED

    def _nothing_left(self) -> None:
        assert not self._waiting, f"this was done, too: {list(self._waiting)}"


def error_of(actions: list[Action]) -> KirotunnelError | None:
    """The error with which the actions end the login, if they do."""
    return next((action.error for action in actions if isinstance(action, Fail)), None)
