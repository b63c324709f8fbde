"""A person at a terminal: what is asked, and what is not."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pexpect
import pytest

from integration.sign_in_world import World, a_world

ROBOT = Path(__file__).parent.parent / "e2e" / "robot_browser.py"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path / "data" / "kirotunnel") as made:
        made.clock[0] = time.time()
        yield made


def spawn(world: World, *arguments: str, **more: str) -> pexpect.spawn[str]:
    environ = {
        **os.environ,
        **world.services.environment(),
        "XDG_DATA_HOME": str(world.directory.parent),
        "TERM": "dumb",
        **more,
    }
    command = ["-m", "kirotunnel", "login", "--timeout", "30", *arguments]
    return pexpect.spawn(sys.executable, command, env=environ, encoding="utf-8", timeout=30, dimensions=(40, 200))


async def talk(child: pexpect.spawn[str], *turns: tuple[str, str]) -> str:
    """Wait for each text and type what follows it; gives all that was shown."""

    def work() -> str:
        shown = ""
        for text, typed in turns:
            child.expect_exact(text)
            shown += child.before + child.after
            if typed:
                child.send(typed)
        child.expect(pexpect.EOF)
        child.close()
        return shown + str(child.before)

    return await asyncio.to_thread(work)


async def test_enter_then_the_browser(world: World) -> None:
    child = spawn(world, BROWSER=f"{sys.executable} {ROBOT} google allow")
    shown = await talk(child, ("Press Enter to continue in the browser", "\r"), ("signed in as ada@example.com", ""))
    assert child.exitstatus == 0, shown
    assert "http://127.0.0.1" in shown  # the address is always printed, too


async def test_no_question_with_a_method(world: World) -> None:
    child = spawn(world, "--method", "google", BROWSER=f"{sys.executable} {ROBOT} google allow")
    shown = await talk(child, ("signed in as ada@example.com", ""))
    assert child.exitstatus == 0
    assert "Press Enter" not in shown


async def test_over_ssh_a_menu_and_a_code(world: World) -> None:
    child = spawn(world, SSH_TTY="/dev/pts/9", BROWSER=f"{sys.executable} {ROBOT} idc allow")
    shown = await talk(
        child,
        ("How do you want to sign in?", ""),
        ("1 to 4: ", "4\r"),
        ("Enter Start URL", "https://example.awsapps.com/start\r"),
        ("Enter Region", "us-east-1\r"),
        ("Code: ", ""),
        ("signed in as katherine@example.com", ""),
    )
    assert child.exitstatus == 0, shown


async def test_ctrl_c_leaves_nothing_behind(world: World) -> None:
    child = spawn(world, "--method", "google", "--no-browser", DISPLAY=":0", BROWSER="true")
    await talk(child, ("open this address", "\x03"))
    assert child.exitstatus == 130
    assert await world.session() is None
