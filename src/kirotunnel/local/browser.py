"""This machine's browser: which command opens a URL, and starting it without letting it write on our terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from kirotunnel.errors import BrowserNotFoundError

SETTLE_S: Final = 0.7
"""Seconds in which an opener that cannot open says so; one that stays longer is a browser in the foreground."""
_LINUX_OPENERS: Final = ("xdg-open", "x-www-browser", "sensible-browser")


class Browser(Protocol):
    """Something that opens pages."""

    async def open(self, url: str) -> str:
        """Open the page. Returns how: the command, or `printed` where nothing could be started."""


class PrintedOnly:
    """No browser: the URL is printed, and the person does the rest."""

    async def open(self, url: str) -> str:
        """Opens nothing."""
        return "printed"


class CommandBrowser:
    """A browser that is started by a command; the first of several that works is used."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._commands = commands

    async def open(self, url: str) -> str:
        """Start the command in a session of its own, so that Ctrl-C here does not end the browser."""
        for command in self._commands:
            if await asyncio.to_thread(_start, with_url(command, url)):
                return command[0]
        return "printed"


def _start(command: Sequence[str]) -> bool:
    """Whether the command opened the page, or is still about it."""
    # Not asyncio's subprocess: since Python 3.12 its transport kills a child that outlives the event loop.
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    try:
        return process.wait(SETTLE_S) == 0
    except subprocess.TimeoutExpired:
        process.returncode = 0  # it is the person's from now on; Popen would warn that it was not waited for
        return True


class DefaultBrowser(CommandBrowser):
    """The person's own choice by $BROWSER, else what the system opens pages with."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(default_commands(os.environ if environment is None else environment, sys.platform))


def with_url(command: Sequence[str], url: str) -> list[str]:
    """The command with the URL at its `%s`, or as its last argument."""
    if any("%s" in part for part in command):
        return [part.replace("%s", url) for part in command]
    return [*command, url]


def parse_command(text: str) -> list[str]:
    """A command as given by --browser. Raises BrowserNotFoundError where it cannot be run."""
    try:
        command = shlex.split(text, posix=os.name != "nt")
    except ValueError as exc:
        raise BrowserNotFoundError(f"the browser command {text!r} has an open quote") from exc
    if not command or shutil.which(command[0]) is None:
        raise BrowserNotFoundError(f"the browser command {text!r} was not found")
    return command


def default_commands(environment: Mapping[str, str], platform: str) -> list[list[str]]:
    """The commands to try, in order; empty where pages can only be printed.

    $BROWSER is a list of commands separated by colons, each with an optional %s (as xdg-open and Python read it).
    """
    if chosen := environment.get("BROWSER", "").strip():
        commands = []
        for text in chosen.split(os.pathsep):
            with contextlib.suppress(ValueError):
                if command := shlex.split(text):
                    commands.append(command)
        return commands
    if platform == "darwin":
        return [["open"]]
    if platform == "win32":
        return [["rundll32", "url.dll,FileProtocolHandler"]]
    if _is_wsl():
        return [["wslview"], ["explorer.exe"]]
    if not environment.get("DISPLAY") and not environment.get("WAYLAND_DISPLAY"):
        return []  # xdg-open would start a text browser on the terminal that the person is talking to us on
    return [[name] for name in _LINUX_OPENERS if shutil.which(name)]


def _is_wsl() -> bool:
    try:
        return "microsoft" in Path("/proc/sys/kernel/osrelease").read_text(encoding="ascii", errors="replace").lower()
    except OSError:
        return False
