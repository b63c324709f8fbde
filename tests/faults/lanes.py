"""Several lanes side by side: a trial mostly waits, so a few of them share a core."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self

LANES: Final = 6
"""For each process that runs tests."""
HANGS_S: Final = 200
"""Seconds for one combination; a login that hangs is given up long before."""
TESTS: Final = Path(__file__).parents[1]
Combination = tuple[str, str]
"""The keys of a fault and a state."""


class Lanes:
    """Processes that run combinations, started when they are first needed."""

    def __init__(self, directory: Path) -> None:
        self._all = [Lane(directory / f"lane-{number}") for number in range(LANES)]
        self._idle: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for lane in self._all:
            self._idle.put(lane)
        self._threads = ThreadPoolExecutor(LANES, "lane")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._threads.shutdown()
        for lane in self._all:
            lane.end()

    def run(self, combinations: Sequence[Combination]) -> list[dict[str, Any]]:
        """The outcomes, in the same order."""
        return list(self._threads.map(self._run_one, combinations))

    def _run_one(self, combination: Combination) -> dict[str, Any]:
        lane = self._idle.get()
        try:
            return lane.run(combination)
        finally:
            self._idle.put(lane)


class Lane:
    """One process of `faults.lane`, started when it is first needed, and anew where it has broken."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[str] | None = None

    def run(self, combination: Combination) -> dict[str, Any]:
        """The outcome of one."""
        fault, state = combination
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"fault": fault, "state": state}) + "\n")
        process.stdin.flush()
        answered, _, _ = select.select([process.stdout], [], [], HANGS_S)
        line = process.stdout.readline() if answered else ""
        if not line:
            self._break_off(process)
            return {"fault": fault, "state": state, "end": "lane broken", "wrong": [self._errors.read_text()[-3000:]]}
        outcome: dict[str, Any] = json.loads(line)
        return outcome

    def _break_off(self, process: subprocess.Popen[str]) -> None:
        """End a process that has broken, or hangs: then it says first what it waits for."""
        for number in (signal.SIGUSR1, signal.SIGKILL):
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
        self.end()

    def end(self) -> None:
        """Let it tidy up."""
        if self._process is None:
            return
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait(30)
        self._process = None

    @property
    def _errors(self) -> Path:
        return self._directory / "stderr"

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._directory.mkdir(exist_ok=True)
            with self._errors.open("w") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "faults.lane", str(self._directory)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env={**os.environ, "PYTHONPATH": str(TESTS)},
                )
        return self._process
