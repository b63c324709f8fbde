"""What the ssh within a ProxyCommand asks, put to the person: it has no terminal, so it calls SSH_ASKPASS.

That is a program which ssh(1) starts with the question, and which prints the answer. Ours only carries both over a Unix
socket, in a directory that nobody else may enter and that is there while the connection is being made. An answer is in
no argument, environment or file, and is not kept: the words that asked for it may be the server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

from kirotunnel.peers import same_user
from kirotunnel.redaction import Secret
from kirotunnel.ssh import askpass_client
from kirotunnel.ssh.prompts import Prompts
from kirotunnel.wire.askpass import Question, Wanted, read_question

MAX_QUESTIONS: Final = 50
"""Of one run of the program: three for each of many keys, and some for a second factor."""
_MAX_REQUEST: Final = 64 * 1024
"""Bytes of a question."""
_REQUEST_S: Final = 5.0
"""Seconds in which a question must be there."""
_MAX_PATH: Final = 100
"""Bytes that every system takes as the path of a socket."""


class Questions:
    """The questions of one run of a ProxyCommand, put to a person one after the other."""

    def __init__(self, where: str, prompts: Prompts, tell: Callable[[str], None]) -> None:
        """`where` is whom the program leads to; `tell` gets what is no question."""
        self._who = f"the ProxyCommand for {where}"
        self._prompts = prompts
        self._tell = tell
        self._turn = asyncio.Lock()
        self.unanswered = False
        self.asked = 0
        """Questions that the person was shown."""

    async def put(self, question: Question, said: list[str]) -> Secret[str] | None:
        """The answer, empty where a yes or nothing is wanted; None where there is none.

        `said` are the last lines that the program has written before: a refused password, what a code is for.
        """
        async with self._turn:
            if self.unanswered:  # who does not answer once is not asked again
                return None
            for line in said:
                self._tell(f"{self._who}: {line}")
            if question.wanted is Wanted.NOTHING:
                self._tell(f"{self._who}: {question.words}")
                return Secret("")
            self.asked += 1
            words = f"({self._who} asks) {question.words}"
            if question.wanted is Wanted.CONSENT:
                return Secret("") if await self._prompts.confirm(words) else None
            if question.wanted is Wanted.SECRET:
                answer = await self._prompts.secret(f"{words} ")
            else:
                seen = await self._prompts.answer(f"{words} ")
                answer = None if seen is None else Secret(seen)
            self.unanswered = answer is None
            return answer


@contextlib.asynccontextmanager
async def answering(questions: Questions, said: Callable[[], list[str]]) -> AsyncIterator[dict[str, str]]:
    """Variables of the environment with which a program's questions come to us, until the end of the block.

    There are none where the person has an askpass program that is to be preferred, or where there is no place for ours:
    then the program does what it would do without us.
    """
    theirs = os.environ.get("SSH_ASKPASS_REQUIRE", "").lower() in {"force", "prefer"}
    tasks: set[asyncio.Task[None]] = set()
    connections = 0

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections > MAX_QUESTIONS or not same_user(writer.get_extra_info("socket")):
            writer.close()
            return
        task = asyncio.ensure_future(_answer(reader, writer, questions, said))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(lambda _: writer.close())  # one that never began closes nothing by itself

    with contextlib.nullcontext() if theirs else _directory() as directory:
        server = program = None
        if directory is not None:
            with contextlib.suppress(OSError):
                program = _program(directory)
                server = await asyncio.start_unix_server(connected, directory / "s", limit=_MAX_REQUEST)
        try:
            yield _variables(program) if program and server else {}
        finally:
            if server is not None:
                server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, questions: Questions, said: Callable[[], list[str]]
) -> None:
    try:
        async with asyncio.timeout(_REQUEST_S):
            hint, words = [(await reader.readuntil(b"\0"))[:-1] for _ in range(2)]
        answer = await questions.put(read_question(hint, words), said())
        if answer is not None:
            writer.write(b"+" + answer.reveal().encode())
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return  # without an answer


def _variables(program: Path) -> dict[str, str]:
    variables = {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
    if "DISPLAY" not in os.environ:
        # OpenSSH before 8.4 knows no SSH_ASKPASS_REQUIRE and wants this set; empty is none for everybody else.
        variables["DISPLAY"] = ""
    return variables


def _program(directory: Path) -> Path:
    """Write what ssh starts: it takes the path of one program, without arguments."""
    program = directory / "askpass"
    words = [sys.executable, "-I", "-S", askpass_client.__file__, str(directory / "s")]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$1"\n', encoding="utf-8")
    program.chmod(0o700)
    return program


@contextlib.contextmanager
def _directory() -> Iterator[Path | None]:
    """A new one that is ours alone, where programs may run and a socket may be; None where there is no such place."""
    found = next((made for place in _places() if (made := _made_in(place))), None)
    try:
        yield found
    finally:
        if found is not None:
            shutil.rmtree(found, ignore_errors=True)


def _places() -> Iterator[Path]:
    if os.name == "nt" or not sys.executable:
        return
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute():  # removed with the person's session, should we be killed
        yield runtime
    yield from (Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108 - the directory made in it is 0700 and new


def _made_in(place: Path) -> Path | None:
    try:
        if os.statvfs(place).f_flag & getattr(os, "ST_NOEXEC", 0) or len(os.fsencode(place)) > _MAX_PATH - 32:
            return None
        return Path(tempfile.mkdtemp(prefix="kirotunnel-", dir=place))
    except OSError:
        return None
