"""What a flow needs of the world beside the target: a person, a browser, somewhere to report. Tests bring their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from kirotunnel.events import Event
from kirotunnel.local.allowed_hosts import AllowedHosts
from kirotunnel.local.browser import Browser, DefaultBrowser
from kirotunnel.local.callback_ports import CallbackPorts
from kirotunnel.local.terminal import Terminal
from kirotunnel.redaction import Secret
from kirotunnel.ssh.prompts import Nobody, Prompts

if TYPE_CHECKING:
    from kirotunnel.ssh.company import Company


class Conversation(Protocol):
    """Who is told how it goes. Called in the event loop; must not block."""

    def event(self, event: Event) -> None:
        """Something happened that programs want to know, too."""

    def tell(self, text: str) -> None:
        """A sentence for the person."""

    def warn(self, text: str) -> None:
        """A sentence that the person should not miss."""

    def url(self, url: str, authority: str) -> None:
        """A page for the person to open, in case that the browser does not come up by itself."""

    def remote(self, text: str) -> None:
        """What the remote CLI drew, made harmless."""


class Paste(Protocol):
    """Where a person brings the address that the browser ended on."""

    async def secret(self, question: str) -> Secret[str] | None:
        """One line; None where no more will come."""


class Silence:
    """Nobody is told anything but the events, which go to `on_event`."""

    def __init__(self, on_event: Callable[[Event], None] | None = None) -> None:
        self._on_event = on_event

    def event(self, event: Event) -> None:
        """Pass it on."""
        if self._on_event is not None:
            self._on_event(event)

    def tell(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """Nothing."""

    def url(self, url: str, authority: str) -> None:
        """Nothing: the browser is expected to come up."""

    def remote(self, text: str) -> None:
        """Nothing."""


class Remarks(Silence):
    """Only the sentences, to `tell`: for what has a report of its own."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def tell(self, text: str) -> None:
        """Pass it on."""
        self._tell(text)

    def warn(self, text: str) -> None:
        """Pass it on."""
        self._tell(text)


class Turn(Protocol):
    """One of several sign-ins that take turns at the person."""

    longest_s: float
    """Seconds that it may have to be waited for."""

    async def wait(self) -> float:
        """Wait for it; the seconds that took. Raises LoginTimedOutError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The world as a flow sees it."""

    conversation: Conversation = field(default_factory=Silence)
    prompts: Prompts = field(default_factory=Nobody)
    browser: Browser = field(default_factory=DefaultBrowser)
    terminal: Terminal | None = None
    """Where a person can type at the remote CLI's prompts."""
    paste: Paste | None = None
    """Given: nothing is listened on here, and the callback is pasted."""
    ports: CallbackPorts = field(default_factory=CallbackPorts)
    """Logins that go on at once have the same, and so share the ports of this machine."""
    own_pages: bool = False
    """Each tab ends on a page of ours that says whose sign-in it was: for several targets at once."""
    company: Company | None = None
    """What connections that are made side by side share."""
    turn: Turn | None = None
    """Waited for before the CLI's login is started."""
    allowed_hosts: AllowedHosts | None = None
    """Where a yes to a host is remembered, for commands of which nothing is known; None: it is asked each time."""
