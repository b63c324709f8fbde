"""Everything that can break a login, looked at here and on a target: facts, then opinions, then a report."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from kirotunnel.diagnose.checks import Check, Target, all_findings, check_here, check_there
from kirotunnel.diagnose.findings import Finding, finding_of, without_consequences
from kirotunnel.diagnose.probes import ExamineOptions, HereFacts, look_there, probe_here
from kirotunnel.errors import KirotunnelError
from kirotunnel.profiles.profile import profile_for
from kirotunnel.ssh.session import Session


@dataclass(frozen=True, slots=True)
class Section:
    """One end of the report."""

    target: str | None
    """None for this machine."""
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What doctor has to say."""

    sections: tuple[Section, ...]

    @property
    def findings(self) -> list[tuple[str | None, Finding]]:
        """Each finding with the end that it is about; consequences of others are left out."""
        here = [section for section in self.sections if section.target is None]
        targets = [section for section in self.sections if section.target is not None]
        # A target's trouble explains what follows from it there, and here if there is no other.
        said: list[tuple[str | None, Finding]] = [
            (None, found) for found in _said(here, targets if len(targets) == 1 else [])
        ]
        for section in targets:
            said += [(section.target, found) for found in _said([section], here)]
        return said

    @property
    def healthy(self) -> bool:
        """Whether no finding is an error."""
        return all(found.severity != "error" for _, found in self.findings)

    def is_healthy(self, end: str | None) -> bool:
        """Whether no finding about that end is an error."""
        return all(found.severity != "error" for where, found in self.findings if where == end)


def _said(sections: Sequence[Section], beside: Sequence[Section]) -> list[Finding]:
    """The findings of these sections that are no consequence of another there, or in those beside."""
    mine = [found for section in sections for found in all_findings(section.checks)]
    others = [found for section in beside for found in all_findings(section.checks)]
    kept = without_consequences([*mine, *others])
    return [found for found in mine if found in kept]


async def look_here(cli: str) -> HereFacts:
    """The facts of this machine."""
    return await asyncio.to_thread(probe_here, profile_for(cli))


def section_here(facts: HereFacts, cli: str) -> Section:
    """What is to be said of this machine."""
    return Section(None, tuple(check_here(facts, profile_for(cli))))


async def examine(
    options: ExamineOptions, reaching: AbstractAsyncContextManager[Session], here: Awaitable[HereFacts]
) -> Section:
    """Look at a target, reached as a login would, and judge it with what is known of this machine by then.

    Changes nothing; of an EC2 instance that takes none of the person's keys only the one-time key, as in a login.
    """
    profile = profile_for(options.cli)
    try:
        async with reaching as session:
            there = await look_there(session, cli=options.cli, profile=profile)
    except KirotunnelError as exc:
        return Section(options.place, (Check("connection", exc.message, (finding_of(exc),)),))
    ports = (await here).ports
    busy = frozenset(ports.refused) - ports.shared
    target = Target(name=options.place, cli=options.cli, profile=profile, facts=there, busy_here=busy)
    return Section(options.place, tuple(check_there(target)))
