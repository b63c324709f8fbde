"""Letting go of a child of asyncio's that may still run, so that its end is noticed by one alone."""

from __future__ import annotations

import asyncio


def close_pipes(transport: asyncio.SubprocessTransport) -> None:
    """Close our ends of the child's pipes: what it has said and nobody reads keeps one open, and so does what outlives
    it. Neither would ever end.

    The protocol is to call the transport's own `close` when the child has ended, not before: as long as it runs, that
    asks the system for its exit code, beside asyncio's watcher. Where the watcher comes second, it tells the person
    "Unknown child process pid 1513, will report returncode 255" (Python 3.11).
    """
    for descriptor in range(3):
        pipe = transport.get_pipe_transport(descriptor)
        if isinstance(pipe, asyncio.WriteTransport) and pipe.get_write_buffer_size():
            pipe.abort()  # what waits to be written has no reader, or one that does not read
        elif pipe is not None:
            pipe.close()
