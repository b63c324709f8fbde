"""A `kirotunnel login` that runs while the test does something: its events as they come, the pages that it opens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from e2e.chromium import Openings
from e2e.conftest import Box
from e2e.harness import Run, start

PATIENCE_S: Final = 60.0
"""Seconds after which an event will not come any more."""


class RunningLogin:
    """Both of its streams are read all the time, so that it never waits for us."""

    def __init__(self, process: subprocess.Popen[str], openings: Openings) -> None:
        self._process = process
        self._openings = openings
        self._events: list[dict[str, Any]] = []
        self._output: list[str] = []
        self._errors: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._readers = [
            threading.Thread(target=self._read_events, args=(process.stdout,)),
            threading.Thread(target=self._read_errors, args=(process.stderr,)),
        ]
        for reader in self._readers:
            reader.start()

    def memory_kb(self) -> int:
        """What it has in memory now, in KiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0])

    def next_page(self) -> str:
        """The address that it opens next."""
        return self._openings.next()

    def wait_for(self, name: str, count: int = 1) -> dict[str, Any]:
        """The event of that name, by default the first."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._named(name)) >= count, PATIENCE_S)
            found = self._named(name)
        assert len(found) >= count, f"{name} came {len(found)} times\n{''.join(self._output + self._errors)}"
        return found[count - 1]

    def end(self, timeout: float = PATIENCE_S) -> Run:
        """Wait for its end."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"kirotunnel hangs\n{''.join(self._output + self._errors)}") from None
        for reader in self._readers:
            reader.join(timeout)
        return Run(self._process.returncode, "".join(self._output), "".join(self._errors), list(self._events))

    def kill(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for reader in self._readers:
            reader.join(PATIENCE_S)  # a stream that is closed under its reader is an error of that thread
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self._events if event["event"] == name]

    def _read_events(self, stdout: IO[str]) -> None:
        for line in stdout:
            with self._changed:
                self._output.append(line)
                self._events.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read_errors(self, stderr: IO[str]) -> None:
        self._errors.extend(stderr)


@contextmanager
def running_login(box: Box, directory: Path, *more: str) -> Iterator[RunningLogin]:
    """Start a login whose pages come to us."""
    openings = Openings(directory / "opened")
    login = RunningLogin(start(*box.arguments(*openings.browser, *more)), openings)
    try:
        yield login
    finally:
        login.kill()
        openings.close()
