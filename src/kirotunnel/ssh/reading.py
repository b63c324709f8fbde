"""Reading what a channel brings: piece by piece, with a turn for everybody else after each, and in bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from kirotunnel.ssh.session import ByteReader

WINDOW: Final = 2 * 1024 * 1024
"""Bytes that asyncssh lets a channel send unread. Each read must take all that is there: whenever a read takes less,
asyncssh 2.24 allows the other side another whole window for it, and holds what comes without bound. Of a target that
prints as fast as it can, half a gigabyte was held here after 32 MiB had been read."""
PIECE: Final = 16 * 1024


async def pieces(reader: ByteReader) -> AsyncIterator[bytes]:
    """What is read, to its end. Raises OSError or asyncssh.Error where it breaks."""
    while data := await reader.read(WINDOW):
        for at in range(0, len(data), PIECE):
            yield data[at : at + PIECE]
            await asyncio.sleep(0)  # what is here already is read without waiting
