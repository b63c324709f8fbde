"""Where this user's files are."""

from __future__ import annotations

from pathlib import Path

import pytest

from kirotunnel.directories import Kind, own_directory


@pytest.mark.parametrize("kind", ["config", "data", "state"])
def test_the_environment_says_where(kind: Kind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", str(tmp_path))
    assert own_directory(kind) == tmp_path / "kirotunnel"


@pytest.mark.parametrize("kind", ["config", "data", "state"])
@pytest.mark.parametrize("value", ["", "share", "./share"])
def test_what_is_relative_is_passed_over(kind: Kind, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", value)
    found = own_directory(kind)
    assert found.is_absolute()
    assert found.name == "kirotunnel"
