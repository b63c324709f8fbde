"""A login under test by the command, on a terminal of its own: for what only a process can suffer."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import shlex
import signal
import sys
import termios
from typing import Final

from faults.faults import ASLEEP_S
from faults.in_process import MENU
from faults.remains import terminal_left
from faults.trial import Trial
from lab.users import PASSWORD

PASSWORD_ASKED: Final = "Password for"


class CommandTrial(Trial):
    """`kirotunnel login` as a person runs it: a terminal, events on a pipe, pages to a browser's command."""

    process: asyncio.subprocess.Process
    _master: int
    _slave: int

    async def login(self) -> None:
        """Run `kirotunnel login` to its end."""
        self._master, self._slave = pty.openpty()
        os.set_blocking(self._master, False)
        self._drawn = ""
        pages = self.scene.directory / "pages"
        pages.unlink(missing_ok=True)
        os.mkfifo(pages)
        opened = os.open(pages, os.O_RDWR | os.O_NONBLOCK)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._master, self._read_terminal)
        loop.add_reader(opened, lambda: self._read_pages(opened))
        before = termios.tcgetattr(self._slave)
        try:
            self.process = await self._start(str(pages))
            await self._follow()
            await self._note_end()
            if self._master >= 0 and self.fault.number != signal.SIGKILL:
                while self._read_terminal():
                    pass
                self.outcome.wrong += terminal_left(before, termios.tcgetattr(self._slave), self._drawn)
        finally:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.person.leave()
            loop.remove_reader(opened)
            os.close(opened)
            self._close_master()
            os.close(self._slave)

    async def _start(self, pages: str) -> asyncio.subprocess.Process:
        browser = shlex.join(["sh", "-c", f'echo "$1" >{shlex.quote(pages)}', "sh"])
        arguments = [
            "login", "dev-box", "-F", str(self.scene.ssh_config(self.state)), "--json", "--browser", browser,
            "--method", self.state.method, "--flow", self.state.flow, "--timeout", str(self.timeout_s),
            *self.scene.services.trust,
        ]  # fmt: skip
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "kirotunnel",
            *arguments,
            stdin=self._slave,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    async def _follow(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said += line.decode()
            event = json.loads(line)
            name, leg = event["event"], event.get("leg")
            if name == "browser_requested":
                self.person.port = event["redirect_port"]
            if name == "failed":
                self.outcome.words = event["message"]
                self.outcome.end = event["code"]
            self.hear(name if leg is None else f"{name} {leg}")

    async def _note_end(self) -> None:
        code = await self.process.wait()
        self.ended()
        self.outcome.exit_code = code
        if code == 0:
            self.outcome.end = "saved"
        elif not self.outcome.end.startswith("KT"):
            self.outcome.end = str(code)

    # --- the terminal, and the browser's command ----------------------------------------------------------------------

    def _read_terminal(self) -> bool:
        """Take in what was drawn; False where that is nothing."""
        try:
            text = os.read(self._master, 65536).decode(errors="replace")
        except OSError:
            return False
        before, self._drawn = self._drawn, self._drawn + text
        self.told(self._drawn)
        if PASSWORD_ASKED in self._drawn and PASSWORD_ASKED not in before:  # it may come in pieces
            self._type_after_the_fault(PASSWORD + "\n")
            self.hear("password asked")
        if MENU in self._drawn and MENU not in before:
            self.person.sit_down(self._master)
            self.hear("menu drawn")
        return self._master >= 0

    def _type_after_the_fault(self, text: str) -> None:
        async def type_it() -> None:
            await self.person.told.wait()
            with contextlib.suppress(OSError):  # a terminal that was closed
                os.write(self._master, text.encode())

        self._spawn(type_it())

    def _read_pages(self, opened: int) -> None:
        for url in os.read(opened, 65536).decode().split():
            self.person.page_opened(url)

    def _close_master(self) -> None:
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            self._master = -1

    # --- the fault ----------------------------------------------------------------------------------------------------

    def strike(self) -> None:
        """Send the signal, or close the terminal."""
        number = self.fault.number
        if number == signal.SIGHUP:
            self.struck_at = asyncio.get_running_loop().time()
            self._close_master()
            self.let_go_on()
        elif number == signal.SIGSTOP:
            self.struck_at = asyncio.get_running_loop().time()
            self.process.send_signal(signal.SIGSTOP)
            self.scene.way.silence("up", "down")
            self._spawn(self._wake_up())
        else:
            assert number is not None
            self.process.send_signal(number)
            super().strike()

    async def _wake_up(self) -> None:
        """The far side goes on while we sleep, the person does not; and nobody knows our connection when we wake."""
        self.let_the_remote_go_on()
        await asyncio.sleep(ASLEEP_S)
        self.scene.way.reset()
        self.process.send_signal(signal.SIGCONT)
        self.person.go_on()
