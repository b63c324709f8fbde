"""The way of a command's callbacks: as `relay`, but for listeners of which little is known.

kiro-cli takes one callback, and what it answers is known. A command under `kirotunnel run` may sign in twice, give a
bad code back and wait for a better one, hold its answer for half a minute, begin with a page of its own that leads on
to the sign-in, or take the token by a second request, which a script of its page sends. Each request that the gate
passes gets a connection of its own there, and a browser that brings the same callback again gets the same answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from kirotunnel.errors import CallbackUndeliveredError, InternalError, KirotunnelError
from kirotunnel.events import Outcome
from kirotunnel.local.http1 import Request
from kirotunnel.local.loopback_server import Answer
from kirotunnel.local.pages import Page
from kirotunnel.local.relay import RESPONSE_HEADERS, WITHOUT_SCRIPTS, Gone, Route, may_go_to, quietening
from kirotunnel.local.upstream import NoAnswerError, Response, Upstream
from kirotunnel.wire.gate import same_origin_target

MAX_AT_ONCE: Final = 16
"""Callbacks under way of one leg, and as many other pages; whoever asks beyond that is answered here."""
MAX_REMEMBERED: Final = 32
"""Callbacks whose answers are kept for a browser that asks again."""
# A page whose scripts run: in an origin of its own, so that it sees neither the cookies nor the storage of localhost,
# and speaks to nobody but the listener that it came from.
_WITH_SCRIPTS: Final = (
    "sandbox allow-scripts allow-forms; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src {origins}; form-action {origins}; base-uri 'none'"
)


@dataclass(slots=True, kw_only=True)
class CommandRoute(Route):
    """One leg's way from the browser to a command's listener, for as long as somebody listens there."""

    judge: Callable[[str, bool], Awaitable[bool]] | None = None
    """Asked whether the browser may go where an answer sends it, and whether that answer was to a callback."""
    patience_s: float | None = None
    """Seconds after which the browser gets a page of ours, while the command goes on with its answer."""
    answers: OrderedDict[tuple[str, str, bytes], asyncio.Future[Answer]] = field(default_factory=OrderedDict)
    exchanges: dict[asyncio.Task[None], bool] = field(default_factory=dict)
    """Those under way, and whether each is a callback's."""

    def become(self, other: CommandRoute) -> None:
        """Serve by what that one has: another sign-in with the same state. Answers under way go on."""
        self.rule, self.dial, self.observer = other.rule, other.dial, other.observer
        self.policy, self.judge = other.policy, other.judge

    async def callback(self, request: Request, outcome: Outcome, *, among_others: bool = False) -> Answer:
        """Deliver a callback, which the gate has allowed, and give the browser its answer."""
        return await self._answered(request, outcome)

    async def follow_up(self, request: Request, gone: Gone) -> Answer:
        """Fetch the page that the remote's answer named."""
        return await self._answered(request, None, gone)

    async def fetch(self, request: Request, gone: Gone) -> Answer:
        """Fetch a page of the command's listener that is no callback."""
        return await self._answered(request, None, gone)

    def preflight(self, request: Request) -> Answer:
        """Allow a page that the gate lets in to send what it asks about."""
        wanted = {"method": "methods", "headers": "headers"}
        allowed = [
            (f"access-control-allow-{plural}", value)
            for single, plural in wanted.items()
            if (value := request.header(f"access-control-request-{single}")) is not None
        ]
        if request.header("access-control-request-private-network") is not None:
            allowed.append(("access-control-allow-private-network", "true"))
        return self._readable(request, Answer(204, (("access-control-max-age", "60"), *allowed)))

    async def close(self) -> None:
        """End the exchanges that still go on."""
        for task in list(self.exchanges):
            task.cancel()
        if self.exchanges:
            await asyncio.wait(self.exchanges)

    async def _answered(self, request: Request, outcome: Outcome | None, gone: Gone | None = None) -> Answer:
        key = (request.method, request.target, request.body)
        answer = self.answers.get(key)
        if answer is None:
            # Counted apart: pages that any program here may ask for must not keep a callback out.
            if sum(is_callback is (outcome is not None) for is_callback in self.exchanges.values()) >= MAX_AT_ONCE:
                self.observer.stray("idle")
                return self.page(Page.BUSY)
            answer = asyncio.get_running_loop().create_future()
            if outcome is not None:
                self.answers[key] = answer
            while len(self.answers) > MAX_REMEMBERED:
                self.answers.popitem(last=False)
            # A task of its own: a browser that goes away must not break off what the command does with a callback.
            task = asyncio.create_task(self._deliver(request, outcome, answer))
            self.exchanges[task] = outcome is not None
            task.add_done_callback(self.exchanges.pop)
            if gone is not None:
                _end_with(task, gone)
        try:
            async with asyncio.timeout(self.patience_s):
                return self._readable(request, await asyncio.shield(answer))
        except TimeoutError:
            return self.page(Page.STILL_WORKING)

    async def _deliver(self, request: Request, outcome: Outcome | None, answer: asyncio.Future[Answer]) -> None:
        observer = self.observer  # by the time of the answer it may be another sign-in's, see `become`
        if outcome is not None:
            observer.callback(outcome)
        error: KirotunnelError | None = None
        said = self.page(Page.UNREACHABLE)
        try:
            said = await self._exchange_once(request, outcome)
        except CallbackUndeliveredError as exc:
            error = exc
            if outcome is None:  # the page after a callback, of a listener that has done its work
                error, said = None, self.page(Page.HANDED_OVER)
        except KirotunnelError as exc:
            error = exc
        except Exception as exc:  # nobody may wait for an answer that nobody gives any more
            error = InternalError(f"{type(exc).__name__} while a callback was delivered")
            error.__cause__ = exc
        finally:
            if not answer.done():
                answer.set_result(said)
            if outcome is not None:
                observer.delivered(error)

    async def _exchange_once(self, request: Request, outcome: Outcome | None) -> Answer:
        upstream = Upstream(await self.dial())
        try:
            response = await upstream.exchange(request)
        except NoAnswerError:
            return self.page(Page.DENIED if outcome == "denied" else Page.NO_ANSWER)
        finally:
            await upstream.close()
        return await self._passed_on(response, after_callback=outcome is not None)

    async def _passed_on(self, response: Response, *, after_callback: bool) -> Answer:
        """The remote's answer as the browser gets it."""
        headers = [(name, value) for name, value in response.headers if name in RESPONSE_HEADERS]
        location = response.location
        if location is not None:
            stays = same_origin_target(location, self.port)
            if stays is not None:
                self.rule = replace(self.rule, follow_up=stays)
            elif not await self._may_go(location, after_callback=after_callback):
                # What the command wanted to show after its sign-in is not worth a question.
                return self.page(Page.HANDED_OVER if after_callback else Page.FORBIDDEN_REDIRECT)
            headers.append(("location", location))
        return Answer(response.status, (*headers, *self._quietening(headers)), response.body)

    async def _may_go(self, location: str, *, after_callback: bool) -> bool:
        if self.judge is None:
            return may_go_to(location, self.policy)
        return await self.judge(location, after_callback)

    def _quietening(self, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        wider = self.rule.wider
        scripts = wider is not None and wider.scripts
        if wider is not None and scripts and not wider.shown:
            self.rule = replace(self.rule, wider=replace(wider, shown=True))
        origins = " ".join(f"http://{name}:{self.port}" for name in ("localhost", "127.0.0.1", "[::1]"))
        return quietening(_WITH_SCRIPTS.format(origins=origins) if scripts else WITHOUT_SCRIPTS, headers)

    def _readable(self, request: Request, answer: Answer) -> Answer:
        """A script of a page that the gate lets in may read what it asked for (Fetch, CORS protocol)."""
        origin, wider = request.header("origin"), self.rule.wider
        if origin == "null":
            return replace(answer, headers=(*answer.headers, ("access-control-allow-origin", "null")))
        if origin is None or wider is None or not wider.lets_in(origin.lower()):
            return answer
        # Cookies are none of those that the command gets, whatever the script wants to send.
        more = (("access-control-allow-origin", origin), ("access-control-allow-credentials", "true"))
        return replace(answer, headers=(*answer.headers, *more))


def _end_with(exchange: asyncio.Task[None], gone: Gone) -> None:
    """Break the exchange off once nobody waits for it any more."""
    leaving = asyncio.ensure_future(gone())
    leaving.add_done_callback(lambda _: exchange.cancel())
    exchange.add_done_callback(lambda _: leaving.cancel())
