"""Standard input and output as bytes in the event loop: pipes, files and terminals, none of which may hold it up."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Final, Protocol

_PIECE: Final = 4096
"""Bytes: a pipe that is writable takes as many at once (PIPE_BUF)."""


class Questions(Protocol):
    """A terminal at which somebody is asked something now and then."""

    @property
    def asking(self) -> bool:
        """Whether a question is open."""

    async def settled(self) -> None:
        """Wait until none is."""


async def read_pieces(fd: int) -> AsyncIterator[bytes]:
    """What comes on that descriptor, until its end."""
    while True:
        try:
            await ready(fd, reading=True)
            data = os.read(fd, 4 * _PIECE)
        except BlockingIOError:
            continue
        except OSError:
            return  # closed from the beginning, or a terminal that is gone
        if not data:
            return
        yield data


async def writable(fd: int, beside: Questions | None = None) -> None:
    """Wait until that descriptor takes something, and no question is open at the terminal `beside`."""
    while True:
        await ready(fd, reading=False)
        if beside is None or not beside.asking:
            return
        await beside.settled()


async def write_whole(fd: int, data: bytes, beside: Questions | None = None) -> None:
    """Write all of it to a descriptor that was `writable` just now.

    Raises OSError, BrokenPipeError among them, where nobody reads it any more.
    """
    view = memoryview(data)
    while view:
        with contextlib.suppress(BlockingIOError):
            view = view[os.write(fd, view[:_PIECE]) :]
        if view:
            await writable(fd, beside)


async def ready(fd: int, *, reading: bool) -> None:
    """Wait until there is something to read, or room for something to be written.

    In the event loop and not in a thread: one that waits for input could not be ended.
    """
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        if reading:
            loop.add_reader(fd, ready.set)
        else:
            loop.add_writer(fd, ready.set)
    except (PermissionError, NotImplementedError):
        await asyncio.sleep(0)
        return  # a file, which is always ready, or Windows, where there is only the waiting
    try:
        await ready.wait()
    finally:
        if reading:
            loop.remove_reader(fd)
        else:
            loop.remove_writer(fd)
