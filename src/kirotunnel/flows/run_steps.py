"""What can happen while a command of the person's own runs, and what can be done about it: two alphabets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kirotunnel import events as ev
from kirotunnel.errors import KirotunnelError
from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import LegRule
from kirotunnel.wire.listeners import ListeningPort
from kirotunnel.wire.redirect import UrlPolicy

# --- what happens ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UrlOpened:
    """The command called an opener."""

    url: str


@dataclass(frozen=True, slots=True)
class UrlPrinted:
    """A URL stood in the command's output."""

    url: str


@dataclass(frozen=True, slots=True)
class HostAllowed:
    """The person was asked about an unknown host."""

    leg: int
    yes: bool


@dataclass(frozen=True, slots=True)
class Listening:
    """Who listens on the target now."""

    rows: tuple[ListeningPort, ...] | None
    """None where the target has no means to tell."""
    own: frozenset[int] = frozenset()
    """The processes of the command."""


@dataclass(frozen=True, slots=True)
class TunnelReady:
    """Both listeners of a port stand here."""

    port: int
    listen: tuple[str, ...]
    via: Literal["direct-tcpip", "exec"] = "direct-tcpip"


@dataclass(frozen=True, slots=True)
class TunnelFailed:
    """The listeners of a port could not be had."""

    port: int
    error: KirotunnelError


@dataclass(frozen=True, slots=True)
class TunnelEnded:
    """The listeners of a port are closed."""

    port: int


@dataclass(frozen=True, slots=True)
class BrowserStarted:
    """The browser was started, or the URL only printed."""

    leg: int
    how: str


@dataclass(frozen=True, slots=True)
class StrayRefused:
    """The relay answered a stray request."""

    leg: int
    reason: ev.RefusalReason


@dataclass(frozen=True, slots=True)
class CallbackArrived:
    """A callback is here and being delivered."""

    leg: int
    outcome: ev.Outcome


@dataclass(frozen=True, slots=True)
class CallbackDelivered:
    """The exchange with the remote listener is over. `error` says why it did not take the callback, if so."""

    leg: int
    error: KirotunnelError | None = None


@dataclass(frozen=True, slots=True)
class RedirectWanted:
    """An answer of the command's listener sends the browser elsewhere."""

    number: int
    """Of this question, for the answer."""
    leg: int
    url: str
    after_callback: bool


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that was asked for ran out."""

    name: str


@dataclass(frozen=True, slots=True)
class SuccessSaid:
    """The command's output says that somebody is signed in."""


@dataclass(frozen=True, slots=True)
class CommandEnded:
    """The command ended by itself."""

    code: int
    """As a shell says it: 128 and the number where a signal ended it."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """SIGINT came here, not as a key: there is no terminal, or somebody sent it."""


@dataclass(frozen=True, slots=True)
class HungUp:
    """The person typed `~.`: end it, whatever the command does."""


@dataclass(frozen=True, slots=True)
class OutputGone:
    """Nobody reads the command's output any more (`kirotunnel run … | head`)."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The SSH connection is gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The time that was allowed is over."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Something that the machine did not ask for failed for good."""

    error: KirotunnelError


RunEvent = (
    UrlOpened
    | UrlPrinted
    | HostAllowed
    | Listening
    | TunnelReady
    | TunnelFailed
    | TunnelEnded
    | BrowserStarted
    | StrayRefused
    | CallbackArrived
    | CallbackDelivered
    | RedirectWanted
    | TimerFired
    | SuccessSaid
    | CommandEnded
    | Interrupted
    | HungUp
    | OutputGone
    | Disconnected
    | DeadlinePassed
    | Broken
)


# --- what is to be done ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartCommand:
    """Run the command on the target."""


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the target who listens."""


@dataclass(frozen=True, slots=True)
class AskAboutHost:
    """Ask the person whether a page on this host may be opened."""

    leg: int
    authority: str


@dataclass(frozen=True, slots=True)
class RememberHost:
    """The person said yes: do not ask about this host again, for this command."""

    authority: str


@dataclass(frozen=True, slots=True)
class OpenTunnel:
    """Bind the loopback listeners of a port, and serve it by this rule."""

    port: int
    addresses: tuple[str, ...]
    """Where the target really listens; the next is tried where one refuses."""
    rule: LegRule
    policy: UrlPolicy
    """Where an answer may send the browser."""


@dataclass(frozen=True, slots=True)
class ServeBy:
    """Serve an open port by another rule: a new sign-in comes back to it."""

    port: int
    addresses: tuple[str, ...]
    rule: LegRule
    policy: UrlPolicy


@dataclass(frozen=True, slots=True)
class CloseTunnel:
    """Close the listeners of a port."""

    port: int


@dataclass(frozen=True, slots=True)
class OpenBrowser:
    """Print the URL and start the browser with it."""

    leg: int
    url: Secret[str]
    authority: str


@dataclass(frozen=True, slots=True)
class AnswerRedirect:
    """Let the browser follow an answer that sends it elsewhere, or not."""

    number: int
    yes: bool


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Wake me; a timer of the same name is started anew."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class SendSignal:
    """Pass a signal on to the command."""

    name: str


@dataclass(frozen=True, slots=True)
class StopCommand:
    """End the command on the target."""


@dataclass(frozen=True, slots=True)
class Report:
    """Tell whoever listens."""

    event: ev.Event


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the person."""

    text: str


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the person something that should not be missed."""

    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """The end: with the command's exit code."""

    code: int


@dataclass(frozen=True, slots=True)
class Fail:
    """The end: it did not work."""

    error: KirotunnelError


Action = (
    StartCommand
    | Look
    | AskAboutHost
    | RememberHost
    | OpenTunnel
    | ServeBy
    | CloseTunnel
    | OpenBrowser
    | AnswerRedirect
    | StartTimer
    | SendSignal
    | StopCommand
    | Report
    | Tell
    | Warn
    | Exit
    | Fail
)
