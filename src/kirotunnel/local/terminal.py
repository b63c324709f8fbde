"""The person's terminal: its size, lines typed at a question, single keys while a remote prompt is open.

Reading goes through the event loop, so that Ctrl-C and the end of a login take effect while somebody is being asked;
whatever was changed is put back on every way out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from kirotunnel.local.streams import ready
from kirotunnel.redaction import Secret

SHOW_CURSOR = "\x1b[?25h"


class InputLines:
    """Standard input that is no terminal: lines that another program writes."""

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._buffer = bytearray()
        self._ended = False

    async def secret(self, question: str) -> Secret[str] | None:
        """The next line; None at the end."""
        while b"\n" not in self._buffer and not self._ended:
            await ready(self._fd, reading=True)
            data = os.read(self._fd, 4096)
            self._buffer += data
            self._ended = not data
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return Secret(line.decode("utf-8", "replace").rstrip("\r")) if line or not self._ended else None

    async def everything(self, limit: int) -> bytes:
        """All that comes until the end, or `limit` bytes of it."""
        while len(self._buffer) < limit and not self._ended:
            await ready(self._fd, reading=True)
            data = os.read(self._fd, 65536)
            self._buffer += data
            self._ended = not data
        return bytes(self._buffer[:limit])


class Terminal:
    """A terminal with a person at it. `detect` finds it."""

    def __init__(self, fd: int, out: TextIO) -> None:
        self._fd = fd
        self._out = out
        self._keys: Callable[[], None] | None = None
        self._turn = asyncio.Lock()
        self._usual: list[Any] | None = None
        """The mode that the person's shell had set, while the terminal is raw."""

    @classmethod
    def detect(cls) -> Terminal | None:
        """The terminal, where both our input and our stderr are one; None where nobody can be asked."""
        if os.name == "nt" or not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
            return None
        return cls(sys.stdin.fileno(), sys.stderr)

    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            size = os.get_terminal_size(self._fd)
        except OSError:
            return (80, 24)
        return (size.columns, size.lines)

    def show(self, text: str) -> None:
        """Write to the terminal as it is: the caller has made it harmless. One that was closed shows nothing."""
        with contextlib.suppress(OSError):
            self._out.write(text)
            self._out.flush()

    # --- questions (ssh.prompts.Prompts) -----------------------------------------------------------------------------

    async def secret(self, question: str) -> Secret[str] | None:
        """What the person types, unseen."""
        answer = await self._line(question, echo=False)
        return None if answer is None else Secret(answer)

    async def answer(self, question: str) -> str | None:
        """What the person types; None at the end of input."""
        return await self._line(question, echo=True)

    @property
    def asking(self) -> bool:
        """Whether a question of ours is open: then nothing of the remote's may be drawn over it."""
        return self._turn.locked()

    async def settled(self) -> None:
        """Wait until no question of ours is open."""
        if self._turn.locked():
            async with self._turn:
                return

    async def confirm(self, question: str) -> bool | None:
        """Yes or no; anything but a yes is a no."""
        answer = await self._line(f"{question} [y/N] ", echo=True)
        return None if answer is None else answer.strip().lower() in {"y", "yes"}

    async def _line(self, question: str, *, echo: bool) -> str | None:
        async with self._turn:
            # Unseen lines are read key by key: a terminal's own line ends at 4095 characters (macOS: 1024), and an
            # address that is pasted may be longer.
            with self._without_keys(), self.aside(), self._mode(line=echo, echo=echo):
                self.show(question)  # not before: who types at once would see a secret
                data = await self._read_line(edit=not echo)
            if not echo:
                self.show("\n")
        return None if not data else data.decode("utf-8", "replace").rstrip("\r\n")

    async def _read_line(self, *, edit: bool) -> bytes:
        loop = asyncio.get_running_loop()
        line: asyncio.Future[bytes] = loop.create_future()
        buffer = bytearray()

        def readable() -> None:
            try:
                data = os.read(self._fd, 4096)
            except OSError:
                data = b""
            ended = not data or (edit and data == b"\x04" and not buffer)
            if edit:
                _type_into(buffer, data)
            else:
                buffer.extend(data)
            if (ended or b"\n" in buffer) and not line.done():
                line.set_result(bytes(buffer))

        loop.add_reader(self._fd, readable)
        try:
            return await line
        finally:
            loop.remove_reader(self._fd)

    # --- keys --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def keys_to(self, sink: Callable[[bytes], None], resized: Callable[[int, int], None]) -> Iterator[None]:
        """Pass single keys on as they are typed, and the terminal's new size when it changes. Ctrl-C stays ours."""
        # Enter is a carriage return on the wire; our terminal has made a newline of it.
        with self._mode(line=False, echo=False), self._passing(lambda keys: sink(keys.replace(b"\n", b"\r")), resized):
            try:
                yield
            finally:
                self.show(SHOW_CURSOR)  # a spinner that was ended leaves it hidden

    @contextlib.contextmanager
    def raw(self, sink: Callable[[bytes], None], resized: Callable[[int, int], None]) -> Iterator[None]:
        """Pass every key on, Ctrl-C and all, as ssh does; what is written is not touched either."""
        with self._raw_mode(), self._passing(sink, resized):
            yield

    @contextlib.contextmanager
    def _passing(self, sink: Callable[[bytes], None], resized: Callable[[int, int], None]) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def readable() -> None:
            data = b""
            with contextlib.suppress(OSError):
                data = os.read(self._fd, 1024)
            if data:
                sink(data)
            else:
                loop.remove_reader(self._fd)  # the terminal is gone; SIGHUP says the same

        self._keys = readable
        loop.add_reader(self._fd, readable)
        with contextlib.suppress(ValueError, RuntimeError):  # not the main thread: the size stays what it was
            loop.add_signal_handler(signal.SIGWINCH, lambda: resized(*self.size()))
        try:
            yield
        finally:
            self._keys = None
            loop.remove_reader(self._fd)
            with contextlib.suppress(ValueError, RuntimeError):  # as above
                loop.remove_signal_handler(signal.SIGWINCH)

    @contextlib.contextmanager
    def _raw_mode(self) -> Iterator[None]:
        import termios
        import tty

        before: list[Any] = termios.tcgetattr(self._fd)
        self._usual = before
        tty.setraw(self._fd, termios.TCSADRAIN)
        try:
            yield
        finally:
            self._usual = None
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, before)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """The terminal as it was before `raw`, for words of ours in between."""
        if self._usual is None:
            yield
            return
        import termios

        now: list[Any] = termios.tcgetattr(self._fd)
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._usual)
        try:
            yield
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, now)

    @contextlib.contextmanager
    def _without_keys(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        keys = self._keys
        if keys is not None:
            loop.remove_reader(self._fd)
        try:
            yield
        finally:
            if keys is not None and self._keys is keys:
                loop.add_reader(self._fd, keys)

    @contextlib.contextmanager
    def _mode(self, *, line: bool, echo: bool) -> Iterator[None]:
        import termios

        before: list[Any] = termios.tcgetattr(self._fd)
        mode = termios.tcgetattr(self._fd)
        for flag, on in ((termios.ICANON, line), (termios.ECHO, echo)):
            mode[3] = mode[3] | flag if on else mode[3] & ~flag
        termios.tcsetattr(self._fd, termios.TCSADRAIN, mode)
        try:
            yield
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, before)


def _type_into(buffer: bytearray, keys: bytes) -> None:
    """What a terminal does with keys in its own line: backspace takes the last character, Ctrl-U the whole line."""
    for key in keys:
        if key in b"\x7f\x08":
            while buffer and buffer.pop() & 0xC0 == 0x80:
                pass  # the rest of a character of several bytes
        elif key == 0x15:
            buffer.clear()
        elif key != 0x04:
            buffer.append(key)
