"""One flow on many targets: so many at once, a few before the person at a time, and no failure stops the others.

A person looks at one page at a time, so sign-ins take turns: a target has its turn from the start of its CLI's login
until the browser came back, and the next one begins then. While a target waits for its turn its CLI is not started:
neither our clock nor the CLI's own (kiro-cli gives up after ten minutes) runs against somebody who was never asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from kirotunnel import events as ev
from kirotunnel.errors import InternalError, KirotunnelError, LoginTimedOutError

MAX_PARALLEL: Final = 32
"""Targets at once."""
TABS: Final = 3
"""Sign-ins before the person at once."""
LONGEST_WAIT_S: Final = 3600.0
"""Seconds that a target waits for its turn at most: by then nobody sits at the browser."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """How it ended for one target: one of both is set."""

    target: str
    done: T | None = None
    error: KirotunnelError | None = None


async def run_each(
    targets: Sequence[str],
    work: Callable[[str], Awaitable[T]],
    *,
    max_parallel: int = MAX_PARALLEL,
    ended: Callable[[Outcome[T]], None] = lambda _: None,
) -> list[Outcome[T]]:
    """Do the work for each target; the outcomes are in the order of the targets.

    `ended` is told of each as it ends. Cancelling this cancels all, and waits until each has cleaned up.
    """
    slots = asyncio.Semaphore(max_parallel)

    async def one(target: str) -> Outcome[T]:
        async with slots:
            try:
                outcome = Outcome(target, done=await work(target))
            except KirotunnelError as exc:
                outcome = Outcome(target, error=exc)
            except Exception as exc:  # what nobody foresaw on one target is no reason to leave the others
                error = InternalError(f"{type(exc).__name__} at {target}")
                error.__cause__ = exc
                outcome = Outcome(target, error=error)
        ended(outcome)
        return outcome

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(target)) for target in targets]
    return [task.result() for task in tasks]


class Turns:
    """The turns at the person, first come, first served."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: deque[asyncio.Future[None]] = deque()

    def turn(self, target: str, held_back: Callable[[], None] = lambda: None) -> Turn:
        """One target's place; `held_back` is called where it has to wait."""
        return Turn(self, target, held_back)

    @property
    def free(self) -> bool:
        """Whether nobody needs to wait."""
        return self._free > 0

    async def take(self) -> None:
        """Wait for a free place and take it."""
        if self._free > 0:
            self._free -= 1
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self.give_back()  # it came just as we left
            raise

    def take_anyway(self) -> None:
        """Take a place even where none is free: the next ones wait longer."""
        self._free -= 1

    def give_back(self) -> None:
        """Leave a place to the next."""
        self._free += 1
        while self._free > 0 and self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                self._free -= 1
                waiting.set_result(None)


class Turn:
    """One target's turn: waited for before its CLI starts, and over when the browser came back or the target ended."""

    longest_s = LONGEST_WAIT_S

    def __init__(self, turns: Turns, target: str, held_back: Callable[[], None]) -> None:
        self._turns = turns
        self._target = target
        self._held_back = held_back
        self._mine = False

    async def wait(self) -> float:
        """Wait for it; the seconds that took. Raises LoginTimedOutError."""
        if self._mine:
            return 0.0  # a login that begins anew has it still: a second place would be nobody's to give back
        loop = asyncio.get_running_loop()
        began = loop.time()
        if not self._turns.free:
            self._held_back()
        try:
            async with asyncio.timeout(LONGEST_WAIT_S):
                await self._turns.take()
        except TimeoutError as exc:
            raise LoginTimedOutError(
                f"{self._target} waited in vain for its turn at the browser",
                "run the command with --retry-failed; --tabs N shows more pages at a time",
            ) from exc
        self._mine = True
        return loop.time() - began

    def notice(self, event: ev.Event) -> None:
        """Give it up when the browser came back; have it again where the CLI wants another page of the same sign-in."""
        match event:
            case ev.CallbackReceived():
                self.end()
            case ev.BrowserRequested() if not self._mine:
                self._turns.take_anyway()
                self._mine = True

    def end(self) -> None:
        """Leave it to the next."""
        if self._mine:
            self._mine = False
            self._turns.give_back()
