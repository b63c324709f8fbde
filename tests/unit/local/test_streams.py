"""What is written beside a terminal at which somebody is asked something."""

from __future__ import annotations

import asyncio
import os
import pty
from collections.abc import Iterator

import pytest

from kirotunnel.local.streams import writable, write_whole
from kirotunnel.local.terminal import Terminal


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """The person's end of a terminal, and ours."""
    person, ours = pty.openpty()
    yield person, ours
    os.close(person)
    os.close(ours)


async def test_nothing_is_written_over_a_question_that_was_asked_in_the_same_moment(ends: tuple[int, int]) -> None:
    person, ours = ends
    with os.fdopen(os.dup(ours), "w") as out:
        terminal = Terminal(ours, out)

        async def write(data: bytes) -> None:
            await writable(ours, terminal)
            await write_whole(ours, data, terminal)

        writing = asyncio.create_task(write(b"Opening the browser\n"))
        asking = asyncio.create_task(terminal.answer("Open it? "))
        shown = await _until(person, b"Open it? ")
        os.write(person, b"y\n")
        await asyncio.gather(writing, asking)
        assert asking.result() == "y"
        shown += await _until(person, b"browser\r\n")
    assert shown == b"Open it? y\r\nOpening the browser\r\n"


async def test_what_a_full_pipe_does_not_take_at_once_is_written_when_it_is_read() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = os.urandom(300_000)
    try:
        writing = asyncio.create_task(write_whole(writer, data))
        read = b""
        while len(read) < len(data):
            await asyncio.sleep(0)
            read += await asyncio.to_thread(os.read, reader, 65536)
        await writing
    finally:
        os.close(reader)
        os.close(writer)
    assert read == data


async def _until(fd: int, end: bytes) -> bytes:
    """What comes, up to these bytes."""
    read, loop = b"", asyncio.get_running_loop()
    async with asyncio.timeout(20):
        while not read.endswith(end):
            ready = asyncio.Event()
            loop.add_reader(fd, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(fd)
            read += os.read(fd, 4096)
    return read
