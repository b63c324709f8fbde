"""The connection of one login, which may be lost and made anew: one session and one control shell at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Final

from kirotunnel.errors import ConnectionLostError, HostKeyChangedError, KirotunnelError
from kirotunnel.ssh.container import ContainerSession
from kirotunnel.ssh.control import ControlShell
from kirotunnel.ssh.remote_cli import HeldCLI
from kirotunnel.ssh.session import Session
from kirotunnel.wire.records import Record

CLOSE_S: Final = 3.0
"""Seconds for a connection to close."""
BEAT_S: Final = 5.0
"""Seconds between questions to a shell in a container whether it is there."""
SILENCE_S: Final = 10.0
"""Seconds without an answer after which it is not."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A connection as it is now."""

    number: int
    session: Session
    shell: ControlShell


class Link:
    """Whoever needs the target asks for what stands `now`, or waits for what is `up`, and says when it was broken."""

    def __init__(
        self,
        open_session: Callable[[bool], AbstractAsyncContextManager[Session]],
        cli: HeldCLI,
        on_lost: Callable[[str], None],
    ) -> None:
        """`open_session` gets whether it is not the first time; `on_lost` is called once for each that was up."""
        self._open_session = open_session
        self._cli = cli
        self._on_lost = on_lost
        self._stack = AsyncExitStack()
        self._now: Standing | None = None
        self._up = asyncio.Event()
        self._number = 0
        self._watching: asyncio.Task[None] | None = None
        self._host_key: str | None = None

    @property
    def is_up(self) -> bool:
        """Whether the target can be asked."""
        return self._up.is_set()

    @property
    def now(self) -> Standing:
        """The connection, as it stands or was lost. Raises ConnectionLostError where there is none."""
        if self._now is None:
            raise ConnectionLostError("there is no connection")
        return self._now

    async def when_up(self) -> Standing:
        """The connection, as soon as it stands."""
        await self._up.wait()
        return self.now

    async def connect(self, take_up: Callable[[ControlShell], Awaitable[None]]) -> None:
        """Connect, and do the first thing by a new shell; only then it is up. Raises KirotunnelError.

        Only the machine of the first connection will do: known_hosts says nothing of it where it is not kept
        (`StrictHostKeyChecking no`), and whoever answers in its place would get the callback.
        """
        await self.close()
        self._number += 1
        try:
            session = await self._stack.enter_async_context(self._open_session(self._number > 1))
            self._must_be_the_same(session)
            shell = ControlShell(session, self._hears(self._number), token=self._cli.token, number=self._number)
            self._now = standing = Standing(self._number, session, shell)
            await take_up(shell)
        except BaseException:
            await self.close()
            raise
        self._up.set()
        session.lost.add_done_callback(lambda lost: self._broken(standing.number, lost.result()))
        shell.over.add_done_callback(lambda over: self._broken(standing.number, over.result()))
        if isinstance(session, ContainerSession):
            self._watching = asyncio.ensure_future(self._watch(standing))

    async def _watch(self, standing: Standing) -> None:
        """An engine's client can outlive what runs by it: `podman exec` does where the container is restarted."""
        there = True
        while there:
            await asyncio.sleep(BEAT_S)
            there = await standing.shell.answers(SILENCE_S)
        self._broken(standing.number, f"our shell on {standing.session.where} does not answer")

    def _must_be_the_same(self, session: Session) -> None:
        if self._host_key is None:
            self._host_key = session.host_key
        if session.host_key != self._host_key:
            raise HostKeyChangedError(
                f"{session.where} has another host key than before the connection was lost: {session.host_key}",
                "if that is another network, leave it; if it is another machine, run the command again",
            )

    def broken(self, standing: Standing, error: KirotunnelError) -> bool:
        """Whether an error is the loss of that connection, of which is told once."""
        # A channel that ends without a status is what a lost connection looks like first.
        if not isinstance(error, ConnectionLostError) and not standing.session.lost.done():
            return False
        self._broken(standing.number, error.message)
        return True

    def _broken(self, number: int, reason: str) -> None:
        if self._now is not None and self._now.number == number and self.is_up:
            self._up.clear()
            self._cli.use(None)
            self._now.shell.let_go()
            self._on_lost(reason)

    def _hears(self, number: int) -> Callable[[Record], None]:
        def hear(record: Record) -> None:
            if number == self._number:
                self._cli.hear(record)

        return hear

    async def close(self) -> None:
        """Let go of the connection; what runs there by then is not ended. Never raises."""
        self._up.clear()
        self._cli.use(None)
        if self._watching is not None:
            self._watching.cancel()
        stack, self._stack, now, self._now = self._stack, AsyncExitStack(), self._now, None
        if now is not None:
            now.shell.let_go()
        with contextlib.suppress(TimeoutError, OSError, KirotunnelError):
            async with asyncio.timeout(CLOSE_S):
                await stack.aclose()
