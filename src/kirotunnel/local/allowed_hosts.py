"""The hosts of sign-in pages that the person has said yes to: asked about once for each command of a target, then kept.

A file of this user's own state; without it, or where it cannot be read, people are asked again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from kirotunnel.directories import own_directory
from kirotunnel.local.file_lock import file_lock
from kirotunnel.local.whole_file import replace_file

MAX_HOSTS: Final = 200
"""Hosts that are kept of one command of a target; the oldest go."""
MAX_FILE: Final = 1024 * 1024
_PATIENCE_S: Final = 3.0
_VERSION: Final = 2
"""1 was by command alone: a yes to a tool on one machine was one to whatever calls itself so on another."""


class AllowedHosts:
    """The file; `of_this_user` says where it is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_this_user(cls) -> AllowedHosts:
        """The file in this user's state directory."""
        return cls(own_directory("state") / "allowed-hosts.json")

    def of(self, target: str, command: str) -> tuple[str, ...]:
        """`HOST` or `HOST:PORT` of each page that this command of that target, as it was typed, may open."""
        return tuple(self._read().get(target, {}).get(command, ()))

    async def add(self, target: str, command: str, authority: str) -> None:
        """Remember one more. Raises OSError, or SettingsError, where it cannot be kept."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with file_lock(self.path.with_suffix(".lock"), _PATIENCE_S):
            known = self._read()
            commands = known.setdefault(target, {})
            hosts = [host for host in commands.get(command, []) if host != authority]
            commands[command] = [*hosts, authority][-MAX_HOSTS:]
            replace_file(self.path, json.dumps({"v": _VERSION, "targets": known}, indent=1))

    def _read(self) -> dict[str, dict[str, list[str]]]:
        try:
            with self.path.open("rb") as file:
                if os.name != "nt" and os.fstat(file.fileno()).st_uid != os.geteuid():
                    return {}  # somebody else's word is no yes of this person's
                content = json.loads(file.read(MAX_FILE))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(content, dict) or content.get("v") != _VERSION:
            return {}
        targets = content.get("targets")
        if not isinstance(targets, dict):
            return {}
        return {
            target: {
                name: [host for host in hosts if isinstance(host, str)]
                for name, hosts in commands.items()
                if isinstance(hosts, list)
            }
            for target, commands in targets.items()
            if isinstance(commands, dict)
        }
