"""The embedded remote's files: keys and ssh_config for its clients; home, tools and loopback for its commands."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import asyncssh

from kirotunnel.sandbox.remote_loopback import SS_SCRIPT

CLI: Final = Path(__file__).with_name("kiro_cli.py")
"""The stand-in for the remote CLI: one file that needs only a Python."""
_SYSTEM_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Where everything of one remote is; all of it below one directory that only its owner may enter."""

    directory: Path
    home: Path
    tmp: Path
    tools: Path
    loopback: Path
    cli_log: Path
    """What the stand-in did, one JSON object a line; it holds codes and states."""
    host_key: Path
    client_key: Path
    known_hosts: Path
    ssh_config: Path

    @classmethod
    def below(cls, directory: Path) -> Self:
        """The layout; nothing is written."""
        return cls(
            directory=directory,
            home=directory / "home",
            tmp=directory / "tmp",
            tools=directory / "bin",
            loopback=directory / "loopback",
            cli_log=directory / "cli_log",
            host_key=directory / "host_key",
            client_key=directory / "client_key",
            known_hosts=directory / "known_hosts",
            ssh_config=directory / "ssh_config",
        )

    def prepare(self, cli_env: Mapping[str, str], python: str) -> tuple[asyncssh.SSHKey, asyncssh.SSHKey]:
        """Write all that does not depend on the port; the host's key and the client's."""
        commands = self.home / ".local" / "bin"
        for directory in (self.home, self.tmp, self.tools, self.loopback, commands):
            directory.mkdir(mode=0o700, parents=True)
        _write(commands / "kiro-cli", self._cli_wrapper(cli_env, python), 0o700)
        _write(self.tools / "ss", self._ss(), 0o700)
        return _new_key(self.host_key), _new_key(self.client_key)

    def publish(self, *, alias: str, port: int, user: str, host_key: asyncssh.SSHKey) -> None:
        """Write what a client needs to come in, once the port is known."""
        public = host_key.export_public_key().decode("ascii").strip()
        _write(self.known_hosts, f"[127.0.0.1]:{port} {public}\n", 0o600)
        lines = [
            f"Host {alias}",
            "    HostName 127.0.0.1",
            f"    Port {port}",
            f"    User {user}",
            f"    IdentityFile {_ssh_quoted(self.client_key)}",
            "    IdentitiesOnly yes",
            f"    UserKnownHostsFile {_ssh_quoted(self.known_hosts)}",
            "    StrictHostKeyChecking yes",
        ]
        _write(self.ssh_config, "\n".join(lines) + "\n", 0o600)

    def environment(self, user: str) -> dict[str, str]:
        """What every command of the remote finds, before SSH adds its own."""
        # Without ~/.local/bin: `ssh HOST COMMAND` reads no profile, so on real machines it is not on PATH either.
        return {
            "HOME": str(self.home),
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/sh",
            "PATH": f"{self.tools}:{_SYSTEM_PATH}",
            "TMPDIR": str(self.tmp),
            "LANG": "C.UTF-8",
        }

    def _cli_wrapper(self, cli_env: Mapping[str, str], python: str) -> str:
        log = {"KIRO_STANDIN_LOG": str(self.cli_log)}
        variables = {**log, **cli_env, "KIRO_STANDIN_LOOPBACK": str(self.loopback)}
        exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        # -I: neither PYTHON* of the caller nor the modules beside the script can get in the way of its imports.
        return "\n".join(["#!/bin/sh", *exports, f'exec {shlex.quote(python)} -I {shlex.quote(str(CLI))} "$@"', ""])

    def _ss(self) -> str:
        script = SS_SCRIPT.replace("@DIRECTORY@", shlex.quote(str(self.loopback)))
        return script.replace("@SERVER@", str(os.getpid()))


def _new_key(path: Path) -> asyncssh.SSHKey:
    key = asyncssh.generate_private_key("ssh-ed25519")
    _write(path, key.export_private_key().decode("ascii"), 0o600)
    return key


def _write(path: Path, text: str, mode: int) -> None:
    # The mode is there from the first moment: a key that was readable for a while is refused by ssh, and rightly.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _ssh_quoted(path: Path) -> str:
    # `ssh -G` prints these without their quotes again, so they are there only where a space needs them.
    text = str(path).replace("%", "%%")
    return f'"{text}"' if " " in text else text
