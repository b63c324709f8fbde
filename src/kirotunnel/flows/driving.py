"""What drives a state machine: its queue of events, its tasks and timers, and their end on any way out.

What a machine decides is done by the class that derives from this one (`remote_login`, `run`).
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Self, TypeVar

from kirotunnel import events as ev
from kirotunnel.errors import InternalError, KirotunnelError
from kirotunnel.flows.leg_steps import (
    Broken,
    CallbackArrived,
    CallbackDelivered,
    DeadlinePassed,
    LegEvent,
    StrayRefused,
    TimerFired,
)

E = TypeVar("E")
A = TypeVar("A")
R = TypeVar("R")


class Driver(ABC, Generic[E, A, R]):
    """One machine under way: events E in, actions A out, and R in the end.

    As a context manager it leaves no task, no timer and no raw keyboard behind.
    """

    def __init__(self, *, during: str) -> None:
        self._queue: asyncio.Queue[E | LegEvent] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._keys = contextlib.ExitStack()
        """What the terminal's keys are given to."""
        self._during = during
        """What goes on, for an error that nobody foresaw: `signing in on box`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Clean up to the end even if Ctrl-C comes meanwhile; each part of it is bounded."""
        cleaning = asyncio.ensure_future(self._end())
        try:
            await asyncio.shield(cleaning)
        except asyncio.CancelledError:
            await cleaning
            raise

    @abstractmethod
    async def _perform(self, action: A) -> R | None:
        """Do what the machine says; the result where that was the end."""

    @abstractmethod
    async def _watch(self, work: Awaitable[None]) -> None:
        """Do the work of a task. What is foreseen to go wrong in it, a KirotunnelError, is told to the machine."""

    @abstractmethod
    async def _clean_up(self) -> None:
        """Undo what there is besides tasks, timers and keys; these are ended by then."""

    async def _go_through(self, actions: Sequence[A], feed: Callable[[E | LegEvent], Sequence[A]]) -> R:
        """Do what the machine says, and tell it what happens, to the end."""
        while True:
            for action in actions:
                if (result := await self._perform(action)) is not None:
                    return result
            actions = feed(await self._queue.get())
            await asyncio.sleep(0)  # a queue that is never empty would keep everything else waiting

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Awaitable[None]) -> None:
        """Whatever goes wrong in a task reaches the machine, which ends properly."""
        try:
            await self._watch(work)
        except Exception as exc:  # the border to what we did not foresee
            error = InternalError(f"{type(exc).__name__} while {self._during}")
            error.__cause__ = exc
            self._queue.put_nowait(Broken(error))

    def _start_timer(self, name: str, seconds: float) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        loop = asyncio.get_running_loop()
        self._timers[name] = loop.call_later(seconds, self._queue.put_nowait, TimerFired(name))

    def _keep_deadline(self, deadline: float) -> None:
        """Tell the machine when its time is over: a time of the event loop."""
        loop = asyncio.get_running_loop()
        self._timers["deadline"] = loop.call_at(deadline, self._queue.put_nowait, DeadlinePassed())

    async def _end(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._keys.close()  # after the tasks: a question that was open has put the terminal back by now
        await self._clean_up()


class LegObserver:
    """Tells a machine what the relay sees of one leg."""

    def __init__(self, leg: int, tell: Callable[[LegEvent], None]) -> None:
        self._leg = leg
        self._tell = tell

    def stray(self, reason: ev.RefusalReason) -> None:
        """The relay answered a stray request."""
        self._tell(StrayRefused(self._leg, reason))

    def callback(self, outcome: ev.Outcome) -> None:
        """The callback is here."""
        self._tell(CallbackArrived(self._leg, outcome))

    def delivered(self, error: KirotunnelError | None) -> None:
        """It was delivered, or was not taken."""
        self._tell(CallbackDelivered(self._leg, error))
