"""The proxy does what it says: what is silent is silent, what is reset is reset, what is held up comes later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from faults.proxy import Proxy


@asynccontextmanager
async def echo() -> AsyncIterator[Proxy]:
    """A proxy before a server that says everything back."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()) as proxy:
        yield proxy


async def say(proxy: Proxy, text: bytes = b"hello") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has been used."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(text)
    assert await reader.readexactly(len(text)) == text
    return reader, writer


async def heard_within(reader: asyncio.StreamReader, seconds: float) -> bytes | None:
    try:
        async with asyncio.timeout(seconds):
            return await reader.read(100)
    except TimeoutError:
        return None


async def test_a_reset_connection_is_reset_and_a_new_one_works() -> None:
    async with echo() as proxy:
        reader, writer = await say(proxy)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
        (await say(proxy))[1].close()


async def test_a_closed_connection_ends() -> None:
    async with echo() as proxy:
        reader, writer = await say(proxy)
        proxy.close()
        assert await reader.read(1) == b""
        writer.close()


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_silent_direction_swallows_everything_and_only_there(direction: str) -> None:
    async with echo() as proxy:
        reader, writer = await say(proxy)
        proxy.silence(direction)
        writer.write(b"again")
        assert await heard_within(reader, 0.2) is None
        other, other_writer = await say(proxy)
        assert other is not reader
        writer.close()
        other_writer.close()


async def test_what_is_stalled_comes_later_and_whole() -> None:
    async with echo() as proxy:
        reader, writer = await say(proxy)
        proxy.stall(0.3)
        writer.write(b"later")
        assert await heard_within(reader, 0.1) is None
        assert await reader.readexactly(5) == b"later"
        writer.close()


async def test_a_corrupt_byte_is_one_byte() -> None:
    async with echo() as proxy:
        reader, writer = await say(proxy)
        proxy.corrupt()
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hellO"
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()


async def test_it_refuses_and_comes_back() -> None:
    async with echo() as proxy:
        proxy.refuse(1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        await asyncio.sleep(1.1)  # beyond the time for which it refuses
        (await say(proxy))[1].close()


async def test_pieces_and_delay_change_nothing_of_the_bytes() -> None:
    async with echo() as proxy:
        proxy.weather.piece, proxy.weather.delay_s = 3, 0.001
        (await say(proxy, bytes(range(200))))[1].close()


async def test_doomed_connections_end_with_the_first_answer() -> None:
    async with echo() as proxy:
        proxy.doom(1)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"hello")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(6)
        writer.close()
        (await say(proxy))[1].close()
