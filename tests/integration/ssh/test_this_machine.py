"""Commands of this machine with no SSH server: whatever they do, nothing of them is left when we let go."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.harness import wait_until
from kirotunnel.errors import SessionRefusedError
from kirotunnel.ssh.this_machine import this_machine


async def test_a_command_has_its_streams_and_its_exit_code() -> None:
    async with this_machine() as here:
        process = await here.start("exec /bin/sh")
        process.stdin.write(b"echo out; echo err >&2; exit 7\n")
        process.stdin.write_eof()
        assert await process.stdout.read() == b"out\n"
        assert await process.stderr.read() == b"err\n"
        await process.wait_closed()
        assert (process.exit_status, process.exit_signal) == (7, None)


async def test_the_signal_that_ended_it_is_known() -> None:
    async with this_machine() as here:
        process = await here.start("exec sleep 600")
        process.terminate()
        await process.wait_closed()
        assert process.exit_status is None
        assert process.exit_signal is not None
        assert process.exit_signal[0] == "TERM"


async def test_a_program_that_is_not_there() -> None:
    async with this_machine() as here:
        with pytest.raises(SessionRefusedError, match="no-such-program cannot be started here"):
            await here.start("exec no-such-program")


@pytest.mark.parametrize("terminal", [False, True])
async def test_one_that_prints_without_end_is_let_go_of(terminal: bool) -> None:
    async with asyncio.timeout(20):
        async with this_machine() as here:
            process = await here.start("exec yes", **({"term_type": "xterm"} if terminal else {}))
            assert (await process.stdout.read(100)).startswith(b"y")
            await asyncio.sleep(0.1)  # the pipe is full
    gc.collect()  # of a pipe that stayed open the loop would be missed here


@pytest.mark.parametrize("terminal", [False, True])
async def test_its_children_end_with_it(tmp_path: Path, terminal: bool) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\nsleep 600 &\necho $! >{tmp_path}/pid\nwait\n")
    script.chmod(0o755)
    async with this_machine() as here:
        await here.start(f"exec {script}", **({"term_type": "xterm"} if terminal else {}))
        assert await asyncio.to_thread(wait_until, lambda: written(tmp_path / "pid"))
    assert wait_until(lambda: not alive(int((tmp_path / "pid").read_text())))


async def test_what_left_its_group_is_not_waited_for_long(tmp_path: Path) -> None:
    """As a sudo does, which belongs to root: it keeps our pipes, and we may not kill it."""
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\nsetsid sleep 600 &\necho $! >{tmp_path}/pid\nsleep 600\n")
    script.chmod(0o755)
    try:
        async with asyncio.timeout(20):
            async with this_machine() as here:
                await here.start(f"exec {script}")
                assert await asyncio.to_thread(wait_until, lambda: leads_its_group(tmp_path / "pid"))
        gc.collect()
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_the_person_sees_no_traceback_of_it() -> None:
    program = (
        "import asyncio\n"
        "from kirotunnel.ssh.this_machine import this_machine\n"
        "async def main():\n"
        "    async with this_machine() as here:\n"
        "        process = await here.start('exec yes')\n"
        "        await process.stdout.read(100)\n"
        "        await asyncio.sleep(0.1)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def written(file: Path) -> bool:
    return file.exists() and file.read_text().endswith("\n")


def leads_its_group(file: Path) -> bool:
    return written(file) and os.getpgid(pid := int(file.read_text())) == pid


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
