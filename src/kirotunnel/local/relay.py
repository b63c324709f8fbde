"""One leg of the relay: dial the remote only with the one request that belongs there, and give the browser its answer.

The remote CLI's listener takes one to three connections in its whole life and ends the login at the first request,
right or wrong. A browser opens more connections than it uses (a click in Chromium makes one that stays silent for
minutes), asks for /favicon.ico, and other programs knock as well. So HTTP ends here: each request is read whole, the
gate decides (see `callback_ports`), and the remote sees exactly the callback, and the page after it on the same
connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from kirotunnel.errors import ConnectionLostError, InternalError, KirotunnelError
from kirotunnel.events import Outcome, RefusalReason
from kirotunnel.local.http1 import Request
from kirotunnel.local.loopback_server import Answer
from kirotunnel.local.pages import Page, render
from kirotunnel.local.upstream import Dial, NoAnswerError, Response, Upstream
from kirotunnel.wire.gate import LegRule, same_origin_target
from kirotunnel.wire.pasted import Pasted
from kirotunnel.wire.redirect import UrlPolicy, check_url

FOLLOW_UP_GRACE_S: Final = 2.0
"""Seconds that the browser has to ask for the page that the remote's answer named."""
_MARK: Final = "kirotunnel"
"""Parameter that tells the pages of legs with the same port apart; the remote never sees it."""
_SAYS_NO: Final = re.compile(r"[?&](?:error=|auth_status=error)")  # kiro-cli's redirects after a bad callback

# What of the remote's answer the browser gets: nothing that outlives the page; cookies belong to all of localhost.
RESPONSE_HEADERS: Final = frozenset({"content-type", "cache-control", "content-language"})
# A script of the remote's page would run as a page of localhost: with the cookies of every program there.
WITHOUT_SCRIPTS: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


Gone: TypeAlias = Callable[[], Awaitable[None]]
"""Waits until who asked is gone."""


class LegObserver(Protocol):
    """Who wants to know how a leg's requests go. Called in the event loop; must not block."""

    def stray(self, reason: RefusalReason) -> None:
        """A stray was answered here."""

    def callback(self, outcome: Outcome) -> None:
        """The callback is here and is about to be delivered."""

    def delivered(self, error: KirotunnelError | None) -> None:
        """The exchange is over."""


@dataclass(slots=True, kw_only=True)
class Route:
    """One leg's way from the browser to the remote: delivers one callback, and the page after it."""

    rule: LegRule
    port: int
    """The port that the redirect names, the same on both machines."""
    dial: Dial
    observer: LegObserver
    cli: str
    host: str
    """Names for the pages."""
    policy: UrlPolicy
    """Judges where the remote's answer may send the browser."""
    own_page: bool = False
    """The browser ends on a page of ours, which says whose sign-in that was; the remote's own is a link on it."""
    answer: asyncio.Future[Answer] | None = None
    """The answer of the one callback, once it was taken: a browser that asks again gets the same."""
    page_target: str = ""
    """Path and query of the page after it, as the remote named it."""
    upstream: Upstream | None = None
    done: bool = False
    idle_timer: asyncio.TimerHandle | None = None

    def page(self, page: Page, link: str | None = None) -> Answer:
        """A page of ours that names this leg's CLI and host."""
        status, headers, body = render(page, cli=self.cli, host=self.host, link=link)
        return Answer(status, tuple(headers), body)

    async def callback(self, request: Request, outcome: Outcome, *, among_others: bool = False) -> Answer:
        """Deliver the callback, which the gate has allowed, and give the browser its answer.

        `among_others`: other legs have this port, too, and their remotes may send browsers to a page of the same name.
        """
        if self.answer is not None:
            return await asyncio.shield(self.answer)
        loop = asyncio.get_running_loop()
        self.answer = loop.create_future()
        error: KirotunnelError | None = None
        answer = self.page(Page.UNREACHABLE)
        try:
            self.observer.callback(outcome)
            answer = await self._exchange(request, outcome, among_others)
        except ConnectionLostError as exc:
            error, answer = exc, self.page(Page.INTERRUPTED)
        except KirotunnelError as exc:
            error = exc
        except Exception as exc:  # the login must not wait for an answer that nobody gives any more
            error = InternalError(f"{type(exc).__name__} while the callback was delivered")
            error.__cause__ = exc
        finally:
            self.answer.set_result(answer)
        if self.rule.follow_up is None:
            return replace(answer, sent=lambda: self._finish(error))
        self.idle_timer = loop.call_later(FOLLOW_UP_GRACE_S, self._finish, None)
        return answer

    async def follow_up(self, request: Request, gone: Gone) -> Answer:
        """Fetch the page that the remote's answer named."""
        upstream, self.upstream = self.upstream, None
        request = replace(request, target=self.page_target)  # without our mark
        denied = "error=" in urlsplit(self.page_target).query
        answer = self.page(Page.DENIED if denied else Page.HANDED_OVER)
        if upstream is not None:
            # kiro-cli's SSO leg keeps this connection for 200 to 500 ms, then it is gone and the page is ours.
            with contextlib.suppress(NoAnswerError, KirotunnelError):
                response = await upstream.exchange(request)
                if response.status < 300:
                    answer, _ = self._relayed(response)
            await upstream.close()
        return replace(answer, sent=lambda: self._finish(None))

    async def fetch(self, request: Request, gone: Gone) -> Answer:
        """A page beside the callback: a login has none."""
        return self.page(Page.NOT_HERE)

    def preflight(self, request: Request) -> Answer:
        """What a script of such a page may send: nothing."""
        return self.page(Page.NOT_HERE)

    async def bring(self, pasted: Pasted) -> None:
        """Deliver a callback that a person brought, and was judged, as one that the browser sent."""
        answer = await self.callback(Request("GET", pasted.target, (("host", pasted.host),)), pasted.outcome)
        if answer.sent is not None:
            answer.sent()
        else:
            self._finish(None)  # the page after it was for a browser that is not here

    def give_up(self, error: KirotunnelError) -> None:
        """Its callback cannot come here any more."""
        self._finish(error)

    async def close(self) -> None:
        """Let go of the remote."""
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        if self.upstream is not None:
            await self.upstream.close()

    async def _exchange(self, request: Request, outcome: Outcome, among_others: bool) -> Answer:
        upstream = Upstream(await self.dial())
        try:
            response = await upstream.exchange(request)
        except NoAnswerError:
            await upstream.close()
            return self.page(Page.DENIED if outcome == "denied" else Page.NO_ANSWER)
        except BaseException:
            await upstream.close()
            raise
        if self.own_page:
            await upstream.close()
            return self._own_answer(response, outcome)
        answer, follow_up = self._relayed(response)
        if follow_up is None:
            await upstream.close()
            return answer
        self.page_target, self.upstream = follow_up, upstream
        if among_others:
            mark = f"{_MARK}={secrets.token_hex(8)}"
            headers = ((n, with_parameter(v, mark) if n == "location" else v) for n, v in answer.headers)
            answer, follow_up = replace(answer, headers=tuple(headers)), with_parameter(follow_up, mark)
        self.rule = replace(self.rule, follow_up=follow_up)
        return answer

    def _own_answer(self, response: Response, outcome: Outcome) -> Answer:
        """Our page in the place of the remote's answer."""
        location = response.location
        stays = location is not None and same_origin_target(location, self.port) is not None
        if location is not None and not stays and not may_go_to(location, self.policy):
            return self.page(Page.FORBIDDEN_REDIRECT)
        if outcome == "denied":
            page = Page.DENIED
        else:
            said_no = response.status >= 400 or (location is not None and _SAYS_NO.search(location) is not None)
            page = Page.COMPLAINED if said_no else Page.HANDED_OVER
        return self.page(page, None if stays else location)

    def _relayed(self, response: Response) -> tuple[Answer, str | None]:
        """The remote's answer as the browser gets it, and the page of this port to which it sends the browser."""
        headers = [(name, value) for name, value in response.headers if name in RESPONSE_HEADERS]
        location = response.location
        follow_up = None
        if location is not None:
            follow_up = same_origin_target(location, self.port)
            if follow_up is None and not may_go_to(location, self.policy):
                return self.page(Page.FORBIDDEN_REDIRECT), None
            headers.append(("location", location))
        headers += quietening(WITHOUT_SCRIPTS, headers)
        return Answer(response.status, tuple(headers), response.body), follow_up

    def _finish(self, error: KirotunnelError | None) -> None:
        if not self.done:
            self.done = True
            self.observer.delivered(error)


def quietening(policy: str, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """By which a page of the remote's, which has these headers, does nothing but what that policy allows."""
    quiet = [("content-security-policy", policy), ("referrer-policy", "no-referrer")]
    if any(name == "content-type" for name, _ in headers):  # else the browser has to guess (OCI's CLI, 3.95)
        quiet.append(("x-content-type-options", "nosniff"))
    return quiet


def with_parameter(url: str, parameter: str) -> str:
    """The URL, or path and query, with one more parameter."""
    address, hash_, fragment = url.partition("#")
    return f"{address}{'&' if '?' in address else '?'}{parameter}{hash_}{fragment}"


def may_go_to(location: str, policy: UrlPolicy) -> bool:
    """Whether the remote may send the browser there: to a sign-in host that is known or trusted, and nowhere else."""
    try:
        return check_url(location, policy).standing != "unknown"
    except KirotunnelError:
        return False
