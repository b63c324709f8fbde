"""The files that ssh reads where -F names none, in its order, and whom it lets write to them.

ssh knows only the account's home, whatever HOME says: it runs on the laboratory's machine, and our reader is told that
its home is that one's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from kirotunnel.errors import SSHConfigError
from kirotunnel.ssh.config import Endpoint, SSHOptions, resolve_endpoint
from lab.remote import RemoteMachine

Ask = Callable[[], dict[str, str] | None]


@pytest.fixture
def ssh(remote: RemoteMachine) -> Ask:
    """What ssh there makes of `box`; None where it refuses to."""

    def ask() -> dict[str, str] | None:
        done = remote.run(["ssh", "-G", "box"])
        pairs = (line.partition(" ") for line in done.stdout.splitlines())
        return {key: value for key, _, value in pairs} if done.returncode == 0 else None

    return ask


@pytest.fixture
def home(remote: RemoteMachine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home there, for our reader without OpenSSH as well."""
    monkeypatch.setattr("kirotunnel.ssh.config_text.home", lambda: remote.path("/root"))
    monkeypatch.setattr("kirotunnel.ssh.config_text.SYSTEM_CONFIG", remote.path("/etc/ssh/ssh_config"))
    remote.write("/root/.ssh/config", "", mode=0o600)
    remote.cover("/etc/ssh/ssh_config", "Host *\n  User system\n  Port 9\n  ConnectTimeout 7\n")
    return remote.path("/root")


async def without_openssh(target: str, options: SSHOptions) -> Endpoint:
    with patch.object(shutil, "which", lambda _: None):
        return await resolve_endpoint(target, options)


async def test_the_persons_own_file_comes_before_the_systems(remote: RemoteMachine, home: Path, ssh: Ask) -> None:
    remote.write("/root/.ssh/config", "Host box\n  User ada\nInclude more/*\n", mode=0o600)
    remote.write("/root/.ssh/more/one", "Host box\n  Port 2022\n")
    theirs, ours = ssh(), await without_openssh("box", SSHOptions())
    assert theirs is not None
    assert (ours.user, ours.port, ours.connect_timeout_s) == ("ada", 2022, 7)
    assert (theirs["user"], theirs["port"], theirs["connecttimeout"]) == ("ada", "2022", "7")


async def test_a_file_that_is_named_replaces_both(remote: RemoteMachine, home: Path, tmp_path: Path) -> None:
    remote.write("/root/.ssh/config", "Host box\n  User ada\n", mode=0o600)
    (tmp_path / "other").write_text("Host box\n  Port 2022\n")
    ours = await without_openssh("box", SSHOptions(config_file=str(tmp_path / "other"), user="me"))
    assert (ours.user, ours.port, ours.connect_timeout_s) == ("me", 2022, None)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o660, 0o666])
@pytest.mark.parametrize("file", ["/root/.ssh/config", "/root/.ssh/more"])
async def test_who_else_may_write_to_them(remote: RemoteMachine, home: Path, ssh: Ask, file: str, mode: int) -> None:
    remote.write("/root/.ssh/config", "Include more\nHost box\n  User ada\n", mode=0o600)
    remote.write("/root/.ssh/more", "Host box\n  Port 2022\n", mode=0o600)
    remote.path(file).chmod(mode)
    if mode & 0o022:
        # Debian's ssh alone takes a file that the owner's private group may write to. Ours refuses it, as OpenSSH does.
        assert ssh() is None or mode == 0o660
        with pytest.raises(SSHConfigError, match=f"bad owner or permissions on .*{file}") as caught:
            await without_openssh("box", SSHOptions())
        assert "chmod go-w" in caught.value.hint
    else:
        assert ssh() is not None
        assert (await without_openssh("box", SSHOptions())).port == 2022


async def test_a_file_of_somebody_else(remote: RemoteMachine, home: Path, ssh: Ask) -> None:
    remote.write("/root/.ssh/config", "Host box\n  User ada\n", mode=0o644, owner="dash")
    assert ssh() is None
    with pytest.raises(SSHConfigError, match="bad owner or permissions"):
        await without_openssh("box", SSHOptions())


async def test_no_file_at_all(remote: RemoteMachine, home: Path, ssh: Ask) -> None:
    remote.path("/root/.ssh/config").unlink()
    theirs, ours = ssh(), await without_openssh("box", SSHOptions())
    assert theirs is not None
    assert (ours.user, ours.port) == (theirs["user"], int(theirs["port"])) == ("system", 9)
