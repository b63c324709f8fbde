"""A remote that means harm gets nowhere: a clear error, in bounded time and memory, and nothing opened or left behind.

The bounds are of a whole `kirotunnel login` against a real sshd; `scripts/bench` prints what it really takes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from e2e.conftest import Box, MakeBox
from e2e.harness import Run, listening_here, wait_until
from e2e.test_bad_input import assert_failed
from lab.servers import Server

HOSTILE: Final = Path(__file__).with_name("hostile_cli.py")
MEMORY_KB: Final = 100 * 1024
"""The most that our process may ever have in memory, in KiB."""
PATIENCE_S: Final = 60.0


@dataclass(frozen=True)
class Watched:
    """One finished login, with the most memory that it ever had, in KiB."""

    run: Run
    peak_kb: int


def watched(*arguments: str, timeout: float = PATIENCE_S) -> Watched:
    """Run `kirotunnel` to its end, and ask the system what it took."""
    with subprocess.Popen(
        [sys.executable, "-m", "kirotunnel", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        texts: dict[str, bytes] = {}
        readers = [
            threading.Thread(target=lambda name=name, stream=stream: texts.update({name: stream.read()}))
            for name, stream in (("out", process.stdout), ("err", process.stderr))
        ]
        late = threading.Timer(timeout, process.kill)
        for thread in (*readers, late):
            thread.start()
        _, status, usage = os.wait4(process.pid, 0)
        late.cancel()
        for thread in readers:
            thread.join()
        process.returncode = os.waitstatus_to_exitcode(status)
    out, err = (texts[name].decode("utf-8", "replace") for name in ("out", "err"))
    assert process.returncode != -9, f"kirotunnel hangs\n{out[-2000:]}\n{err[-2000:]}"
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return Watched(Run(process.returncode, out, err, events), usage.ru_maxrss)


MakeHostile = Callable[..., "Hostile"]


@dataclass(frozen=True)
class Hostile:
    """A box whose CLI does what it is told here, and a browser of which we know whether it was opened."""

    box: Box
    opened: Path
    browser: tuple[str, ...]

    def login(self, *more: str, timeout: float = PATIENCE_S) -> Watched:
        return watched(*self.box.arguments(*self.browser, *more), timeout=timeout)

    @property
    def pages(self) -> list[str]:
        """What the browser was opened with."""
        return self.opened.read_text().splitlines() if self.opened.exists() else []

    def nothing_left(self) -> bool:
        return wait_until(lambda: self.box.remote.leftovers() == [] and not listening_here(3128))


@pytest.fixture
def hostile(make_box: MakeBox, sshd: Server, tmp_path: Path) -> MakeHostile:
    """Make a hostile CLI: `does` is the body of its login."""

    def make(does: str = "", *, server: Server = sshd, **others: str) -> Hostile:
        box = make_box(server)
        env = {"HOSTILE": does, **{f"HOSTILE_{name.upper()}": text for name, text in others.items()}}
        box.remote.install_cli(box.user, env={**box.services.cli_environment(), **env}, source=HOSTILE)
        opened, browser = tmp_path / "opened", tmp_path / "browser"
        # Comes back from whatever page with what a sign-in page would send; a denial, as nobody can have a code.
        browser.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >>{opened}\nexec {sys.executable} {BACK} "$1"\n')
        browser.chmod(0o755)
        return Hostile(box, opened, ("--browser", str(browser)))

    return make


BACK: Final = Path(__file__).with_name("straight_back.py")


# --- output without end ----------------------------------------------------------------------------------------------

FLOODS: Final = {
    "short lines": "flood('x\\n')",
    "one endless line": "flood('x')",
    "spinner": "flood('▰▰▱ Logging in...\\r')",
    "errors": "flood('error: no\\n')",
    "prompts": "flood('Press enter to continue\\n')",
    "an endless escape sequence": "say('\\x1b]52;c;'); flood('QUJD')",
    "noise": "flood(os.urandom(1 << 16))",
    "on stderr": "flood('x\\n', to=2)",
}


@pytest.mark.parametrize("how", FLOODS)
def test_a_cli_that_prints_a_gigabyte_is_given_up_in_little_memory(hostile: MakeHostile, how: str) -> None:
    there = hostile(FLOODS[how])
    done = there.login()
    assert "without end" in assert_failed(done.run, 6, "KT404")
    assert done.peak_kb < MEMORY_KB
    assert len(done.run.stdout) + len(done.run.stderr) < 20_000
    assert there.pages == []
    assert there.nothing_left()
