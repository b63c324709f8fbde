"""Which processes of the remote are alive: the members of a command's group, and the strays.

A stray is what a command left running in a session of its own. It survives a lost connection, as on a real machine, but
not the machine. Nothing leads from us to it any more: it is no child, and in no group of ours. What it keeps is its
environment, with a HOME that only this remote has.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_HAS_PROC: Final = (_PROC / "self" / "environ").exists()
_POLL: Final = 0.02
_ROUNDS: Final = ((signal.SIGTERM, 1.0), (signal.SIGKILL, 2.0))
"""Which signal, and how many seconds to wait for its effect."""


async def group_lives(group: int) -> bool:
    """Whether anybody of that process group, whose leader was our child, is left."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        # macOS says EPERM where only zombies are left.
        return False
    return await asyncio.to_thread(_has_living_members, group)


def _has_living_members(group: int) -> bool:
    # Linux counts zombies as members, and an orphan is one until process 1 reaps it: in containers that takes seconds.
    if not _HAS_PROC:
        return True
    for entry in _PROC.iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                # After the name, which may hold anything: state, parent, group (proc(5)).
                state, _, member_of, *_ = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(member_of) == group and state not in "ZX":
                    return True
    return False


async def end_strays(home: Path) -> None:
    """End every process whose HOME is that directory."""
    for number, seconds in _ROUNDS:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while strays := await asyncio.to_thread(find_strays, home):
                    _send(number, strays)
                    await asyncio.sleep(_POLL)
                return


def find_strays(home: Path) -> list[int]:
    """The processes whose HOME is that directory, except our own."""
    found = _from_proc(home) if _HAS_PROC else _from_ps(home)
    return [pid for pid in found if pid != os.getpid()]


def _from_proc(home: Path) -> Iterator[int]:
    marker = os.fsencode(f"HOME={home}")
    for entry in _PROC.iterdir():
        # Somebody else's process, or one that has just ended.
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and marker in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


def _from_ps(home: Path) -> Iterator[int]:
    # macOS hides the environment of the system's own binaries (/bin/sh) even from their owner. What holds a session
    # open there is a Python, a Perl or the CLI, which do show it; a shell below one of them ends with its terminal.
    listing = subprocess.run(["ps", "-axEww", "-o", "pid=,command="], capture_output=True, check=False)
    marker = os.fsencode(f"HOME={home}")
    for line in listing.stdout.splitlines():
        pid, *words = line.split()
        if marker in words:
            yield int(pid)


def _send(number: signal.Signals, processes: list[int]) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
