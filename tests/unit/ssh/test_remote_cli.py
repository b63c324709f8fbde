"""What is made of the records of a held login, whatever connections they come over."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import properties.conftest  # noqa: F401 - loads the profile: no clock, the same examples each time
from kirotunnel.ssh.jobs import Job, printf_format
from kirotunnel.ssh.remote_cli import LAST_OUTPUT_S, MAX_OUTPUT, MAX_TYPED, Ending, HeldCLI
from kirotunnel.wire.records import Record, decoded


class Seen:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.output = b""
        self.ends: list[tuple[Ending, int | None]] = []

    def url(self, url: str) -> None:
        self.urls.append(url)

    def printed(self, data: bytes) -> None:
        self.output += data

    def ended(self, how: Ending, code: int | None) -> None:
        self.ends.append((how, code))


class Shell:
    """What is told to a control shell."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, script: str) -> None:
        self.told.append(script)


def out(data: bytes) -> Record:
    return Record("out64", base64.b64encode(data).decode())


def test_urls_count_once_however_often_they_are_said() -> None:
    seen = Seen()
    cli = HeldCLI(seen)
    for value in ("1 https://a", "2 https://b", "1 https://a", "2 https://b", "3 https://c d", "5 https://e", "x y"):
        cli.hear(Record("url", value))
    assert (seen.urls, cli.urls) == (["https://a", "https://b", "https://c d"], 3)


def test_the_end_waits_for_the_whole_output() -> None:
    async def go() -> None:
        seen = Seen()
        cli = HeldCLI(seen)
        cli.hear(out(b"sign"))
        cli.hear(Record("exited", "0 9"))
        assert seen.ends == []
        cli.hear(Record("out16", " 65 64 20\t69 6e"))
        assert (seen.output, seen.ends) == (b"signed in", [("exited", 0)])
        cli.hear(Record("exited", "1 9"))
        assert seen.ends == [("exited", 0)]

    asyncio.run(go())


def test_the_rest_of_the_output_has_its_time_again_after_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        loop, now = asyncio.get_running_loop(), [0.0]
        monkeypatch.setattr(loop, "time", lambda: now[0])
        seen = Seen()
        cli = HeldCLI(seen)
        cli.hear(Record("exited", "1 9"))
        for piece in (b"no", b" ac", b"ce"):
            now[0] += LAST_OUTPUT_S * 0.8
            await asyncio.sleep(0)
            cli.hear(out(piece))
        assert seen.ends == []
        now[0] += LAST_OUTPUT_S * 1.2
        while not seen.ends:
            await asyncio.sleep(0)
        assert (seen.output, seen.ends) == (b"no acce", [("exited", 1)])

    asyncio.run(go())


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("70 0", ("exited", 70)),
        ("130 0", ("exited", None)),
        ("143 0", ("exited", None)),
        ("255 0", ("exited", 255)),
        ("none 0", ("exited", None)),
        ("full 99", ("too-much", None)),
        ("not-begun 0", ("no-terminal", None)),
    ],
)
def test_the_ways_to_end(said: str, end: tuple[Ending, int | None]) -> None:
    seen = Seen()
    HeldCLI(seen).hear(Record("exited", said))
    assert seen.ends == [end]


def test_a_cli_that_prints_without_end_is_given_up_once() -> None:
    seen = Seen()
    cli = HeldCLI(seen)
    piece = out(bytes(MAX_OUTPUT // 4))
    for _ in range(8):
        cli.hear(piece)
    assert (len(seen.output), seen.ends) == (MAX_OUTPUT // 4 * 5, [("too-much", None)])


def test_keys_are_said_again_until_they_are_confirmed() -> None:
    seen, first, second = Seen(), Shell(), Shell()
    cli = HeldCLI(seen)
    shell: Any = first
    cli.use(shell)
    cli.type(b"j")
    cli.type(b"\r")
    cli.hear(Record("typed", "1"))
    cli.use(None)
    cli.type(b"\x1b[B")
    shell = second
    cli.use(shell)
    assert first.told == ["typed 1 '\\152'\n", "typed 2 '\\015'\n"]
    assert second.told == ["typed 2 '\\015'\n", "typed 3 '\\033\\133\\102'\n"]


def test_a_new_connection_is_told_the_size_that_the_terminal_has_by_then() -> None:
    cli, second = HeldCLI(Seen()), Shell()
    cli.resize(80, 24)
    shell: Any = second
    cli.use(shell)
    assert second.told == ["resize 80 24\n"]


@given(st.text(max_size=50))
def test_what_is_none_of_ours_is_nothing(text: str) -> None:
    assert decoded("out16", "zz" + text) == b""
    assert isinstance(decoded("out64", text), bytes)


@given(st.binary(max_size=200))
def test_every_byte_can_be_told_to_printf(data: bytes) -> None:
    octal = printf_format(data)
    assert bytes(int(part, 8) for part in octal.split("\\")[1:]) == data
    assert len(octal) == 4 * len(data)


def test_a_job_is_told_its_input_in_lines_and_its_end_once() -> None:
    async def go() -> None:
        told: list[str] = []
        job = Job(2, told.append)
        job.stdin.write(b"x" * 5000)
        job.stdin.write_eof()
        job.close()
        assert [line.split()[:2] for line in told] == [["job_input", "2"], ["job_input", "2"], ["job_end", "2"]]
        assert await job.stdout.read() == b""
        await job.wait_closed()

    asyncio.run(go())


def test_more_keys_than_a_fifo_holds_are_left_out(tmp_path: Path) -> None:
    shell: Any = Shell()
    cli = HeldCLI(Seen())
    cli.use(shell)
    cli.type(b"x" * (MAX_TYPED - 1))
    cli.type(b"too much")
    cli.type(b"\r")
    cli.type(b"\r")
    assert [script.split()[1] for script in shell.told] == ["1", "2"]
    os.mkfifo(tmp_path / "in")
    fifo = os.open(tmp_path / "in", os.O_RDWR | os.O_NONBLOCK)
    try:  # as the target's shell writes them, before anybody reads
        assert sum(os.write(fifo, b"x") for _ in range(MAX_TYPED)) == MAX_TYPED
    finally:
        os.close(fifo)
