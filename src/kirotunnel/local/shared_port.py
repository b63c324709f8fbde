"""One port for all processes of one user: the first accepts for all, and when it ends the next goes on.

Whoever has the lock (see `meeting_place`) binds the port, accepts the browsers, and reads their requests. The others
are its guests: each has told it hashes of its states, and gets the very connection of a browser whose request brings
one of them, with what was read from it, and judges and answers it by itself. Guests have the listening sockets as well,
so that the port stays when the first ends, even by `kill -9`: the kernel keeps who comes until one of them has the
lock. If the first only hangs (Ctrl-Z), its guests accept until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from kirotunnel.errors import LocalPortError
from kirotunnel.events import RefusalReason
from kirotunnel.local.channel import Channel, ChannelEndedError
from kirotunnel.local.http1 import Request
from kirotunnel.local.loopback import RefusedError, explained, listen_on_both, listen_on_loopback
from kirotunnel.local.loopback_server import Answer, LoopbackServer, Visitor
from kirotunnel.local.meeting_place import MeetingPlace, NoMeetingPlaceError, PortLock
from kirotunnel.local.ports import describe, holders_of
from kirotunnel.peers import peer, same_user
from kirotunnel.wire.sharing import (
    ANY,
    MAX_KEYS,
    STATE,
    VERSION,
    WIDE,
    Claim,
    Claimed,
    Frame,
    Hello,
    Ping,
    Pong,
    Visit,
    Welcome,
)

HELLO_S: Final = 5.0
"""Seconds that the other side has for its first word: it may be busy starting its own login."""
JOIN_S: Final = 10.0
"""Seconds in which it must be clear who has the port."""
TRANSITION_S: Final = 2.0
"""Seconds in which one of those who still have a port takes it over."""
PING_S: Final = 1.0
HUNG_S: Final = 3.0
"""Seconds that the one who has a port may leave its guests without an answer; then they accept by themselves."""
RETURN_S: Final = 3.0
"""Seconds after a port has changed hands in which the others who have it may not have come to the new one yet."""
MAX_STRANGERS: Final = 32
"""Connections without a hello yet; with one more, the oldest is closed."""
MAX_GUESTS: Final = 256
_ACCEPT_AT_ONCE: Final = 16


class SharedPort:
    """The port as this process has it: by itself, for others as well, or with the one who has it."""

    def __init__(
        self,
        number: int,
        place: MeetingPlace | None,
        *,
        handle: Callable[[Request, Visitor], Awaitable[Answer | None]],
        stray: Callable[[RefusalReason], Answer],
        keys: Callable[[], Iterable[str]],
        gone: Callable[[Iterable[str]], None],
        lost: Callable[[Iterable[str]], None],
    ) -> None:
        """`keys` are this process's own at the moment; `gone` is told those that a guest has given up, and `lost` those
        of ours that another has taken over while nobody could know that they are ours."""
        self.number = number
        self.server: LoopbackServer
        self._place = place
        self._handle = handle
        self._stray = stray
        self._keys = keys
        self._gone = gone
        self._lost = lost
        self._closed = False
        self._settled = asyncio.Event()
        # As the one who has it.
        self._lock: PortLock | None = None
        self._door: socket.socket | None = None
        self._strangers: dict[Channel, asyncio.TimerHandle] = {}
        self._guests: dict[Channel, set[str]] = {}
        self._all_back_at = 0.0
        """From then on whoever else has the port has told us so."""
        self._unanswered: list[tuple[Channel, Claim]] = []
        """Claims that wait for that moment."""
        self._wanted: set[str] = set()
        """Keys of a leg of ours that waits for it."""
        self._arrival = asyncio.Event()
        self._parting: asyncio.Task[None] | None = None
        # As a guest.
        self._link: Channel | None = None
        self._owner: int | None = None
        """The process that had the port when we last asked."""
        self._welcome: asyncio.Future[Welcome] | None = None
        self._offered: list[socket.socket] = []
        self._claims: dict[int, asyncio.Future[Claimed]] = {}
        self._numbers = itertools.count(1)
        self._asked_at: float | None = None
        """The moment of the first ping to which no sign of life has come yet."""
        self._by_ourselves = False
        """We accept although another has the port, since it hangs."""
        self._pinging: asyncio.TimerHandle | None = None
        self._starting: asyncio.Task[None] | None = None
        self._carrying_on: asyncio.Task[None] | None = None

    # --- coming ------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Have the port, alone or together. Raises LocalPortError; then nothing is bound."""
        try:
            if self._place is None:
                await self._serve(await listen_on_loopback(self.number))
            else:
                await self._join(self._place)
        except NoMeetingPlaceError:
            if self._place is not None:
                self._place.close()
            self._place = None
            await self._serve(await listen_on_loopback(self.number))
        except BaseException:
            self.stop()
            raise
        self._settled.set()

    async def _join(self, place: MeetingPlace) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < JOIN_S:
            lock = place.lock(self.number)
            if lock is not None:
                try:
                    sockets = listen_on_both(self.number)
                except RefusedError as exc:
                    # Its guests may still have it, and be about to take it over, for which they need the lock; else it
                    # is a stranger's.
                    found = lock.found and loop.time() - began < TRANSITION_S
                    lock.release(for_others=found)
                    if not found:
                        raise await explained(exc) from exc.cause
                except BaseException:
                    lock.release(for_others=False)
                    raise
                else:
                    self._have(lock)
                    return await self._serve(sockets)
            elif await self._register(place):
                return None
            await _a_moment()
        raise await self._no_answer()

    async def _serve(self, sockets: list[socket.socket]) -> None:
        self.server = LoopbackServer(sockets, self._handle, self._stray)
        await self.server.start()

    async def _no_answer(self) -> LocalPortError:
        holders = (await asyncio.to_thread(holders_of, [self.number]))[self.number]
        # Its guests have the same sockets, and the system may name any of them.
        holders = [holder for holder in holders if holder.pid == self._owner] or holders
        pids = " ".join(dict.fromkeys(str(holder.pid) for holder in holders if holder.pid))
        end = f"end it (`kill {pids}`)" if pids else "end it"
        return LocalPortError(
            f"port {self.number} is in use by {describe(holders)}, which shares it but does not answer",
            f"it may have been stopped by Ctrl-Z: continue it (`fg`), or {end}, and run the command again",
        )

    # --- going -------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Give the port up at once. Guests go on with it; without any it is free."""
        if self._closed:
            return
        self._closed = True
        if self._guests:
            self.server.let_go()
            self._parting = asyncio.ensure_future(self._part())
        elif hasattr(self, "server"):
            self.server.stop()
        if self._carrying_on is not None:
            self._carrying_on.cancel()
        if self._pinging is not None:
            self._pinging.cancel()
        self._close_door()
        if self._lock is not None:
            self._lock.release(for_others=bool(self._guests))
            if self._place is not None and all(guest.hung_up for guest in self._guests):
                self._place.sweep()  # they have looked before we let go, and found nothing to do
        for channel in [*self._strangers, *([self._link] if self._link else [])]:
            channel.close()
        if self._place is not None:
            if self._lock is None:
                self._place.sweep()  # whoever had the port may have been killed, and nobody else have noticed yet
            self._place.close()

    async def _part(self) -> None:
        """Give guests their browsers that we have accepted, then let them go on."""
        try:
            await self.server.read_on()
        finally:
            self.server.stop()
            for guest in list(self._guests):
                guest.close()

    async def close(self) -> None:
        """Stop, let answers under way finish for a moment, then close every connection."""
        self.stop()
        if going_on := [task for task in (self._parting, self._carrying_on) if task is not None]:
            await asyncio.wait(going_on)
        await self.server.close()

    # --- whose is what -----------------------------------------------------------------------------------------------

    @property
    def has_others(self) -> bool:
        """Whether other processes have this port, too."""
        return bool(self._guests) or self._link is not None

    async def claim(self, key: str, with_it: Iterable[str] = ()) -> bool:
        """Have requests with this key, which is among `keys` already; False where another process has it.

        `with_it` are the other keys of its leg, of which the same holds.

        Raises LocalPortError where the one who has the port does not answer.
        """
        keys = tuple(dict.fromkeys((key, *with_it)))
        try:
            async with asyncio.timeout(JOIN_S):
                while True:
                    if not self._by_ourselves:
                        await self._settled.wait()
                    if self._by_ourselves:
                        self.tell(add=keys)  # which it reads when it is back
                        return True
                    if self._link is None:
                        if self._may_be_anothers(keys):
                            await self._until_not_wanted(keys)
                        return not any(self._taken(each) for each in keys if each != WIDE)
                    with contextlib.suppress(ChannelEndedError):  # the next one knows our keys, and says the same
                        return not (await self._ask(keys)).refused
        except TimeoutError:
            raise await self._no_answer() from None

    async def _ask(self, keys: tuple[str, ...]) -> Claimed:
        if self._link is None:
            raise ChannelEndedError
        number = next(self._numbers)
        self._claims[number] = asyncio.get_running_loop().create_future()
        try:
            self._link.send(Claim(number, add=keys))
            return await self._claims[number]
        finally:
            del self._claims[number]

    def tell(self, *, add: Iterable[str] = (), drop: Iterable[str] = ()) -> None:
        """Have requests with these keys, or no longer; nobody else can have wanted them."""
        if self._link is not None:
            with contextlib.suppress(ChannelEndedError):
                self._link.send(Claim(0, add=tuple(add), drop=tuple(drop)))

    def pass_on(self, visitor: Visitor, keys: Iterable[str]) -> bool:
        """Give the browser's connection to the process whose request this is, if there is one."""
        for key in keys:
            whose = next((guest for guest, theirs in self._guests.items() if key in theirs), None)
            if whose is None and key.startswith(STATE):
                # A guest accepts while the one who has the port hangs, who gets this when it is back. It may be back by
                # now: a browser can take seconds from its connection to its request.
                whose = self._link
            # What a guest brought, whose state nobody has, is for that guest as well, if it takes any.
            if whose is None or (whose is visitor.brought_by and key not in {ANY, WIDE}):
                continue
            connection = visitor.connection
            with contextlib.suppress(ChannelEndedError, OSError):
                whose.send(Visit(bytes(connection.received)), [connection.descriptor])
                return True
        return False

    async def until_known(self, keys: Iterable[str]) -> None:
        """Where the port has just become ours: wait until another says that a key is its own, or all must have come.

        Else a callback that comes in this moment would be refused, or be given to a leg that takes any.
        """
        keys = list(keys)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._all_back_at):
                while not any(self._taken(key) for key in keys):
                    await self._arrival.wait()

    async def _until_not_wanted(self, keys: tuple[str, ...]) -> None:
        """As `until_known`, for keys that a leg of ours wants: until then they are not ours."""
        self._wanted.update(keys)
        try:
            await self.until_known(keys)
        finally:
            self._wanted.difference_update(keys)

    def _may_be_anothers(self, keys: Iterable[str]) -> bool:
        """Whether somebody who had the port before us, and has not come to us yet, may have one of these keys.

        A state is of one leg alone; what several could want belongs to who had it first.
        """
        if asyncio.get_running_loop().time() >= self._all_back_at:
            return False
        return any(key != WIDE and not key.startswith(STATE) for key in keys)

    def _taken(self, key: str, by_other_than: Channel | None = None) -> bool:
        return any(key in theirs for guest, theirs in self._guests.items() if guest is not by_other_than)

    # --- as the one who has the port ---------------------------------------------------------------------------------

    def _have(self, lock: PortLock) -> None:
        """Be the one to whom others come."""
        assert self._place is not None  # noqa: S101 - a lock is of a place
        self._lock = lock
        self._place.sweep()
        # Without a door nobody shares the port with us, and we have it all the same.
        with contextlib.suppress(OSError, NoMeetingPlaceError):
            self._door = self._place.listen(lock)
            asyncio.get_running_loop().add_reader(self._door.fileno(), self._knocked)

    def _close_door(self) -> None:
        if self._door is not None:
            asyncio.get_running_loop().remove_reader(self._door.fileno())
            self._door.close()
            self._door = None

    def _knocked(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            try:
                sock, _address = self._door.accept() if self._door is not None else (None, None)
            except OSError:
                return
            if sock is None:
                return
            if not same_user(sock):
                sock.close()
                continue
            if len(self._strangers) >= MAX_STRANGERS:
                next(iter(self._strangers)).close()
            channel = Channel(sock, self._from_guest, self._guest_gone)
            timer = asyncio.get_running_loop().call_later(HELLO_S, channel.close)
            self._strangers[channel] = timer

    def _from_guest(self, channel: Channel, frame: Frame, sockets: list[socket.socket]) -> None:
        theirs = self._guests.get(channel)
        with contextlib.suppress(ChannelEndedError):
            match frame:
                case Ping():
                    channel.send(Pong())
                case Hello(version, keys) if theirs is None:
                    self._greet(channel, version, keys)
                case Claim(number, add, drop) if theirs is not None:
                    dropped = theirs.intersection(drop)
                    theirs -= dropped
                    self._gone(dropped)
                    self._unanswered = [
                        (whose, claim)
                        for whose, claim in self._unanswered
                        if whose is not channel or not set(drop).intersection(claim.add)
                    ]
                    if number and self._may_be_anothers(add):
                        self._unanswered.append((channel, frame))
                        asyncio.get_running_loop().call_at(self._all_back_at, self._answer_claims)
                    else:
                        self._answer_claim(channel, frame)
                case Visit(request) if theirs is not None:
                    self.server.adopt(sockets.pop(), request, channel)
                case _:
                    channel.close()
        _close_all(sockets)

    def _answer_claims(self) -> None:
        waiting, self._unanswered = self._unanswered, []
        for channel, claim in waiting:
            with contextlib.suppress(ChannelEndedError):
                self._answer_claim(channel, claim)

    def _answer_claim(self, channel: Channel, claim: Claim) -> None:
        if (theirs := self._guests.get(channel)) is not None:
            refused = self._give(channel, theirs, claim.add)
            if claim.number:
                channel.send(Claimed(claim.number, refused))

    def _greet(self, channel: Channel, version: int, keys: tuple[str, ...]) -> None:
        if version != VERSION or len(self._guests) >= MAX_GUESTS:
            channel.send(Welcome(VERSION, ()))  # without sockets
            channel.close()
            return
        self._strangers.pop(channel).cancel()
        self._guests[channel] = theirs = set[str]()
        refused = self._give(channel, theirs, keys)
        channel.send(Welcome(VERSION, refused), [sock.fileno() for sock in self.server.sockets])

    def _give(self, channel: Channel, theirs: set[str], keys: tuple[str, ...]) -> tuple[str, ...]:
        """Let a guest have these keys; gives those that it cannot have."""
        ours = set(self._keys()) - self._wanted
        refused = tuple(key for key in keys if key in ours or self._taken(key, by_other_than=channel))
        refused = tuple(key for key in refused if key != WIDE)
        if len(theirs) + len(keys) > MAX_KEYS:
            refused = keys
        theirs.update(set(keys) - set(refused))
        self._arrival.set()
        self._arrival = asyncio.Event()
        return refused

    def _guest_gone(self, channel: Channel) -> None:
        if (timer := self._strangers.pop(channel, None)) is not None:
            timer.cancel()
        self._gone(self._guests.pop(channel, set()))

    # --- as a guest --------------------------------------------------------------------------------------------------

    async def _register(self, place: MeetingPlace) -> bool:
        """Become the guest of the one who has the port; False where there is none just now.

        Raises LocalPortError where there is one who does not answer or does not share.
        """
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(HELLO_S):
                await loop.sock_connect(sock, place.address(self.number))
        except TimeoutError:
            sock.close()
            raise await self._no_answer() from None
        except OSError:
            sock.close()
            return False
        except BaseException:
            sock.close()
            raise
        if not same_user(sock):
            sock.close()
            return False
        self._owner = peer(sock)
        self._welcome = loop.create_future()
        link = Channel(sock, self._from_owner, self._owner_gone)
        try:
            link.send(Hello(VERSION, tuple(self._keys())))
            async with asyncio.timeout(HELLO_S):
                welcome = await self._welcome
            self._check(welcome)
            if not hasattr(self, "server"):
                self.server = LoopbackServer(self._offered, self._handle, self._stray)
                self._offered = []
        except ChannelEndedError:
            return False
        except TimeoutError:
            link.close()
            raise await self._no_answer() from None
        except BaseException:
            link.close()
            raise
        finally:
            _close_all(self._offered)
            self._offered = []
        self._link = link
        self._asked_at = None
        self._ping()
        self._lost(welcome.refused)
        return True

    def _check(self, welcome: Welcome) -> None:
        if welcome.version != VERSION or not _listen_at(self.number, self._offered):
            raise LocalPortError(
                f"port {self.number} is in use by another version of kirotunnel, which does not share it with this one",
                "finish the sign-in there, or end it, and run the command again",
            )

    def _from_owner(self, channel: Channel, frame: Frame, sockets: list[socket.socket]) -> None:
        self._asked_at = None
        match frame:
            case Welcome() if self._welcome is not None and not self._welcome.done():
                self._offered, sockets = sockets, []
                self._welcome.set_result(frame)
            case Claimed(number):
                claim = self._claims.get(number)
                if claim is not None and not claim.done():
                    claim.set_result(frame)
            case Visit(request) if hasattr(self, "server"):
                self.server.adopt(sockets.pop(), request, channel)
            case Pong():
                pass
            case _:
                channel.close()
        _close_all(sockets)

    def _owner_gone(self, channel: Channel) -> None:
        if self._welcome is not None and not self._welcome.done():
            self._welcome.set_exception(ChannelEndedError())
        if channel is not self._link:
            return
        self._link = None
        for claim in self._claims.values():
            if not claim.done():
                claim.set_exception(ChannelEndedError())
        if not self._closed and self._place is not None:
            self._settled.clear()
            self._carrying_on = asyncio.ensure_future(self._carry_on(self._place))

    async def _carry_on(self, place: MeetingPlace) -> None:
        """The one who had the port is gone: have it, or be the guest of whoever has it now."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            with contextlib.suppress(LocalPortError, NoMeetingPlaceError):
                if (lock := place.lock(self.number)) is not None:
                    self._have(lock)
                    self._all_back_at = loop.time() + RETURN_S
                    await self.server.start()
                    self._by_ourselves = False
                    break
                if await self._register(place):
                    break
            if loop.time() - began > HUNG_S:
                self._by_ourselves = True
                await self.server.start()
            await _a_moment()
        self._settled.set()

    def _ping(self) -> None:
        if self._link is None:
            return
        loop = asyncio.get_running_loop()
        self._pinging = loop.call_later(PING_S, self._ping)
        # Not since its last sign of life: who was stopped itself has not asked for long.
        hangs = self._asked_at is not None and loop.time() - self._asked_at > HUNG_S
        if hangs and not self._by_ourselves:
            self._starting = asyncio.ensure_future(self.server.start())
        elif not hangs and self._by_ourselves:
            self.server.pause()
        self._by_ourselves = hangs
        if hangs:
            for number, claim in self._claims.items():
                if not claim.done():
                    claim.set_result(Claimed(number, ()))  # it is told when it is back
        if self._asked_at is None:
            self._asked_at = loop.time()
        with contextlib.suppress(ChannelEndedError):
            self._link.send(Ping())


async def _a_moment() -> None:
    # By chance, so that those who wait do not all come at once.
    await asyncio.sleep(0.03 * (0.5 + random.random()))  # noqa: S311 - no secret


def _listen_at(number: int, sockets: list[socket.socket]) -> bool:
    """Whether these are what they should be: listeners of that port, on loopback."""
    try:
        return bool(sockets) and all(
            sock.family in {socket.AF_INET, socket.AF_INET6}
            and sock.getsockname()[:2] in {("127.0.0.1", number), ("::1", number)}
            and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            for sock in sockets
        )
    except OSError:
        return False


def _close_all(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
