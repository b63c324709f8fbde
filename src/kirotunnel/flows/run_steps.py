"""What can happen while a command of the person's own runs, and what can be done about it: two alphabets.

What it shares with the other machine is `leg_steps`, said again here: the whole of an alphabet stands in one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kirotunnel.errors import KirotunnelError
from kirotunnel.flows.leg_steps import AskAboutHost as AskAboutHost
from kirotunnel.flows.leg_steps import Broken as Broken
from kirotunnel.flows.leg_steps import BrowserStarted as BrowserStarted
from kirotunnel.flows.leg_steps import CallbackArrived as CallbackArrived
from kirotunnel.flows.leg_steps import CallbackDelivered as CallbackDelivered
from kirotunnel.flows.leg_steps import DeadlinePassed as DeadlinePassed
from kirotunnel.flows.leg_steps import Fail as Fail
from kirotunnel.flows.leg_steps import HostAllowed as HostAllowed
from kirotunnel.flows.leg_steps import LegAction, LegEvent
from kirotunnel.flows.leg_steps import OpenBrowser as OpenBrowser
from kirotunnel.flows.leg_steps import Report as Report
from kirotunnel.flows.leg_steps import StartTimer as StartTimer
from kirotunnel.flows.leg_steps import StrayRefused as StrayRefused
from kirotunnel.flows.leg_steps import TimerFired as TimerFired
from kirotunnel.flows.leg_steps import UrlOpened as UrlOpened
from kirotunnel.flows.leg_steps import Warn as Warn
from kirotunnel.wire.gate import LegRule
from kirotunnel.wire.listeners import ListeningPort
from kirotunnel.wire.redirect import UrlPolicy

# --- what happens ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UrlPrinted:
    """A URL stood in the command's output."""

    url: str


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
class RedirectWanted:
    """An answer of the command's listener sends the browser elsewhere."""

    number: int
    """Of this question, for the answer."""
    leg: int
    url: str
    after_callback: bool


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


RunEvent = (
    LegEvent
    | UrlPrinted
    | Listening
    | TunnelReady
    | TunnelFailed
    | TunnelEnded
    | RedirectWanted
    | SuccessSaid
    | CommandEnded
    | Interrupted
    | HungUp
    | OutputGone
    | Disconnected
)


# --- what is to be done ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartCommand:
    """Run the command on the target."""


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the target who listens."""


@dataclass(frozen=True, slots=True)
class RememberHost:
    """The person said yes: do not ask about this host again, for this command."""

    authority: str


@dataclass(frozen=True, slots=True)
class Serving:
    """How a port is served."""

    port: int
    addresses: tuple[str, ...]
    """Where the target really listens; the next is tried where one refuses."""
    rule: LegRule
    policy: UrlPolicy
    """Where an answer may send the browser."""


@dataclass(frozen=True, slots=True)
class OpenTunnel(Serving):
    """Bind the loopback listeners of a port, and serve it so."""


@dataclass(frozen=True, slots=True)
class ServeBy(Serving):
    """Serve a port that is open in another way: a new sign-in comes back to it."""


@dataclass(frozen=True, slots=True)
class CloseTunnel:
    """Close the listeners of a port."""

    port: int


@dataclass(frozen=True, slots=True)
class AnswerRedirect:
    """Let the browser follow an answer that sends it elsewhere, or not."""

    number: int
    yes: bool


@dataclass(frozen=True, slots=True)
class SendSignal:
    """Pass a signal on to the command."""

    name: str


@dataclass(frozen=True, slots=True)
class StopCommand:
    """End the command on the target."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the person."""

    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """The end: with the command's exit code."""

    code: int


Action = (
    LegAction
    | StartCommand
    | Look
    | RememberHost
    | OpenTunnel
    | ServeBy
    | CloseTunnel
    | AnswerRedirect
    | SendSignal
    | StopCommand
    | Tell
    | Exit
)
