"""Our shell on a target, here this machine, and what becomes of a question to it when the connection is given up."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from kirotunnel.errors import ConnectionLostError
from kirotunnel.profiles.profile import profile_for
from kirotunnel.ssh import holds
from kirotunnel.ssh.control import ControlShell, opened_url
from kirotunnel.ssh.remote_command import RemoteCommand, command_runner
from kirotunnel.ssh.this_machine import this_machine
from kirotunnel.wire.examined import read_examined
from kirotunnel.wire.records import Record
from lab.requirements import require


async def test_who_waits_for_an_answer_is_told_at_once_that_the_shell_was_let_go_of() -> None:
    async with this_machine() as session:
        shell = ControlShell(session)
        await shell.look_for_listeners(cli="kiro-cli", profile=profile_for("kiro-cli"))
        shell.tell("sleep 2\n")
        asking = asyncio.create_task(shell.listeners())
        await asyncio.sleep(0)
        shell.let_go()
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionLostError):
                await asking


async def test_a_program_is_believed_that_it_holds_a_port_where_nobody_can_be_asked_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require("python3")
    monkeypatch.setattr(holds, "EXEC_TIMEOUT_S", 60.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    async with this_machine() as session:
        shell = ControlShell(session)
        await shell.look_for_listeners(cli="kiro-cli", profile=profile_for("kiro-cli"))
        shell.let_go()
        held = holds.PortHolds(session, shell, lease_s=60)
        assert set(await held.take([port])) == {port}
        await held.release()


@pytest.mark.parametrize("variable", ["TMPDIR", "XDG_RUNTIME_DIR"])
async def test_what_a_login_left_is_found_wherever_it_may_have_been(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    left = tmp_path / "kirotunnel.left"
    left.mkdir(mode=0o700)
    async with this_machine() as session:
        shell = ControlShell(session)
        examined = read_examined(await shell.examine(cli="true", profile=profile_for("kiro-cli"), hosts=[]))
        shell.let_go()
    assert str(left) in examined.left


async def test_a_job_that_reads_nothing_does_not_keep_the_shell_from_answering() -> None:
    async with this_machine() as session:
        shell = ControlShell(session)
        await shell.look_for_listeners(cli="kiro-cli", profile=profile_for("kiro-cli"))
        deaf = await shell.start_job()
        deaf.stdin.write(b"exec sleep 8\n" + bytes(200_000))  # more than a pipe holds
        async with asyncio.timeout(60):
            other = await shell.start_job()
            other.stdin.write(b"echo here\n")
            assert await other.stdout.read(100) == b"here\n"
            assert await shell.listeners() is not None
        assert await shell.finish()


@pytest.mark.parametrize("length", [20, 5_000, 60_000])
async def test_an_opened_url_comes_whole_whatever_else_is_said_meanwhile(length: int) -> None:
    urls = [f"https://{number}.example/{'a' * length}" for number in range(5)]
    heard: asyncio.Queue[Record] = asyncio.Queue()
    async with this_machine() as session, asyncio.timeout(60):
        shell = ControlShell(session, heard.put_nowait)
        directory = await shell.prepare_command("", openers=["xdg-open"], lease_s=60)
        job = await shell.start_job()
        job.stdin.write(b"yes | head -c 300000\n")
        time.sleep(0.5)  # nothing is read meanwhile: the job fills the pipe, and waits
        for url in urls:
            subprocess.run([f"{directory}/bin/xdg-open", url], check=True)
        assert [opened_url(await heard.get()) for _ in urls] == urls
        assert await shell.finish()


async def test_a_late_word_of_an_opener_does_not_end_the_shell_that_is_cleaning_up() -> None:
    async with this_machine() as session, asyncio.timeout(60):
        shell = ControlShell(session)
        directory = await shell.prepare_command("", openers=["xdg-open"], lease_s=60)
        words = f"exec 1<>{directory}/pipe.1; while [ -d {directory} ]; do echo u; done"
        with subprocess.Popen(["/bin/sh", "-c", words]) as opener:
            try:
                assert await shell.finish()
            finally:
                opener.kill()


async def test_a_command_that_is_stopped_before_it_can_be_found_does_not_begin(tmp_path: Path) -> None:
    text = command_runner(["touch", str(tmp_path / "begun")], unset=[], variables={}, defaults={}, openers=["xdg-open"])
    async with this_machine() as session, asyncio.timeout(60):
        shell = ControlShell(session)
        directory = await shell.prepare_command(text, openers=["xdg-open"], lease_s=60)
        assert directory is not None
        await shell.stop()  # as a second Ctrl-C does, while the server is still starting it
        command = await RemoteCommand.start(session, directory, terminal=None)
        assert await command.exit_code() == 143
        command.close()
        assert await shell.finish()
    assert not (tmp_path / "begun").exists()


async def test_rows_of_listeners_come_whole_whatever_else_is_said_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        f'LISTEN 0 128 127.0.0.1:{port} 0.0.0.0:* users:(("{"x" * 70}",pid={port},fd=3))' for port in range(2000, 4000)
    ]
    (tmp_path / "rows").write_text("\n".join(rows) + "\n")
    (tmp_path / "ss").write_text(f"#!/bin/sh\ncat {tmp_path}/rows\n")
    (tmp_path / "ss").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    async with this_machine() as session, asyncio.timeout(60):
        shell = ControlShell(session)
        await shell.look_for_listeners(cli="kiro-cli", profile=profile_for("kiro-cli"))
        job = await shell.start_job()
        job.stdin.write(b"while :; do echo spinning; sleep 0.01; done\n")
        assert await job.stdout.read(10)
        for _ in range(3):
            listeners = await shell.listeners()
            assert listeners is not None
            assert [row.pid for row in listeners] == list(range(2000, 4000))
        assert await shell.finish()
