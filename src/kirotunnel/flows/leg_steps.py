"""What can happen on the way of one sign-in page, and what can be done about it: what both state machines share.

A login (`login_steps`) and a command of the person's own (`run_steps`) have more besides, each its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from kirotunnel import events as ev
from kirotunnel.errors import KirotunnelError
from kirotunnel.redaction import Secret

# --- what happens ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UrlOpened:
    """The CLI, or the command, called its opener."""

    url: str


@dataclass(frozen=True, slots=True)
class HostAllowed:
    """The person was asked about an unknown host."""

    leg: int
    yes: bool


@dataclass(frozen=True, slots=True)
class BrowserStarted:
    """The browser was started, or the URL only printed."""

    leg: int
    how: str


@dataclass(frozen=True, slots=True)
class StrayRefused:
    """The relay answered a stray request of this leg's port."""

    leg: int
    reason: ev.RefusalReason


@dataclass(frozen=True, slots=True)
class CallbackArrived:
    """The callback of a leg is here and being delivered."""

    leg: int
    outcome: ev.Outcome


@dataclass(frozen=True, slots=True)
class CallbackDelivered:
    """The exchange with the remote listener is over. `error` says why it did not take the callback, if so."""

    leg: int
    error: KirotunnelError | None = None


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that was asked for ran out."""

    name: str


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The time for all of it is over."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Something that the machine did not ask for failed for good."""

    error: KirotunnelError


LegEvent = (
    UrlOpened
    | HostAllowed
    | BrowserStarted
    | StrayRefused
    | CallbackArrived
    | CallbackDelivered
    | TimerFired
    | DeadlinePassed
    | Broken
)


# --- what is to be done ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskAboutHost:
    """Ask the person whether a page on this host may be opened."""

    leg: int
    authority: str


@dataclass(frozen=True, slots=True)
class OpenBrowser:
    """Print the URL and start the browser with it."""

    leg: int
    url: Secret[str]
    authority: str


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Wake me; a timer of the same name is started anew."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """Tell whoever listens."""

    event: ev.Event


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the person something that should not be missed, and is no event."""

    text: str


@dataclass(frozen=True, slots=True)
class Fail:
    """The end: it did not work."""

    error: KirotunnelError


LegAction = AskAboutHost | OpenBrowser | StartTimer | Report | Warn | Fail
