"""The ports of this machine to which browsers come back: each serves any number of legs, told apart by their state.

Ten remote CLIs that all chose 3128 need one 3128 here. Its listeners open with the first lease and close with the last.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from typing import Final

from kirotunnel.errors import KirotunnelError, PortAwaitedError, StateNotUniqueError
from kirotunnel.events import Outcome, RefusalReason
from kirotunnel.local import loopback_server
from kirotunnel.local.channel import answers
from kirotunnel.local.http1 import Request
from kirotunnel.local.loopback import busy_on_loopback, refused_ports
from kirotunnel.local.loopback_server import Answer, Visitor
from kirotunnel.local.meeting_place import MeetingPlace, NoMeetingPlaceError
from kirotunnel.local.pages import REFUSALS, Page, render
from kirotunnel.local.relay import Gone, Route
from kirotunnel.local.shared_port import TRANSITION_S, SharedPort
from kirotunnel.wire.gate import (
    Decision,
    FollowUp,
    Forward,
    LegRule,
    Pass,
    Preflight,
    Refuse,
    RequestHead,
    decide,
)
from kirotunnel.wire.sharing import ANY, STATE, WIDE, keys_of, keys_of_leg, page_key, state_key

_log = logging.getLogger(__name__)

_AGAIN_S: Final = 0.03
"""Seconds until somebody is looked for again who may be just taking a port over."""
_MAX_SPENT: Final = 256
"""Callbacks that a port remembers once their leg is over."""


class CallbackPorts:
    """Who wants a port for a leg gets a lease here; all that shall share ports have the same of these."""

    def __init__(self, meeting_place: Callable[[], MeetingPlace] | None = MeetingPlace.of_this_user) -> None:
        """`meeting_place` is where other processes of this user find the ports; without it only we share them."""
        self._meeting_place = meeting_place
        self._ports: dict[int, _Port] = {}
        self._turns: dict[int, asyncio.Lock] = {}

    async def lease(self, route: Route) -> Lease:
        """Listen for this leg on both loopback addresses.

        Raises LocalPortError where the port cannot be had, and StateNotUniqueError where another leg has this state.
        """
        async with self._turns.setdefault(route.port, asyncio.Lock()):
            port = self._ports.get(route.port)
            if port is None:
                self._ports[route.port] = port = await _Port.open(route.port, self._place())
            try:
                await port.admit(route)
            except BaseException:
                await self._leave_if_last(port, route.port)
                raise
        return Lease(route, port.share.server.listen, partial(self._leave, port, route))

    async def busy(self, numbers: Collection[int]) -> dict[int, str]:
        """Those of the ports that no leg could have here now, each with who has it."""
        return await asyncio.to_thread(self._busy, [number for number in numbers if number not in self._ports])

    def _busy(self, numbers: Collection[int]) -> dict[int, str]:
        refused = refused_ports(numbers)
        shared = shared_by_others(refused, self._meeting_place) if refused else frozenset[int]()
        # Tried once more: who shares none may have left meanwhile. And only these are looked for, which takes longest.
        return busy_on_loopback([number for number in refused if number not in shared])

    def _place(self) -> MeetingPlace | None:
        try:
            return self._meeting_place() if self._meeting_place is not None else None
        except NoMeetingPlaceError as exc:
            _log.debug("ports are not shared with other processes: %s", exc)
            return None

    async def _leave(self, port: _Port, route: Route) -> None:
        """Take the leg off its port: at once for who comes from now on, in a moment for who is being answered."""
        port.dismiss(route)
        if last := not port.routes:
            port.share.stop()
            if self._ports.get(route.port) is port:
                del self._ports[route.port]
        await port.drain(route)
        if last:
            await port.share.close()
        await route.close()

    async def _leave_if_last(self, port: _Port, number: int) -> None:
        if not port.routes:
            if self._ports.get(number) is port:
                del self._ports[number]
            await port.share.close()


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
    """One port, and the routes of this process behind it."""

    def __init__(self, number: int, place: MeetingPlace | None) -> None:
        self.number = number
        self.routes: list[Route] = []
        self.share = SharedPort(
            number,
            place,
            handle=self._handle,
            stray=self._stray,
            keys=self._keys,
            gone=self._remember,
            lost=self._give_up,
        )
        self._coming: Route | None = None
        """The leg that is not known to have the port yet."""
        self._spent: deque[str] = deque(maxlen=_MAX_SPENT)
        self._answering: dict[asyncio.Task[None], Route] = {}

    @classmethod
    async def open(cls, number: int, place: MeetingPlace | None) -> _Port:
        port = cls(number, place)
        await port.share.open()
        return port

    async def admit(self, route: Route) -> None:
        """Serve this leg, too. Raises where a callback could then belong to two."""
        key = state_key(route.rule.state)
        if key in self._keys():
            raise already_awaited(route, key)
        self.routes.append(route)
        self._coming = route
        granted = False
        try:
            granted = await self.share.claim(key, keys_of_leg(route.rule))
        finally:
            self._coming = None
            if not granted:
                self.routes.remove(route)
                self._drop(keys_of_leg(route.rule))
        if not granted and route.rule.wider is not None:
            raise PortAwaitedError(
                f"port {route.port} is waiting for another sign-in, whose answer could not be told from this one's"
            )
        if not granted:
            raise already_awaited(route, key)

    def dismiss(self, route: Route) -> None:
        """Serve this leg no longer."""
        self.routes.remove(route)
        keys = keys_of_leg(route.rule)
        self._remember(keys)
        self._drop(keys)

    def _drop(self, keys: Iterable[str]) -> None:
        """Have requests with these keys no longer, unless another leg of ours has them too."""
        still = self._keys()
        self.share.tell(drop=[key for key in keys if key not in still])

    def _keys(self) -> list[str]:
        return [key for route in self.routes for key in keys_of_leg(route.rule)]

    def _remember(self, keys: Iterable[str]) -> None:
        # A browser that comes again with a callback that was taken must not end up at a leg that takes any.
        self._spent.extend(key for key in keys if key.startswith(STATE))

    def _give_up(self, keys: Iterable[str]) -> None:
        """Another process has these keys of ours: we were stopped when the port changed hands, and it came then."""
        lost = set(keys)
        for route in self.routes:
            key = state_key(route.rule.state)
            if key in lost and route is not self._coming and route.answer is None:
                route.give_up(already_awaited(route, key))

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

    async def _handle(self, request: Request, visitor: Visitor) -> Answer | None:
        head = RequestHead.of(request.method, request.target, request.headers, request.body)
        decision = self._decide(head)
        if isinstance(decision, Refuse) and decision.reason in {"malformed", "host"}:
            return self._stray(decision.reason)
        keys = keys_of(head)
        if not _by_its_key(decision, keys) and not self._is_spent(keys):
            await self.share.until_known(keys)
            decision = self._decide(head)
        if _by_its_key(decision, keys):
            return await self._answer(decision, request, visitor.connection.gone)
        if self.share.pass_on(visitor, keys):
            return None
        if self._is_spent(keys):
            return self._own(Page.NOT_YOURS)
        if isinstance(decision, Refuse) and self.share.pass_on(visitor, [ANY, WIDE]):
            return None
        return await self._answer(decision, request, visitor.connection.gone)

    def _decide(self, head: RequestHead) -> Decision:
        return decide(head, self.number, [route.rule for route in self.routes])

    def _is_spent(self, keys: Iterable[str]) -> bool:
        return any(key in self._spent for key in keys)

    async def _answer(self, decision: Decision, request: Request, gone: Gone) -> Answer:
        match decision:
            case Forward(rule, outcome):
                return await self._call_back(rule, request, outcome)
            case FollowUp(rule):
                return await self._say_its_page(route := self._whose(rule), route.follow_up(request, gone))
            case Pass(rule):
                return await self._say_its_page(route := self._whose(rule), route.fetch(request, gone))
            case Preflight(rule):
                return self._whose(rule).preflight(request)
            case Refuse(_, reason):
                return self._stray(reason)

    async def _call_back(self, rule: LegRule, request: Request, outcome: Outcome) -> Answer:
        route = self._whose(rule)
        among_others = len(self.routes) > 1 or self.share.has_others
        return await self._say_its_page(route, route.callback(request, outcome, among_others=among_others))

    async def _say_its_page(self, route: Route, answering: Awaitable[Answer]) -> Answer:
        """Have the page that the answer sends the browser to, before the browser asks for it."""
        answer = await answering
        if route.rule.follow_up is not None:
            self.share.tell(add=[page_key(route.rule.follow_up)])
        return answer

    def _whose(self, rule: LegRule) -> Route:
        route = next(route for route in self.routes if route.rule is rule)
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


def _by_its_key(decision: Decision, keys: list[str]) -> bool:
    """Whether this request is that leg's for sure, not only because it takes more than others."""
    match decision:
        case FollowUp():
            return True
        case Forward(rule) | Pass(rule) | Preflight(rule):
            return rule.state is not None and state_key(rule.state) in keys
    return False


def shared_by_others(
    numbers: Collection[int], meeting_place: Callable[[], MeetingPlace] | None = MeetingPlace.of_this_user
) -> frozenset[int]:
    """Those of the ports that other processes of this user have and share. Blocks: call it from a thread."""
    if meeting_place is None:
        return frozenset()
    try:
        place = meeting_place()
    except NoMeetingPlaceError:
        return frozenset()
    try:
        return frozenset(number for number in numbers if _is_shared(place, number))
    except NoMeetingPlaceError:
        return frozenset()
    finally:
        place.close()


def _is_shared(place: MeetingPlace, number: int) -> bool:
    """Whether somebody who shares the port is there, and awake, or comes meanwhile. Blocks, as `answers` does."""
    began = time.monotonic()
    while (patience_s := began + TRANSITION_S - time.monotonic()) > 0:
        answer = answers(place.address(number), patience_s)
        if answer is not None:
            return answer
        if not place.is_left(number):
            break
        time.sleep(_AGAIN_S)
    return False


def already_awaited(route: Route, key: str) -> KirotunnelError:
    """The error of a leg whose callback could as well be another's."""
    if key == ANY:
        return PortAwaitedError(f"port {route.port} is waiting for a callback of any state already")
    return StateNotUniqueError(
        f"{route.cli} on {route.host} asks for a sign-in with the state of another one that waits on port {route.port}"
    )
