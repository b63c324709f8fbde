"""`Match exec` runs what the person wrote: it may hang, and leave something running that keeps our pipes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.harness import finish, start, wait_until
from kirotunnel.errors import SSHConfigError
from kirotunnel.ssh.config import SSHOptions, resolve_endpoint


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """What it runs writes its number to `pids`, and does not end by itself."""
    file = tmp_path / "config"
    file.write_text(f"Match exec \"sh -c 'echo $$ >>{tmp_path}/pids; sleep 600; true'\"\n  User ada\n")
    yield file
    for pid in pids(file):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def pids(config: Path) -> list[int]:
    file = config.with_name("pids")
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def alive(pid: int) -> bool:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in {"", "Z"}


async def test_one_that_hangs_is_given_up_and_ended(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kirotunnel.ssh.config._RESOLVE_TIMEOUT_S", 3.0)
    async with asyncio.timeout(20):
        with pytest.raises(SSHConfigError, match="did not end in 3 s") as caught:
            await resolve_endpoint("box", SSHOptions(config_file=str(config)))
    assert "Match exec" in caught.value.hint
    assert pids(config) != []
    assert wait_until(lambda: not any(map(alive, pids(config))))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_one_that_hangs(config: Path, number: signal.Signals) -> None:
    process = start("login", "box", "-F", str(config), "--json")
    assert wait_until(lambda: pids(config), 30)
    process.send_signal(number)
    assert finish(process, 20).code == 128 + number
    assert wait_until(lambda: not any(map(alive, pids(config))))


async def test_what_it_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(f'Match exec "setsid sleep 600 & echo $! >{tmp_path}/pids"\n  User ada\n')
    try:
        async with asyncio.timeout(20):
            endpoint = await resolve_endpoint("box", SSHOptions(config_file=str(file)))
        assert endpoint.user == "ada"
        assert all(map(alive, pids(file)))  # as with ssh
    finally:
        for pid in pids(file):
            os.kill(pid, signal.SIGKILL)
