"""Whom the SSH room asks when it needs a person."""

from __future__ import annotations

from typing import Protocol

from kirotunnel.redaction import Secret


class Prompts(Protocol):
    """A person at a terminal, or nobody."""

    async def secret(self, question: str) -> Secret[str] | None:
        """What the person typed, unseen; None where nobody can be asked."""

    async def answer(self, question: str) -> str | None:
        """What the person typed; None where nobody can be asked."""

    async def confirm(self, question: str) -> bool | None:
        """Yes or no; None where nobody can be asked."""


class Nobody:
    """No person is there: every question stays without an answer."""

    async def secret(self, question: str) -> Secret[str] | None:
        """Nobody answers."""
        return None

    async def answer(self, question: str) -> str | None:
        """Nobody answers."""
        return None

    async def confirm(self, question: str) -> bool | None:
        """Nobody answers."""
        return None
