"""A login under test by the library, in this process: so that its tasks and descriptors can be counted afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import termios
from collections.abc import Iterator
from typing import Final

from faults.remains import InProcess, terminal_left
from faults.trial import Trial
from kirotunnel import events as ev
from kirotunnel.errors import KirotunnelError
from kirotunnel.flows.environment import Environment
from kirotunnel.flows.remote_login import LoginOptions, login
from kirotunnel.local.terminal import Terminal
from kirotunnel.ssh.config import SSHOptions
from kirotunnel.wire.redirect import TrustedHost

MENU: Final = "Select an IAM Identity Center profile"


class InProcessTrial(Trial):
    """The login runs in our own event loop, and every event is heard before it goes on."""

    async def login(self) -> None:
        """Run `flows.remote_login.login`."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._broken.append(f"unhandled: {context}"))
        baseline = InProcess()
        try:
            with self._terminal() as terminal:
                await self._login(terminal)
        finally:
            await self.person.leave()
        await self.aftermath()
        self.outcome.wrong += await baseline.left(self.scene.descriptors)

    async def _login(self, terminal: Terminal | None) -> None:
        options = LoginOptions(
            target="dev-box",
            ssh=SSHOptions(config_file=str(self.scene.ssh_config(self.state))),
            method=self.state.method,
            flow=self.state.flow,
            trusted_hosts=tuple(TrustedHost.parse(host) for host in self.scene.services.trust[1::2]),
            timeout_s=self.timeout_s,
        )
        environment = Environment(
            conversation=_Ear(self, terminal), prompts=self.person, browser=self.person, terminal=terminal
        )
        try:
            await login(options, environment)
            self.outcome.end, self.outcome.exit_code = "saved", 0
        except KirotunnelError as exc:
            self.outcome.end, self.outcome.exit_code, self.outcome.words = exc.code, exc.exit_code, exc.message
            self.said += f"{exc.message} {exc.hint}\n"
        finally:
            self.ended()

    @contextlib.contextmanager
    def _terminal(self) -> Iterator[Terminal | None]:
        """A terminal with the person at it, for the states that want one."""
        if self.state.moment != "menu drawn":
            yield None
            return
        master, slave = pty.openpty()
        os.set_blocking(master, False)
        drawn = bytearray()
        loop = asyncio.get_running_loop()
        loop.add_reader(master, lambda: drawn.extend(os.read(master, 65536)))
        before = termios.tcgetattr(slave)
        self.person.sit_down(master)
        try:
            with open(os.dup(slave), "w", encoding="utf-8") as out:
                yield Terminal(slave, out)
            after = termios.tcgetattr(slave)
            with contextlib.suppress(BlockingIOError):
                drawn.extend(os.read(master, 65536))
            self.outcome.wrong += terminal_left(before, after, drawn.decode(errors="replace"))
        finally:
            loop.remove_reader(master)
            os.close(master)
            os.close(slave)


class _Ear:
    """Hears the events (flows.environment.Conversation), and draws what the CLI draws."""

    def __init__(self, trial: InProcessTrial, terminal: Terminal | None) -> None:
        self._trial = trial
        self._terminal = terminal
        self._drawn = ""

    def event(self, event: ev.Event) -> None:
        self._trial.said += f"{event!r}\n"
        if isinstance(event, ev.BrowserRequested):
            port = event.redirect_port
            self._trial.person.port = port
        leg = getattr(event, "leg", None)
        self._trial.hear(event.name() if leg is None else f"{event.name()} {leg}")
        if isinstance(event, ev.BrowserRequested):
            self._trial.scene.page_asked(event.redirect_port)

    def tell(self, text: str) -> None:
        self._trial.said += f"{text}\n"

    def warn(self, text: str) -> None:
        self._trial.said += f"{text}\n"
        self._trial.told(text)

    def url(self, url: str, authority: str) -> None:
        pass

    def remote(self, text: str) -> None:
        if self._terminal is not None:
            self._terminal.show(text)
        before, self._drawn = self._drawn, self._drawn + text
        if MENU in self._drawn and MENU not in before:  # it may come in pieces
            self._trial.hear("menu drawn")
