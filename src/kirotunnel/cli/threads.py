"""The threads in which blocking calls run: what hangs in one of them does not keep the command from ending."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE: Final = 32
"""Calls that run side by side; more wait their turn."""
GRACE_S: Final = 2.0
"""Seconds in the end for what still runs: a file is written in less."""
_TERMINAL: Final = Path("/dev/tty")


class DaemonThreads(ThreadPoolExecutor):
    """Runs each call in a thread of its own, which is left behind where it outlasts the end.

    asyncio's own pool is waited for as long as it takes, at the loop's end and once more at the interpreter's. The name
    service, AWS and a file on a dead share take most of a minute, and neither Ctrl-C nor a deadline cuts that short.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=1)  # it starts none; asyncio takes only what is derived from this class
        self._room = threading.BoundedSemaphore(AT_ONCE)
        self._running: set[threading.Thread] = set()
        self._over = False
        self._terminal = _Modes()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run it; never waits."""
        future: Future[T] = Future()

        def work() -> None:
            with self._room:
                self._run(future, lambda: function(*args, **kwargs))
            self._running.discard(threading.current_thread())

        thread = threading.Thread(target=work, daemon=True)
        self._running.add(thread)
        thread.start()
        return future

    def _run(self, future: Future[Any], call: Callable[[], Any]) -> None:
        if self._over or not future.set_running_or_notify_cancel():
            return
        try:
            result = call()
        except BaseException as exc:
            if not self._over:
                future.set_exception(exc)
        else:
            if not self._over:  # the loop that waited is closed by then
                future.set_result(result)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait a moment for what runs, and no longer."""
        end = time.monotonic() + (GRACE_S if wait else 0)
        for thread in tuple(self._running):
            thread.join(max(0.0, end - time.monotonic()))
        self._over = True
        if any(thread.is_alive() for thread in tuple(self._running)):
            self._terminal.restore()


class _Modes:
    """How the terminal is set: a thread that is left behind may have switched its echo off for a question."""

    def __init__(self) -> None:
        self._modes: list[Any] = []
        with contextlib.suppress(ImportError, OSError):
            import termios

            with contextlib.suppress(termios.error), _TERMINAL.open("rb", buffering=0) as terminal:
                self._modes = termios.tcgetattr(terminal)

    def restore(self) -> None:
        """Set it as it was in the beginning, where there is one and it is ours to set."""
        if not self._modes:
            return
        import termios

        with contextlib.suppress(OSError, termios.error), _TERMINAL.open("rb", buffering=0) as terminal:
            if os.tcgetpgrp(terminal.fileno()) == os.getpgrp():
                termios.tcsetattr(terminal, termios.TCSANOW, self._modes)
