"""The ports of this machine to which browsers come back: each serves any number of legs, told apart by their state.

Ten remote CLIs that all chose 3128 need one 3128 here. Its listeners open with the first lease and close with the last.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Final

from kirotunnel.errors import KirotunnelError, PortAwaitedError, StateNotUniqueError
from kirotunnel.events import RefusalReason
from kirotunnel.local import loopback_server
from kirotunnel.local.http1 import Request
from kirotunnel.local.loopback import bind_loopback, busy_on_loopback
from kirotunnel.local.loopback_server import Answer, LoopbackServer
from kirotunnel.local.pages import REFUSALS, Page, render
from kirotunnel.local.relay import Route
from kirotunnel.wire.gate import FollowUp, Forward, LegRule, Pass, Preflight, Refuse, RequestHead, decide
from kirotunnel.wire.sharing import ANY, state_key

_MAX_SPENT: Final = 256
"""Callbacks that a port remembers once their leg is over."""


class CallbackPorts:
    """Who wants a port for a leg gets a lease here; all that shall share ports have the same of these."""

    def __init__(self) -> None:
        self._ports: dict[int, _Port] = {}
        self._turns: dict[int, asyncio.Lock] = {}

    async def lease(self, route: Route) -> Lease:
        """Listen for this leg on both loopback addresses.

        Raises LocalPortError where the port cannot be had, and StateNotUniqueError where another leg has this state.
        """
        async with self._turns.setdefault(route.port, asyncio.Lock()):
            port = self._ports.get(route.port)
            if port is None:
                self._ports[route.port] = port = await _Port.open(route.port)
            port.admit(route)
        return Lease(route, port.server.listen, partial(self._leave, port, route))

    async def busy(self, numbers: Collection[int]) -> dict[int, str]:
        """Those of the ports that no leg could have here now, each with who has it."""
        return await asyncio.to_thread(busy_on_loopback, [number for number in numbers if number not in self._ports])

    async def _leave(self, port: _Port, route: Route) -> None:
        """Take the leg off its port: at once for who comes from now on, in a moment for who is being answered."""
        port.dismiss(route)
        last = not port.routes
        if last:
            port.server.stop()
            if self._ports.get(route.port) is port:
                del self._ports[route.port]
        await port.drain(route)
        if last:
            await port.server.close()
        await route.close()


class Lease:
    """One leg's share of a port, until it is closed."""

    def __init__(self, route: Route, listen: tuple[str, ...], leave: Callable[[], Awaitable[None]]) -> None:
        self.route = route
        self.port = route.port
        self.listen = listen
        """`ADDR:PORT` of each listener."""
        self._leave = leave
        self._opened = time.monotonic()
        self._closed = False

    @classmethod
    def of_nothing(cls, route: Route) -> Lease:
        """For a leg whose callback comes by `route.bring`: nothing is listened on."""
        return cls(route, (), route.close)

    @property
    def open_ms(self) -> int:
        """Milliseconds since this leg has the port."""
        return round((time.monotonic() - self._opened) * 1000)

    async def close(self) -> None:
        """Give the port up at once; with the last lease it is free. Answers of this leg may finish for a moment."""
        if not self._closed:
            self._closed = True
            await self._leave()


class _Port:
    """The listeners of one port, and the routes behind it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.routes: list[Route] = []
        self.server: LoopbackServer
        self._spent: deque[LegRule] = deque(maxlen=_MAX_SPENT)
        self._answering: dict[asyncio.Task[None], Route] = {}

    @classmethod
    async def open(cls, number: int) -> _Port:
        port = cls(number)
        sockets = await _bind(number)
        port.server = LoopbackServer(sockets, port._handle, port._stray)
        try:
            await port.server.start()
        except BaseException:
            port.server.stop()
            raise
        return port

    def admit(self, route: Route) -> None:
        """Serve this leg, too. Raises where a callback could then belong to two."""
        key = state_key(route.rule.state)
        if any(state_key(other.rule.state) == key for other in self.routes):
            raise already_awaited(route, key)
        self.routes.append(route)

    def dismiss(self, route: Route) -> None:
        """Serve this leg no longer."""
        self.routes.remove(route)
        if route.rule.state is not None:
            # A browser that comes again with a callback that was taken must not end up at a leg that takes any.
            self._spent.append(replace(route.rule, follow_up=None))

    async def drain(self, route: Route) -> None:
        """Let this route's answers under way finish for a moment, then end them."""
        tasks = {task for task, whose in self._answering.items() if whose is route}
        if tasks:
            await asyncio.wait(tasks, timeout=loopback_server.DRAIN_S)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- one request -------------------------------------------------------------------------------------------------

    async def _handle(self, request: Request) -> Answer:
        head = RequestHead.of(request.method, request.target, request.headers, request.body)
        match decide(head, self.number, [*(route.rule for route in self.routes), *self._spent]):
            case Refuse(_, reason):
                return self._stray(reason)
            case Forward(rule, outcome):
                if (route := self._belonging_to(rule)) is None:
                    return self._own(Page.NOT_YOURS)
                return await route.callback(request, outcome, among_others=len(self.routes) > 1)
            case FollowUp(rule):
                if (route := self._belonging_to(rule)) is None:
                    return self._own(Page.NOT_HERE)
                return await route.follow_up(request)
            case Pass(rule):
                route = self._belonging_to(rule)
                return self._own(Page.NOT_HERE) if route is None else await route.fetch(request)
            case Preflight(rule):
                route = self._belonging_to(rule)
                return self._own(Page.NOT_HERE) if route is None else route.preflight(request)

    def _belonging_to(self, rule: LegRule) -> Route | None:
        route = next((route for route in self.routes if route.rule is rule), None)
        if route is None:
            return None
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - each connection is served in a task of its own
        self._answering[task] = route
        task.add_done_callback(self._answering.pop)
        return route

    # --- strays ------------------------------------------------------------------------------------------------------

    def _stray(self, reason: RefusalReason) -> Answer:
        waiting = next((route for route in self.routes if not route.done), None)
        if waiting is not None:
            waiting.observer.stray(reason)
        return self._own(REFUSALS[reason])

    def _own(self, page: Page) -> Answer:
        if len(self.routes) == 1:
            return self.routes[0].page(page)
        status, headers, body = render(page, cli="the CLI", host="remote machines")
        return Answer(status, tuple(headers), body)


def already_awaited(route: Route, key: str) -> KirotunnelError:
    """The error of a leg whose callback could as well be another's."""
    if key == ANY:
        return PortAwaitedError(f"port {route.port} is waiting for a callback of any state already")
    return StateNotUniqueError(
        f"{route.cli} on {route.host} asks for a sign-in with the state of another one that waits on port {route.port}"
    )


async def _bind(number: int) -> list[socket.socket]:
    """Bind in a thread, since to name the holder of a port takes a while; who is cancelled leaves nothing bound."""
    binding = asyncio.ensure_future(asyncio.to_thread(bind_loopback, number))
    try:
        return await asyncio.shield(binding)
    except asyncio.CancelledError:
        binding.add_done_callback(_close_all)
        raise


def _close_all(binding: asyncio.Future[list[socket.socket]]) -> None:
    if not binding.cancelled() and binding.exception() is None:
        for sock in binding.result():
            sock.close()
