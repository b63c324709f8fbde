"""Processes taking turns by a lock file: the system lets go of it when a process ends, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from kirotunnel.errors import SessionNotSavedError, SessionStoreBusyError

POLL_S: Final = 0.03
_HELD: Final = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})


@contextlib.asynccontextmanager
async def file_lock(path: Path, patience_s: float) -> AsyncIterator[None]:
    """Hold the lock. Raises SessionStoreBusyError after so many seconds, SessionNotSavedError where none can be made.

    Not re-entrant, not even within a process: each use opens the file anew.
    """
    descriptor = _open(path)
    try:
        deadline = time.monotonic() + patience_s
        while not _try_lock(descriptor, path):
            if time.monotonic() > deadline:
                raise SessionStoreBusyError(f"{path} has been locked by another process for {patience_s:.0f} s")
            # By chance, so that those who wait do not all come at once.
            await asyncio.sleep(POLL_S * (0.5 + random.random()))  # noqa: S311 - no secret
        yield
    finally:
        os.close(descriptor)  # which unlocks


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError as exc:
        raise SessionNotSavedError(
            f"the lock file {path} cannot be opened: {(exc.strerror or 'error').lower()}"
        ) from exc


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in _HELD:
            return False
        reason = (exc.strerror or "error").lower()
        raise SessionNotSavedError(f"{path} cannot be locked: {reason}") from exc
    return True
