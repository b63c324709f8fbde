"""A world to sign in to: the sandbox's services, a robot for the browser, a person who answers, a place to keep it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kirotunnel import events as ev
from kirotunnel.flows.native_login import SignInResult, sign_in
from kirotunnel.flows.session import Choice, Sessions
from kirotunnel.flows.sign_in_environment import SignInEnvironment
from kirotunnel.flows.sign_in_route import SignInOptions
from kirotunnel.local.remote_session import Remoteness
from kirotunnel.local.session_store import SessionStore
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.oauth.http import Patience
from kirotunnel.oauth.session import Method, Session
from kirotunnel.redaction import Secret
from kirotunnel.sandbox import robot
from kirotunnel.sandbox.behaviour import Behaviour, HandOver
from kirotunnel.sandbox.robot import RobotReport
from kirotunnel.sandbox.services import SignInServices


@dataclass
class RobotBrowser:
    """Opens pages as a person would who always presses the same buttons."""

    method: Method
    decision: Literal["allow", "deny"] = "allow"
    urls: list[str] = field(default_factory=list)
    visits: list[asyncio.Task[RobotReport]] = field(default_factory=list)

    async def open(self, url: str) -> str:
        self.urls.append(url)
        self.visits.append(asyncio.create_task(self._visit(url)))
        return "robot"

    async def _visit(self, url: str) -> RobotReport:
        return await robot.sign_in(url, method=self.method, decision=self.decision)

    async def reports(self) -> list[RobotReport]:
        return list(await asyncio.gather(*self.visits))


@dataclass
class Notes:
    """Everything that a person and a program are told."""

    events: list[ev.Event] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def event(self, event: ev.Event) -> None:
        self.events.append(event)

    def tell(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.said.append(text)

    def url(self, url: str, authority: str) -> None:
        del authority
        self.urls.append(url)

    def remote(self, text: str) -> None:
        self.said.append(text)

    @property
    def names(self) -> list[str]:
        return [event.name() for event in self.events]

    def everything_but_urls(self) -> str:
        return json.dumps([self.said, [dataclasses.asdict(event) for event in self.events]])


@dataclass
class Person:
    """Answers what is asked, in order."""

    answers: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def answer(self, question: str) -> str | None:
        self.asked.append(question)
        return self.answers.pop(0) if self.answers else None

    async def secret(self, question: str) -> Secret[str] | None:
        raise AssertionError(question)

    async def confirm(self, question: str) -> bool | None:
        raise AssertionError(question)


@dataclass
class World:
    """What a test needs to sign in, to look at it, and to turn the clock."""

    services: SignInServices
    directory: Path
    clock: list[float] = field(default_factory=lambda: [1_800_000_000.0])
    browser: RobotBrowser = field(default_factory=lambda: RobotBrowser("google"))
    notes: Notes = field(default_factory=Notes)
    person: Person | None = None
    remote: Remoteness | None = None
    slept: list[float] = field(default_factory=list)

    @property
    def environment(self) -> SignInEnvironment:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            await asyncio.sleep(0.02)

        return SignInEnvironment(
            store=SessionStore(self.directory),
            endpoints=Endpoints.of(self.services.environment()),
            conversation=self.notes,
            **({"prompts": self.person, "interactive": True} if self.person else {}),
            browser=self.browser,
            remote=self.remote,
            patience=Patience(first_pause_s=0.01),
            now=lambda: self.clock[0],
            sleep=sleep,
        )

    @property
    def sessions(self) -> Sessions:
        return Sessions(self.environment)

    async def sign_in(
        self, *, as_: Method | None = None, decision: Literal["allow", "deny"] = "allow", **options: Any
    ) -> SignInResult:
        """Sign in; the robot chooses the method in the browser."""
        self.notes = Notes()
        self.browser = RobotBrowser(as_ or options.get("method") or "google", decision)
        try:
            return await sign_in(SignInOptions(**({"timeout_s": 15} | options)), self.environment)
        finally:
            await self.browser.reports()

    async def session(self, **choice: Any) -> Session | None:
        return await self.sessions.find(Choice(**choice))

    def seen(self, service: str) -> list[str]:
        return [operation for name, operation in self.services.seen if name == service]


@asynccontextmanager
async def a_world(
    directory: Path,
    *,
    behaviour: Behaviour | None = None,
    hand_over: HandOver = "redirect",
    listen: Sequence[str] = ("127.0.0.1",),
) -> AsyncIterator[World]:
    clock = [1_800_000_000.0]
    services = SignInServices(behaviour=behaviour, hand_over=hand_over, listen=listen, clock=lambda: clock[0])
    async with services:
        yield World(services, directory, clock)
