"""A yes is remembered for the command and the target that it was said to, by this user only."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest

from kirotunnel.local.allowed_hosts import MAX_HOSTS, AllowedHosts


@pytest.fixture
def allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AllowedHosts:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return AllowedHosts.of_this_user()


async def test_a_yes_is_one_commands_on_one_target(allowed: AllowedHosts) -> None:
    assert allowed.of("box", "acme") == ()
    await allowed.add("box", "acme", "idp.example")
    await allowed.add("box", "acme", "idp.example:8443")
    await allowed.add("box", "other", "x.example")
    await allowed.add("stage", "acme", "y.example")
    assert AllowedHosts.of_this_user().of("box", "acme") == ("idp.example", "idp.example:8443")


async def test_the_file_is_for_nobody_else(allowed: AllowedHosts) -> None:
    await allowed.add("box", "acme", "idp.example")
    assert stat.S_IMODE(allowed.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(allowed.path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        '{"v": 2, "targets": 7}',
        '{"v": 2, "targets": {"box": 7}}',
        '{"v": 2, "targets": {"box": {"acme": "x"}}}',
        '{"v": 2, "targets": {"box": {"acme": [7]}}}',
        '{"v": 1, "commands": {"acme": ["idp.example"], "box": {"acme": ["idp.example"]}}}',
        '{"targets": {"box": {"acme": ["idp.example"]}}}',
    ],
)
async def test_what_cannot_be_read_is_nobodys_yes(allowed: AllowedHosts, text: str) -> None:
    allowed.path.parent.mkdir(parents=True)
    allowed.path.write_text(text)
    assert allowed.of("box", "acme") == ()
    await allowed.add("box", "acme", "idp.example")
    assert allowed.of("box", "acme") == ("idp.example",)


async def test_a_file_of_somebody_else_is_nobodys_yes(allowed: AllowedHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    await allowed.add("box", "acme", "idp.example")
    monkeypatch.setattr(os, "geteuid", lambda: allowed.path.stat().st_uid + 1)
    assert allowed.of("box", "acme") == ()


async def test_two_at_once_lose_nothing_and_old_ones_go(allowed: AllowedHosts) -> None:
    await asyncio.gather(*(allowed.add("box", "acme", f"h{number}.example") for number in range(20)))
    assert len(allowed.of("box", "acme")) == 20
    content = {"v": 2, "targets": {"box": {"acme": [f"h{number}.example" for number in range(MAX_HOSTS)]}}}
    allowed.path.write_text(json.dumps(content))
    await allowed.add("box", "acme", "new.example")
    assert len(allowed.of("box", "acme")) == MAX_HOSTS
    assert (allowed.of("box", "acme")[0], allowed.of("box", "acme")[-1]) == ("h1.example", "new.example")
