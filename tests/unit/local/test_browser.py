"""Which command opens a page."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from kirotunnel.errors import BrowserNotFoundError
from kirotunnel.local.browser import default_commands, parse_command, with_url

URL = "https://app.kiro.dev/signin?a=%s&b=1"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of its own, with the programs that a test puts there."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))
    return place


def install(place: Path, *names: str) -> None:
    for name in names:
        (place / name).write_text("#!/bin/sh\n")
        (place / name).chmod(0o755)


@pytest.mark.parametrize(
    ("environment", "platform", "commands"),
    [
        ({"BROWSER": "firefox"}, "linux", [["firefox"]]),
        ({"BROWSER": "firefox:chromium --new-window %s"}, "linux", [["firefox"], ["chromium", "--new-window", "%s"]]),
        ({"BROWSER": "'/opt/my browser/run' -x"}, "linux", [["/opt/my browser/run", "-x"]]),
        ({"BROWSER": "firefox"}, "darwin", [["firefox"]]),
        ({"BROWSER": "'open quote:firefox"}, "linux", [["firefox"]]),
        ({"BROWSER": ":"}, "linux", []),
        ({"BROWSER": "  "}, "darwin", [["open"]]),
        ({}, "darwin", [["open"]]),
        ({}, "win32", [["rundll32", "url.dll,FileProtocolHandler"]]),
    ],
)
def test_the_commands_to_try(environment: dict[str, str], platform: str, commands: list[list[str]]) -> None:
    assert default_commands(environment, platform) == commands


@pytest.mark.skipif(sys.platform != "linux", reason="asks for Linux's own openers")
@pytest.mark.parametrize(
    ("environment", "installed", "commands"),
    [
        ({"DISPLAY": ":0"}, ["sensible-browser", "xdg-open"], [["xdg-open"], ["sensible-browser"]]),
        ({"WAYLAND_DISPLAY": "wayland-0"}, ["x-www-browser"], [["x-www-browser"]]),
        ({"DISPLAY": ":0"}, [], []),
        ({}, ["xdg-open"], []),
        ({"DISPLAY": ""}, ["xdg-open"], []),
    ],
)
def test_the_openers_of_a_desktop(
    programs: Path, environment: dict[str, str], installed: list[str], commands: list[list[str]]
) -> None:
    install(programs, *installed)
    assert default_commands(environment, "linux") == commands


@pytest.mark.parametrize(
    ("command", "whole"),
    [
        (["firefox"], ["firefox", URL]),
        (["chromium", "--app=%s"], ["chromium", f"--app={URL}"]),
        (["sh", "%s", "%s"], ["sh", URL, URL]),
    ],
)
def test_the_address_goes_where_the_command_wants_it(command: list[str], whole: list[str]) -> None:
    assert with_url(command, URL) == whole


def test_a_named_browser_must_exist(programs: Path) -> None:
    install(programs, "firefox")
    assert parse_command("firefox --private-window") == ["firefox", "--private-window"]
    assert parse_command(f"{programs}{os.sep}firefox") == [f"{programs}{os.sep}firefox"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chromium", "the browser command 'chromium' was not found"),
        ("", "the browser command '' was not found"),
        ("'firefox", 'the browser command "\'firefox" has an open quote'),
    ],
)
def test_a_browser_that_does_not_exist_is_named(programs: Path, text: str, message: str) -> None:
    with pytest.raises(BrowserNotFoundError) as refusal:
        parse_command(text)
    assert (refusal.value.code, refusal.value.message) == ("KT102", message)
