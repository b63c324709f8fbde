"""Who is asked, and how a connection is made in these tests."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kirotunnel.redaction import Secret
from kirotunnel.ssh.config import SSHOptions, resolve_endpoint
from kirotunnel.ssh.connection import SSHSession, connect
from kirotunnel.ssh.prompts import Nobody, Prompts


@dataclass
class Person:
    """Answers questions that match a pattern, and remembers all that was asked."""

    answers: Mapping[str, str | bool]
    asked: list[str] = field(default_factory=list)

    def _find(self, question: str) -> str | bool | None:
        self.asked.append(question)
        return next((answer for pattern, answer in self.answers.items() if re.search(pattern, question)), None)

    async def secret(self, question: str) -> Secret[str] | None:
        found = self._find(question)
        return None if found is None else Secret(str(found))

    async def answer(self, question: str) -> str | None:
        found = self._find(question)
        return None if found is None else str(found)

    async def confirm(self, question: str) -> bool | None:
        found = self._find(question)
        return None if found is None else bool(found)


@dataclass
class Route:
    """An SSH config by which targets are reached."""

    config: Path
    told: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def to(self, target: str, *options: str, prompts: Prompts | None = None) -> AsyncIterator[SSHSession]:
        given = SSHOptions(config_file=str(self.config), options=options)
        endpoint = await resolve_endpoint(target, given)
        async with connect(endpoint, prompts or Nobody(), self.told.append) as session:
            yield session

    async def user_at(self, target: str, *options: str, prompts: Prompts | None = None) -> str:
        """Connect, and give who one is there."""
        async with self.to(target, *options, prompts=prompts) as session:
            process = await session.start("id -un")
            return (await process.stdout.read()).decode().strip()
