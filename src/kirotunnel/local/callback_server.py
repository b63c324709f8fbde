"""Wait for the browser to come back from the sign-in page: one callback, checked before any page says that it is good.

Both loopback addresses, the exact path, GET (POST where the response comes as a form), the state in constant time,
an error before a code: the gate decides, as it does for the relay. The first right request is the callback; its browser
waits for its page until the flow says how it ended. Everything else gets a page of its own and ends nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit

from kirotunnel.errors import CallbackPortsBusyError, LocalPortError
from kirotunnel.events import Outcome, RefusalReason
from kirotunnel.local.http1 import Request
from kirotunnel.local.loopback import bind_loopback
from kirotunnel.local.loopback_server import Answer, LoopbackServer, Visitor
from kirotunnel.local.pages import REFUSALS, Page, render
from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import Forward, LegRule, Refuse, RequestHead, decide

PAGE_TIMEOUT_S: Final = 20.0
"""Seconds that the browser waits for the sign-in's end; then it is told to look at the terminal."""
CLI_NAME: Final = "kirotunnel"


@dataclass(frozen=True, slots=True)
class Callback:
    """The browser came back."""

    path: str
    parameters: Secret[dict[str, str]]
    outcome: Outcome


class CallbackServer:
    """The listeners of one leg, from `open` to `close`."""

    def __init__(self, sockets: list[socket.socket], rule: LegRule, host: str) -> None:
        self._rule = rule
        self._host = host
        self._server = LoopbackServer(sockets, self._handle, self._refuse)
        self._observe: Callable[[RefusalReason], None] = lambda reason: None
        loop = asyncio.get_running_loop()
        self._arrived: asyncio.Future[Callback] = loop.create_future()
        self._answer: asyncio.Future[Answer] = loop.create_future()

    @classmethod
    async def open(
        cls,
        ports: Sequence[int],
        *,
        leg: int,
        paths: Iterable[str],
        state: Secret[str],
        host: str,
        form_post: bool = False,
        on_refused: Callable[[RefusalReason], None] | None = None,
    ) -> Self:
        """Listen on the first of these ports that is free on both addresses; 0 is any. `host` is for the pages.

        Raises CallbackPortsBusyError where none is, and LocalPortError where there was only one.
        """
        sockets = await asyncio.to_thread(_bind_first, ports)
        try:
            rule = LegRule(leg=leg, paths=frozenset(paths), state=state, form_post=form_post)
            self = cls(sockets, rule, host)
            if on_refused is not None:
                self._observe = on_refused
            await self._server.start()
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        return self

    @property
    def port(self) -> int:
        """The port, the same on both addresses."""
        return self._server.port

    async def close(self) -> None:
        """Let the browser have its page, and free the port."""
        if not self._answer.done():
            self.show(Page.NOT_SIGNED_IN)
        await self._server.close()

    async def callback(self) -> Callback:
        """The callback, once it is there. Waits for ever: the flow has the deadline."""
        return await asyncio.shield(self._arrived)

    def show(self, page: Page) -> None:
        """Give the browser its page."""
        self._reply(self._page(page))

    def send_to(self, url: str) -> None:
        """Send the browser on to another page."""
        self._reply(Answer(302, (("Location", url), ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"))))

    def _reply(self, answer: Answer) -> None:
        if not self._answer.done():
            self._answer.set_result(answer)

    # --- one request -------------------------------------------------------------------------------------------------

    async def _handle(self, request: Request, _: Visitor) -> Answer:
        head = RequestHead.of(request.method, request.target, request.headers, request.body)
        match decide(head, self.port, [self._rule]):
            case Forward(_, outcome):
                return await self._take(request, outcome)
            case Refuse(_, reason):
                return self._refuse(reason)
        return self._refuse("path")

    async def _take(self, request: Request, outcome: Outcome) -> Answer:
        """The first one is the callback. A browser that asks again gets the same page, and nothing happens twice."""
        if not self._arrived.done():
            parts = urlsplit(request.target)
            text = parts.query if request.method == "GET" else request.body.decode("utf-8", "replace")
            parameters = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=64))
            self._arrived.set_result(Callback(parts.path, Secret(parameters), outcome))
        try:
            async with asyncio.timeout(PAGE_TIMEOUT_S):
                return await asyncio.shield(self._answer)
        except TimeoutError:
            return self._page(Page.STILL_WORKING)

    def _refuse(self, reason: RefusalReason) -> Answer:
        self._observe(reason)
        return self._page(REFUSALS[reason])

    def _page(self, page: Page) -> Answer:
        status, headers, body = render(page, cli=CLI_NAME, host=self._host)
        return Answer(status, tuple(headers), body)


def _bind_first(ports: Sequence[int]) -> list[socket.socket]:
    busy: list[LocalPortError] = []
    for port in ports:
        try:
            return bind_loopback(port)
        except LocalPortError as exc:
            if len(ports) == 1:
                raise
            busy.append(exc)
    shown = ", ".join(map(str, ports))
    raise CallbackPortsBusyError(f"none of the callback ports {shown} is free on this machine") from ExceptionGroup(
        "each of them", busy
    )
