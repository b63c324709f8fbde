"""The person of a login under test: at the browser, which a robot clicks through, and at the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Callable
from typing import Any, Final, Literal

from kirotunnel.redaction import Secret
from kirotunnel.sandbox.robot import RobotReport, sign_in
from lab.users import PASSWORD

STRAYS: Final = 300
ENTER_EVERY_S: Final = 0.5
"""Seconds after which somebody presses Enter again where nothing happened."""


class Person:
    """Reads, decides, and goes on when told that the fault has hit."""

    def __init__(self, method: str, hesitates: int | None, hear: Callable[[str], None]) -> None:
        self._method: Any = method
        self._hesitates = hesitates
        self._hear = hear
        self.told = asyncio.Event()
        """Set once the fault has hit."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._decision: Literal["allow", "deny"] = "allow"
        self._robots = 1
        self._browser_hangs = False
        self.pages: list[str] = []
        """The addresses that were opened."""
        self.reports: list[RobotReport] = []
        self.port = 0
        """Where the browser will come back to."""

    def go_on(self) -> None:
        """The fault has hit."""
        self.told.set()

    async def leave(self) -> None:
        """Stop whatever is still being done."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # --- at the browser (local.browser.Browser) -----------------------------------------------------------------------

    async def open(self, url: str) -> str:
        """Have the page opened."""
        self.page_opened(url)
        if self._browser_hangs:
            await asyncio.Event().wait()
        return "robot"

    def page_opened(self, url: str) -> None:
        """Begin to read the page."""
        self.pages.append(url)
        for _ in range(self._robots):
            self._spawn(self._walk(url, len(self.pages)))

    async def _walk(self, url: str, leg: int) -> None:
        if leg == self._hesitates:
            await self.told.wait()
        self.reports.append(
            await sign_in(
                url,
                method=self._method,
                decision=self._decision,
                start_url="https://acme.awsapps.com/start",
                region="us-east-1",
            )
        )

    def never_sees_the_browser(self) -> None:
        """From now on the browser's command hangs, and the address is opened by hand."""
        self._browser_hangs = True

    def calls_twice(self) -> None:
        """From now on two browsers go through each page at once."""
        self._robots = 2
        for url in self.pages:
            self._spawn(self._walk(url, len(self.pages)))

    def will_deny(self) -> None:
        """From now on the answer is no."""
        self._decision = "deny"

    # --- at the terminal (ssh.prompts.Prompts) -----------------------------------------------------------------------

    async def secret(self, question: str) -> Secret[str]:
        """The password, once the fault has hit."""
        self._hear("password asked")
        await self.told.wait()
        return Secret(PASSWORD)

    async def answer(self, question: str) -> str | None:
        """Nothing else is asked."""
        return None

    async def confirm(self, question: str) -> bool | None:
        """Nothing else is asked."""
        return None

    def sit_down(self, master: int) -> None:
        """Press Enter at the menu, once the fault has hit, until it helps."""
        self._spawn(self._press_enter(master))

    async def _press_enter(self, master: int) -> None:
        await self.told.wait()
        while True:
            await asyncio.sleep(ENTER_EVERY_S)
            os.write(master, b"\n")

    # --- strangers ---------------------------------------------------------------------------------------------------

    async def storms(self) -> None:
        """Connections that are no callback: silent ones, requests with another state, noise."""
        await asyncio.gather(*(self._stray(number) for number in range(STRAYS)))

    async def _stray(self, number: int) -> None:
        host = ("127.0.0.1", "::1")[number % 2]
        request = f"GET /oauth/callback?code=c&state=s{number} HTTP/1.1\r\nHost: localhost:{self.port}\r\n\r\n"
        sent = (b"", request.encode(), random.Random(number).randbytes(200))[number % 3]
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host, self.port)
            try:
                writer.write(sent)
                await reader.read()
            finally:
                writer.close()
                await writer.wait_closed()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
