"""What a person reads on stderr and a program on stdout, of the same events."""

from __future__ import annotations

import contextlib
import errno
import json
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from kirotunnel import events as ev
from kirotunnel.cli.main import colored, nobody_reads
from kirotunnel.wire.terminal import one_line

if TYPE_CHECKING:
    from kirotunnel.flows.environment import Conversation

HERE: Final = "this machine"
# The program that read has ended, or the terminal was closed. A full disk is another thing: there somebody still reads.
_NOBODY_READS: Final = {errno.EPIPE, errno.EIO}


class Screen:
    """The person's side: sentences on stderr. Everything but errors and the address can be silenced."""

    def __init__(self, target: str | None, *, verbose: int = 0, quiet: bool = False) -> None:
        self._target = target or HERE
        self._verbose = verbose
        self._quiet = quiet
        self._color = colored()

    def event(self, event: ev.Event) -> None:
        """Say what happened, where a person wants to know."""
        text = _sentence(event, self._target)
        if text and isinstance(event, ev.DeviceCode):
            self._line(text)  # like the address, it is needed whatever else is silenced
        elif text:
            self.tell(text)
        elif self._verbose and isinstance(event, ev.RequestRefused):
            strays = "A stray request was" if event.count == 1 else f"{event.count} more stray requests were"
            self.tell(f"{strays} answered here and not passed on ({event.reason})")

    def tell(self, text: str) -> None:
        """A sentence of its own line."""
        if not self._quiet:
            self._line(text)

    def warn(self, text: str) -> None:
        """A sentence that the person should not miss."""
        if self._quiet:
            return
        self._line(f"{self._styled('warning:', fg='yellow')} {text}")

    def url(self, url: str, authority: str) -> None:
        """The address, on one unwrapped line of its own, whatever else is silenced."""
        self.tell(f"Opening the sign-in page on {authority}. If your browser does not come up, open this address:\n")
        self._line(url)
        self.tell("")

    def remote(self, text: str) -> None:
        """What the remote CLI drew."""
        if not self._quiet:
            with contextlib.suppress(OSError):
                sys.stderr.write(text)
                sys.stderr.flush()

    def _line(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that was closed: its SIGHUP is on its way
            click.echo(text, err=True, color=self._color)

    def _styled(self, text: str, *, fg: str) -> str:
        return click.style(text, fg=fg) if self._color else text


class JsonLines:
    """The program's side: one object a line on stdout; the person's side goes on beside it."""

    def __init__(self, screen: Conversation, target: str | None, began: float | None = None) -> None:
        """`began` is when the command did, by the monotonic clock, where that was earlier."""
        self._screen = screen
        self._target = target
        self._began = time.monotonic() if began is None else began

    def event(self, event: ev.Event) -> None:
        """Write the event's line, flushed at once.

        Where its reader is gone the sign-in goes on, and so does its cleaning up: `… --json | jq` gets the same Ctrl-C.
        """
        elapsed = round((time.monotonic() - self._began) * 1000)
        target = None if isinstance(event, ev.Result) else self._target
        line = ev.Stamped(event=event, at=datetime.now(UTC), elapsed_ms=elapsed, target=target)
        try:
            sys.stdout.write(json.dumps(line.to_json()) + "\n")
            sys.stdout.flush()
        except OSError as exc:
            if exc.errno not in _NOBODY_READS:
                raise
            nobody_reads()
        self._screen.event(event)

    def tell(self, text: str) -> None:
        """For the person."""
        self._screen.tell(text)

    def warn(self, text: str) -> None:
        """For the person."""
        self._screen.warn(text)

    def url(self, url: str, authority: str) -> None:
        """For the person: no event ever has the URL of an authorization request."""
        self._screen.url(url, authority)

    def remote(self, text: str) -> None:
        """For the person."""
        self._screen.remote(text)


def write_events(events: Iterable[ev.Event], target: str | None, began: float) -> None:
    """What a command has found out, as JSON lines with the person's side silent; `began` as for JsonLines."""
    lines = JsonLines(Screen(target, quiet=True), target, began)
    for event in events:
        lines.event(event)


class Noticing:
    """Passes everything on, and shows the events to somebody else first."""

    def __init__(self, inner: Conversation, notice: Callable[[ev.Event], None]) -> None:
        self._inner = inner
        self._notice = notice
        self.tell, self.warn, self.url, self.remote = inner.tell, inner.warn, inner.url, inner.remote

    def event(self, event: ev.Event) -> None:
        """Show it, then pass it on."""
        self._notice(event)
        self._inner.event(event)


def _connecting(event: ev.Connecting, _: str) -> str:
    via = f" via {', '.join(event.via)}" if event.via else ""
    port = "" if event.port == 22 else f" port {event.port}"
    return f"Connecting to {one_line(event.user)}@{one_line(event.host)}{port}{via}"


def _container(event: ev.Container, target: str) -> str:
    return f"Entered {one_line(event.container)} on {target} with {event.engine} exec"


def _remote_cli(event: ev.RemoteCli, target: str) -> str:
    version = f" {event.version}" if event.version else ""
    return f"Found {one_line(event.path)}{version} on {target}"


def _port_steered(event: ev.PortSteered, target: str) -> str:
    return f"Port {event.busy} is in use here by {event.holder}; it is held on {target}, so that another is taken"


def _tunnel_opened(event: ev.TunnelOpened, target: str) -> str:
    if not event.listen:
        return f"Nothing is listened on here: you bring the answer for port {event.port} of {target}"
    return f"Waiting on {' and '.join(event.listen)} for the browser to come back"


def _browser_opened(event: ev.BrowserOpened, _: str) -> str | None:
    return "No browser was started: please open the address above" if event.how == "printed" else None


def _device_code(event: ev.DeviceCode, _: str) -> str:
    return f"Confirm this code in the browser, and only if you see the same there. Code: {event.user_code}"


def _callback(event: ev.CallbackReceived, target: str) -> str:
    answer = "an approval" if event.outcome == "granted" else "a denial"
    return f"The browser came back with {answer}" + ("" if target == HERE else f"; it goes to {target}")


def _lost(event: ev.ConnectionLost, target: str) -> str:
    return f"The connection to {target} was lost; the sign-in waits there, trying to reach it again"


def _sentence(event: ev.Event, target: str) -> str | None:
    """What a person is told of the event; None where that is nothing."""
    match event:
        case ev.Connecting():
            return _connecting(event, target)
        case ev.Container():
            return _container(event, target)
        case ev.RemoteCli():
            return _remote_cli(event, target)
        case ev.PortSteered():
            return _port_steered(event, target)
        case ev.TunnelOpened():
            return _tunnel_opened(event, target)
        case ev.BrowserOpened():
            return _browser_opened(event, target)
        case ev.DeviceCode():
            return _device_code(event, target)
        case ev.CallbackReceived():
            return _callback(event, target)
        case ev.ConnectionLost():
            return _lost(event, target)
        case ev.Reconnected():
            return f"The connection to {target} is back"
    return None
