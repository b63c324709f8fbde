"""What the connections of one run share: keys unlocked once, host keys asked about once, a pace for each server."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Final

import asyncssh

from kirotunnel.ssh.identities import UnlockedKeys

HANDSHAKES: Final = 6
"""Connections to one server that are being made: sshd drops some from the eleventh on (MaxStartups 10:30:100), and
counts those that are authenticated for a moment longer."""
PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a server that closed the connection without a word is asked again: others come to it as well."""


class Company:
    """Shared by connections that are made side by side in one event loop."""

    def __init__(self) -> None:
        self.keys = UnlockedKeys()
        self._doors: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(HANDSHAKES))
        self._judging: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._answers: dict[tuple[str, bytes], bool] = {}

    def door(self, server: str) -> asyncio.Semaphore:
        """Held while a connection to that server is made."""
        return self._doors[server]

    def judging(self, name: str) -> asyncio.Lock:
        """Held while a host key of that name is judged: the next one finds it known then."""
        return self._judging[name]

    def answer(self, name: str, key: asyncssh.SSHKey) -> bool | None:
        """What was said of that host key in this run; None where nobody was asked yet."""
        return self._answers.get((name, key.public_data))

    def answered(self, name: str, key: asyncssh.SSHKey, *, trusted: bool) -> None:
        """Remember what was said of that host key."""
        self._answers[name, key.public_data] = trusted
