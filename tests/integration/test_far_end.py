"""kirotunnel at the far end of its own tunnel: run by the runner that signs a remote CLI in, with its opener."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.sign_in_world import World, a_world
from kirotunnel.oauth.session import Method
from kirotunnel.profiles.profile import load_profile
from kirotunnel.sandbox import robot
from kirotunnel.ssh.control import runner
from kirotunnel.wire.transcript import Transcript, UrlShown, UserCodeShown
from kirotunnel.wire.whoami import parse_whoami

PROFILE = load_profile("kirotunnel")
METHODS: list[Method] = ["google", "github", "builder-id", "idc", "external-idp"]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path / "data" / "kirotunnel", hand_over="link") as made:
        made.clock[0] = time.time()
        yield made


@dataclass
class FarEnd:
    """The directory that the control script makes, and an environment as an SSH server gives it."""

    directory: Path
    environ: dict[str, str]

    @classmethod
    def furnish(cls, world: World, place: Path) -> FarEnd:
        place.mkdir()
        (place / "bin").mkdir()
        cli = place / "kirotunnel"
        cli.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m kirotunnel "$@"\n')
        opener = place / "bin" / "xdg-open"
        opener.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >>{shlex.quote(str(place))}/opened\n')
        for program in (cli, opener):
            program.chmod(0o700)
        (place / "cli").write_text(f"{cli}\n")
        ssh = {"SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22", "SSH_CLIENT": "192.0.2.1 1 22", "SSH_TTY": "/dev/pts/0"}
        data = {"XDG_DATA_HOME": str(world.directory.parent)}
        return cls(place, {**os.environ, **world.services.environment(), **data, **ssh})

    async def start(self, arguments: tuple[str, ...], *, own_mode: bool = False) -> asyncio.subprocess.Process:
        (self.directory / "run").write_text(runner(arguments, PROFILE, own_mode=own_mode))
        return await asyncio.create_subprocess_exec(
            "/bin/sh", str(self.directory / "run"), env=self.environ,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip

    async def opened(self, count: int) -> str:
        """The last of so many pages that it wanted opened."""
        async with asyncio.timeout(30):
            while True:
                file = self.directory / "opened"
                urls = file.read_text().split() if file.exists() else []
                if len(urls) >= count:
                    return urls[-1]
                await asyncio.sleep(0.02)

    async def whoami(self) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            str(self.directory / "kirotunnel"), *PROFILE.whoami, env=self.environ, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        return process.returncode, out.decode()


@pytest.mark.parametrize("method", METHODS)
async def test_by_callback_every_page_goes_through_the_opener(world: World, tmp_path: Path, method: Method) -> None:
    far = FarEnd.furnish(world, tmp_path / "far")
    assert (await far.whoami())[0] == 1
    process = await far.start(PROFILE.login)
    legs = 1 if method in {"google", "github"} else 2
    for leg in range(1, legs + 1):
        report = await robot.sign_in(await far.opened(leg), method=method)
        assert report.ok, report
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    code, answer = await far.whoami()
    account = parse_whoami(answer)
    assert code == 0
    assert account is not None
    assert account.email is not None


@pytest.mark.parametrize("method", ["google", "builder-id"])
async def test_by_one_time_code_what_it_prints_is_understood(world: World, tmp_path: Path, method: Method) -> None:
    far = FarEnd.furnish(world, tmp_path / "far")
    process = await far.start((*PROFILE.login_device, *PROFILE.device[method].arguments), own_mode=True)
    assert process.stdout is not None
    transcript, urls, codes, shown = Transcript(), list[str](), list[str](), b""
    async with asyncio.timeout(30):
        while not (urls and codes):
            data = await process.stdout.read(4096)
            assert data, shown.decode()
            shown += data
            for event in transcript.feed(data):
                urls += [event.url] if isinstance(event, UrlShown) else []
                codes += [event.user_code] if isinstance(event, UserCodeShown) else []
    assert codes[0] in urls[0]
    assert (await robot.sign_in(urls[0], method=method)).ok
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    assert (await far.whoami())[0] == 0
