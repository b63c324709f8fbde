"""What can happen in a login, and what can be done about it: the two alphabets of the state machine.

What it shares with the other machine is `leg_steps`, said again here: the whole of an alphabet stands in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kirotunnel import events as ev
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
from kirotunnel.wire import transcript as tr
from kirotunnel.wire.gate import LegRule
from kirotunnel.wire.redirect import UrlPolicy

# --- what happens ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListenerChecked:
    """The target was asked whether the port of a leg is listened on; None where it cannot tell."""

    leg: int
    listening: bool | None


@dataclass(frozen=True, slots=True)
class TunnelReady:
    """Both listeners of a leg stand."""

    leg: int
    listen: tuple[str, ...]
    via: Literal["direct-tcpip", "exec"] = "direct-tcpip"
    """How the target's port will be reached."""


@dataclass(frozen=True, slots=True)
class TunnelFailed:
    """The listeners of a leg could not be had."""

    leg: int
    error: KirotunnelError


@dataclass(frozen=True, slots=True)
class TunnelEnded:
    """The listeners of a leg are closed."""

    leg: int


@dataclass(frozen=True, slots=True)
class Printed:
    """The CLI's output held this."""

    what: tr.TranscriptEvent


@dataclass(frozen=True, slots=True)
class RemoteExited:
    """The CLI ended by itself; None where it was ended by a signal."""

    code: int | None


@dataclass(frozen=True, slots=True)
class WhoamiAnswered:
    """The CLI's whoami after its login."""

    account: ev.Account | None


@dataclass(frozen=True, slots=True)
class RemoteStarted:
    """The CLI's login runs, held by the target."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The SSH connection is gone."""

    reason: str
    resumable: bool = True
    """Whether what ran there goes on without it."""


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The target is reached again."""

    attempt: int
    held: bool = True
    """Whether what was there is there still; False where the CLI had been started, and is gone."""


@dataclass(frozen=True, slots=True)
class ReconnectFailed:
    """The target could not be reached again this time."""

    attempt: int
    error: KirotunnelError


LoginEvent = (
    LegEvent
    | ListenerChecked
    | TunnelReady
    | TunnelFailed
    | TunnelEnded
    | Printed
    | RemoteExited
    | WhoamiAnswered
    | RemoteStarted
    | Disconnected
    | Reconnected
    | ReconnectFailed
)


# --- what is to be done ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HoldPorts:
    """Keep the CLI on the target from taking these ports; then go on, whether that succeeded or not."""

    busy: Mapping[int, str]
    """Each with who has it here."""


@dataclass(frozen=True, slots=True)
class ReleaseHolds:
    """Let go of the ports that are held on the target."""


@dataclass(frozen=True, slots=True)
class StartRemote:
    """Run the CLI's login on the target."""

    arguments: tuple[str, ...]
    own_mode: bool
    """Its own remote mode: with its environment as it is, on a terminal always, since its menu needs one."""
    logout_first: bool


@dataclass(frozen=True, slots=True)
class CheckListener:
    """Ask the target whether that port is listened on."""

    leg: int
    port: int


@dataclass(frozen=True, slots=True)
class OpenTunnel:
    """Bind the loopback listeners of a leg."""

    port: int
    rule: LegRule
    policy: UrlPolicy
    """Where the CLI's answer may send the browser: with the host that the person said yes to for this page."""


@dataclass(frozen=True, slots=True)
class CloseTunnel:
    """Close the listeners of a leg."""

    leg: int


@dataclass(frozen=True, slots=True)
class Type:
    """Send keys to the CLI's terminal."""

    keys: str


@dataclass(frozen=True, slots=True)
class AskWhoami:
    """Ask the CLI who is signed in."""


@dataclass(frozen=True, slots=True)
class StopRemote:
    """End the CLI's login on the target."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Reach the target anew, and go on with what is there."""

    attempt: int
    after_s: float


@dataclass(frozen=True, slots=True)
class Succeed:
    """The end: this account is signed in."""

    account: ev.Account
    already: bool


@dataclass(frozen=True, slots=True)
class StartAnew:
    """The end of this start: nobody was asked anything yet, and a new one goes around what was in the way."""

    error: KirotunnelError


Action = (
    LegAction
    | HoldPorts
    | ReleaseHolds
    | StartRemote
    | CheckListener
    | OpenTunnel
    | CloseTunnel
    | Type
    | AskWhoami
    | StopRemote
    | Reconnect
    | StartAnew
    | Succeed
)
