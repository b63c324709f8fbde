"""Starting a browser for real: it outlives us, says nothing on our terminal, and its failure is noticed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.harness import wait_until
from kirotunnel.local import browser
from kirotunnel.local.browser import CommandBrowser

OPEN = """
import asyncio, sys
from kirotunnel.local.browser import CommandBrowser
print(asyncio.run(CommandBrowser([[sys.argv[1]]]).open("https://example.com/")))
"""


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_browser_in_the_foreground_outlives_the_program_that_opened_it(tmp_path: Path) -> None:
    # Since Python 3.12 asyncio's own subprocesses are killed with their event loop.
    file = tmp_path / "pid"
    started = program(tmp_path / "browser", f"echo noise; echo $$ >{file}; exec sleep 60")
    run = subprocess.run([sys.executable, "-c", OPEN, started], capture_output=True, text=True, timeout=30, check=True)
    assert (run.stdout, run.stderr) == (f"{started}\n", "")
    assert wait_until(lambda: file.exists() and file.read_text().endswith("\n"))
    pid = int(file.read_text())
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """For an opener to fail in: one that is slow to is taken for a browser in the foreground."""
    monkeypatch.setattr(browser, "SETTLE_S", 30)


@pytest.mark.usefixtures("all_the_time")
async def test_the_first_command_that_works_is_used(tmp_path: Path) -> None:
    fails = program(tmp_path / "fails", "exit 3")
    works = program(tmp_path / "works", f'printf %s "$1" >{tmp_path}/url')
    assert await CommandBrowser([["/no/such/browser"], [fails], [works]]).open("https://example.com/?a=b") == works
    assert (tmp_path / "url").read_text() == "https://example.com/?a=b"


@pytest.mark.usefixtures("all_the_time")
async def test_where_none_works_the_address_is_only_printed(tmp_path: Path) -> None:
    assert await CommandBrowser([[program(tmp_path / "fails", "exit 3")]]).open("https://example.com/") == "printed"
