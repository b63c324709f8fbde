"""The services run in a process of their own: it says where they are, and ends when it is told to."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sandbox.sign_in_client import http_client


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """The services as a process, with what it says of itself."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-W", "error", "-m", "kirotunnel.sandbox.services", *arguments)
    running = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    assert running.stdout is not None
    assert running.stdin is not None
    try:
        line = await asyncio.wait_for(running.stdout.readline(), 30)
        yield running, json.loads(line)
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate(b"")


async def test_the_process_says_where_the_services_are_and_ends_with_its_input() -> None:
    async with process("--listen", "127.0.0.1", "::1", "--public-url", "http://portal.test:8080") as (running, where):
        port = where["port"]
        assert where["origins"] == [f"http://127.0.0.1:{port}", f"http://[::1]:{port}"]
        assert where["public_url"] == "http://portal.test:8080"
        assert where["issuer_url"] == "http://portal.test:8080/idp"
        assert where["environment"]["KIRO_AUTH_PORTAL_URL"] == "http://portal.test:8080"
        async with http_client() as http:
            for base in where["origins"]:
                assert (await http.get(base)).status_code == 200
        output, errors = await asyncio.wait_for(running.communicate(b""), 30)
        assert (output, errors, running.returncode) == (b"", b"", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_ends_when_it_is_told_to(number: signal.Signals) -> None:
    async with process() as (running, _):
        running.send_signal(number)
        assert await asyncio.wait_for(running.wait(), 30) == 0
