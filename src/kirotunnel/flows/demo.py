"""The whole remote login on this machine alone: stand-ins for everything around it, and the very same login code.

    your remote machine     an SSH server in this process, with a home and a loopback of its own  (sandbox.sshd)
    kiro-cli there          a program that signs in as the observed releases do                   (sandbox.kiro_cli)
    Kiro, Google, AWS, …    sign-in pages on a port of this machine                               (sandbox.services)
    you at your browser     yourself, or a robot                                                  (sandbox.robot)
    kirotunnel              itself: `flows.remote_login`, which knows nothing of all this

Nothing of it outlives the demo, and the person's own home, keys, SSH config and kiro-cli are not touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from kirotunnel import events as ev
from kirotunnel.errors import InternalError, SettingsError
from kirotunnel.flows.environment import Conversation, Environment
from kirotunnel.flows.login_plan import Method
from kirotunnel.flows.remote_login import DEFAULT_TIMEOUT_S, LoginOptions, LoginResult, login
from kirotunnel.local.browser import Browser
from kirotunnel.sandbox.robot import RobotReport, sign_in
from kirotunnel.sandbox.services import SignInServices
from kirotunnel.sandbox.sshd import EmbeddedRemote
from kirotunnel.ssh.config import SSHOptions
from kirotunnel.ssh.prompts import Nobody
from kirotunnel.wire.redirect import TrustedHost

HOST: Final = "demo-host"
"""The target's name."""
BY_ROBOT: Final = "robot"
"""How the page was opened, in the event, where it was the robot."""
GRACE_S: Final = 3.0
"""Seconds that the login has to say itself what is wrong, once the robot cannot go on."""

Robot = Literal["always", "without-browser", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What was asked for."""

    robot: Robot = "without-browser"
    """When the robot signs in: where no browser can be started, as a rule."""
    method: Method = "google"
    """How the robot signs in; a person chooses on the page."""
    timeout_s: float = DEFAULT_TIMEOUT_S
    """Seconds for the whole sign-in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """A callback port that was opened on this machine, and closed again."""

    port: int
    listen: tuple[str, ...]
    """`ADDR:PORT`, v6 addresses in brackets."""
    open_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What happened. The stand-ins are gone when it is there."""

    account: ev.Account
    tunnels: tuple[Tunnel, ...]
    """One for each sign-in page."""
    requests: int
    """Requests that reached the remote CLI, by its own count."""
    strays: int
    """Requests that were answered here instead."""
    took_s: float
    """Seconds for the login, without the start of the stand-ins."""


async def demo(options: DemoOptions, environment: Environment) -> DemoResult:
    """Sign the stand-in in. Raises what `login` raises; leaves nothing behind on any way out."""
    loop = asyncio.get_running_loop()
    tally = _Tally(environment.conversation, has_person=options.robot != "always")
    async with _stand_ins() as (services, remote):
        _introduce(services, remote, environment.conversation)
        began = loop.time()
        signed_in = await _sign_in(options, replace(environment, conversation=tally), services, remote)
        took_s = loop.time() - began
        requests = await asyncio.to_thread(_count_requests, remote.disk.cli_log)
    return DemoResult(
        account=signed_in.account,
        tunnels=tuple(tally.tunnels),
        requests=requests,
        strays=tally.strays,
        took_s=took_s,
    )


@contextlib.asynccontextmanager
async def _stand_ins() -> AsyncIterator[tuple[SignInServices, EmbeddedRemote]]:
    """The sign-in services, and a remote whose CLI signs in there."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            services = await stack.enter_async_context(SignInServices())
            remote = await stack.enter_async_context(EmbeddedRemote(services.environment(), alias=HOST))
        except OSError as exc:
            raise SettingsError(
                f"the demo's stand-ins cannot be started: {exc.strerror or type(exc).__name__}",
                "the demo needs a loopback interface, /bin/sh, and a directory for temporary files; TMPDIR names one",
            ) from exc
        yield services, remote


def _introduce(services: SignInServices, remote: EmbeddedRemote, conversation: Conversation) -> None:
    conversation.tell(
        f"Sign-in pages run on {services.public_url}\nThey stand for Kiro, Google, GitHub, AWS and your organization"
    )
    conversation.tell(
        f"An SSH server runs on {remote.host} port {remote.port}, with a home and a localhost of its own\n"
        f"It stands for your remote machine, and is called {HOST}"
    )
    conversation.tell(
        "A stand-in for kiro-cli is installed there\nIt is not Kiro's program; it can sign in, and nothing else"
    )


async def _sign_in(
    options: DemoOptions, environment: Environment, services: SignInServices, remote: EmbeddedRemote
) -> LoginResult:
    """What `kirotunnel login demo-host` does, with an SSH config that knows the host."""
    the_login = LoginOptions(
        target=HOST,
        ssh=SSHOptions(config_file=str(remote.ssh_config)),
        trusted_hosts=tuple(_trusted(services.origins)),
        timeout_s=options.timeout_s,
    )
    loop = asyncio.get_running_loop()
    robot = _RobotBrowser(options, lambda: giving_up.reschedule(loop.time() + GRACE_S))
    browser = _choose_browser(options.robot, environment.browser, robot)
    try:
        async with asyncio.timeout(None) as giving_up, robot:
            # Nobody is asked, and what the CLI draws is not shown: it would be between the steps.
            return await login(the_login, replace(environment, browser=browser, prompts=Nobody(), terminal=None))
    except TimeoutError:
        if robot.problem is None:
            raise
        raise InternalError(
            f"the robot could not sign in: {robot.problem}",
            "please report it; `kirotunnel demo --no-browser` lets you sign in yourself",
        ) from None


def _trusted(origins: Iterable[str]) -> Iterable[TrustedHost]:
    return (TrustedHost.parse(origin.partition("//")[2]) for origin in origins)


def _choose_browser(when: Robot, browser: Browser, robot: Browser) -> Browser:
    if when == "always":
        return robot
    return browser if when == "never" else _FirstOf(browser, robot)


class _FirstOf:
    """A browser, and the robot where that one can only have the address printed."""

    def __init__(self, browser: Browser, robot: Browser) -> None:
        self._browser = browser
        self._robot = robot

    async def open(self, url: str) -> str:
        """Start the one or the other."""
        how = await self._browser.open(url)
        return await self._robot.open(url) if how == "printed" else how


class _RobotBrowser:
    """The robot as a browser: it walks through each page that it is given, in the background, as a person would."""

    def __init__(self, options: DemoOptions, give_up: Callable[[], None]) -> None:
        self.problem: str | None = None
        """Why it could not go on."""
        self._options = options
        self._give_up = give_up
        self._walks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for walk in self._walks:
            walk.cancel()
        if self._walks:
            await asyncio.wait(self._walks)

    async def open(self, url: str) -> str:
        """Begin the walk."""
        walk = asyncio.ensure_future(self._walk(url))
        self._walks.add(walk)
        walk.add_done_callback(self._walks.discard)
        return BY_ROBOT

    async def _walk(self, url: str) -> None:
        try:
            report = await sign_in(
                url, method=self._options.method, patience_s=self._options.timeout_s, asks_for_icon=True
            )
            problem = _problem(report)
        except Exception as exc:  # a walk that breaks must not leave the login waiting for it
            problem = f"it broke with {type(exc).__name__}"
        if problem is not None and self.problem is None:
            self.problem = problem
            self._give_up()


def _problem(report: RobotReport) -> str | None:
    if report.ok:
        return None
    return report.problem or f"its callback was answered with status {report.callback_status}"


class _Tally:
    """Passes everything on to the person, and counts."""

    def __init__(self, conversation: Conversation, *, has_person: bool) -> None:
        self.tunnels: list[Tunnel] = []
        self.strays = 0
        self._listen: dict[int, tuple[str, ...]] = {}
        self._conversation = conversation
        self._has_person = has_person

    def event(self, event: ev.Event) -> None:
        """Count what the summary tells."""
        match event:
            case ev.TunnelOpened(leg=leg, listen=listen):
                self._listen[leg] = listen
            case ev.TunnelClosed(leg=leg, port=port, open_ms=open_ms):
                self.tunnels.append(Tunnel(port=port, listen=self._listen.get(leg, ()), open_ms=open_ms))
            case ev.RequestRefused():
                self.strays += event.count
        self._conversation.event(event)

    def url(self, url: str, authority: str) -> None:
        """The address is for a person; two who open it would be in each other's way."""
        if self._has_person:
            self._conversation.url(url, authority)

    def tell(self, text: str) -> None:
        """Pass it on."""
        self._conversation.tell(text)

    def warn(self, text: str) -> None:
        """Pass it on."""
        self._conversation.warn(text)

    def remote(self, text: str) -> None:
        """Pass it on."""
        self._conversation.remote(text)


def _count_requests(cli_log: Path) -> int:
    lines = cli_log.read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["event"] == "request" for line in lines)
