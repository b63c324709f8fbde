"""Our shell on a target, here this machine, and what becomes of a question to it when the connection is given up."""

from __future__ import annotations

import asyncio

import pytest

from kirotunnel.errors import ConnectionLostError
from kirotunnel.profiles.profile import profile_for
from kirotunnel.ssh.control import ControlShell
from kirotunnel.ssh.this_machine import this_machine


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
