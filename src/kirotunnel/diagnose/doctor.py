"""Everything that can break a login, looked at here and on a target: facts, then opinions, then a report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from kirotunnel.diagnose.checks import Check, Target, all_findings, check_here, check_there
from kirotunnel.diagnose.findings import Finding, finding_of, without_consequences
from kirotunnel.diagnose.probes import probe_here, probe_there
from kirotunnel.errors import KirotunnelError
from kirotunnel.profiles.profile import profile_for
from kirotunnel.ssh.config import SSHOptions
from kirotunnel.ssh.prompts import Prompts
from kirotunnel.wire.containers import Inside


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
        said = without_consequences(found for section in self.sections for found in all_findings(section.checks))
        return [
            (section.target, found)
            for section in self.sections
            for found in all_findings(section.checks)
            if found in said
        ]

    @property
    def healthy(self) -> bool:
        """Whether no finding is an error."""
        return all(found.severity != "error" for _, found in self.findings)


async def examine(
    target: str | None,
    ssh: SSHOptions,
    *,
    inside: Inside | None = None,
    cli: str,
    prompts: Prompts,
    tell: Callable[[str], None],
) -> Report:
    """Look at this machine and, where a target is given, at that. Changes nothing."""
    profile = profile_for(cli)
    here = asyncio.ensure_future(asyncio.to_thread(probe_here, profile))
    if target is None:
        return Report((Section(None, tuple(check_here(await here, profile))),))
    place = f"{inside.describe()} on {target}" if inside else target
    try:
        there = await probe_there(target, ssh, inside=inside, cli=cli, profile=profile, prompts=prompts, tell=tell)
    except KirotunnelError as exc:
        checks = [Check("connection", exc.message, (finding_of(exc),))]
    else:
        busy = frozenset((await here).ports.refused)
        checks = check_there(Target(name=place, cli=cli, profile=profile, facts=there, busy_here=busy))
    return Report((Section(None, tuple(check_here(await here, profile))), Section(place, tuple(checks))))
