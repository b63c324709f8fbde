"""The person's terminal, on a pseudo-terminal: keys go where they should, and one that is gone keeps nobody busy."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pty
from collections.abc import Iterator

import pytest

from kirotunnel.local.terminal import SHOW_CURSOR, Terminal


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """The person's end of a terminal, and ours."""
    near, far = pty.openpty()
    yield near, far
    for each in (near, far):
        with contextlib.suppress(OSError):
            os.close(each)


@pytest.mark.parametrize(("way", "passed"), [("keys_to", b"y\r"), ("raw", b"y\r")])
async def test_keys_are_passed_on_as_the_wire_has_them(ends: tuple[int, int], way: str, passed: bytes) -> None:
    near, far = ends
    heard = bytearray()
    out = io.StringIO()
    with getattr(Terminal(far, out), way)(heard.extend, lambda *_: None):
        os.write(near, b"y\r")
        async with asyncio.timeout(10):
            while len(heard) < len(passed):
                await asyncio.sleep(0)
    assert bytes(heard) == passed
    assert out.getvalue() == (SHOW_CURSOR if way == "keys_to" else "")


@pytest.mark.parametrize("way", ["keys_to", "raw"])
async def test_a_terminal_that_is_gone_is_read_no_more(ends: tuple[int, int], way: str) -> None:
    near, far = ends
    loop = asyncio.get_running_loop()
    with getattr(Terminal(far, io.StringIO()), way)(lambda _: None, lambda *_: None):
        os.close(near)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not loop.remove_reader(far)


@pytest.mark.parametrize(("way", "seen"), [("secret", False), ("answer", True)])
async def test_who_answers_as_soon_as_the_question_is_there_is_seen_only_where_he_may(
    ends: tuple[int, int], way: str, seen: bool
) -> None:
    near, far = ends

    class Screen(io.StringIO):
        def write(self, text: str) -> int:
            if text.startswith("Password"):
                os.write(near, b"open sesame\n")
            return super().write(text)

    async with asyncio.timeout(10):
        answer = await getattr(Terminal(far, Screen()), way)("Password? ")
    assert (answer if seen else answer.reveal()) == "open sesame"
    os.write(far, b".")
    assert (b"open sesame" in os.read(near, 1000)) is seen
