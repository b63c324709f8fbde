"""Who a CLI on a target is signed in as, and signing it out there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from kirotunnel import events as ev
from kirotunnel.errors import CLINotFoundError, LoginTimedOutError, NobodySignedInError, StillSignedInError
from kirotunnel.flows.environment import Environment
from kirotunnel.flows.reach import reach
from kirotunnel.flows.session import LogoutResult
from kirotunnel.profiles.profile import Profile, profile_for
from kirotunnel.ssh.control import ControlShell
from kirotunnel.targets.options import TargetOptions
from kirotunnel.wire.records import RemoteFacts
from kirotunnel.wire.whoami import parse_revoked

TIMEOUT_S: Final = 300.0
"""Seconds for all of it: a whoami that renews a session first may take a minute, and a person may be asked for keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions(TargetOptions):
    """Which CLI is meant, and how it is reached."""

    cli: str = "kiro-cli"
    timeout_s: float = TIMEOUT_S
    """Seconds for all of it."""


async def remote_whoami(options: RemoteOptions, environment: Environment) -> ev.Account | None:
    """Who the CLI there says is signed in; None for nobody. Raises KirotunnelError."""
    async with _looked_around(options, environment) as (_, facts):
        if facts.account is not None:
            environment.conversation.event(ev.SignedIn(account=facts.account))
        return facts.account


async def remote_logout(options: RemoteOptions, environment: Environment) -> LogoutResult:
    """Have the CLI there sign out, and ask it afterwards who is signed in.

    Its logout is run even where its whoami names nobody: a session that could not be renewed is kept by kiro-cli, and
    counts as nobody's. Raises NobodySignedInError then, StillSignedInError where somebody is signed in after all.
    """
    async with _looked_around(options, environment) as (shell, facts):
        said, left = await shell.logout()
        where = f"{options.cli} on {options.place}"
        if left is not None:
            raise StillSignedInError(f"{where} is signed in as {left.describe()} after its logout")
        if facts.account is None:
            raise NobodySignedInError(f"nobody is signed in with {where}", "there is nothing to sign out of")
        revoked, why_not = judge_revocation(profile_for(options.cli), facts, said)
        environment.conversation.event(ev.SignedOut(revoked=revoked))
        return LogoutResult(account=facts.account, revoked=revoked, why_not=why_not)


def judge_revocation(profile: Profile, facts: RemoteFacts, said: str) -> tuple[bool, str]:
    """Whether the CLI's logout ended the session at the service, and why not: by its own word, else by its profile.

    What the service answered is known to the CLI at most; kiro-cli does not look.
    """
    own_word = parse_revoked(said)
    if own_word is not None:
        return own_word, "" if own_word else "its own logout says so"
    kind = facts.account.type if facts.account else None
    if kind not in profile.revokes:
        return False, f"{profile.name} only deletes such a session"
    if facts.version is None or facts.version < profile.revokes_since:
        return False, f"{profile.name} does that from {'.'.join(map(str, profile.revokes_since))} on"
    return True, ""


@contextlib.asynccontextmanager
async def _looked_around(
    options: RemoteOptions, environment: Environment
) -> AsyncIterator[tuple[ControlShell, RemoteFacts]]:
    """A control shell on the target, and what it found. Nothing is made there."""
    profile = profile_for(options.cli)
    profile.must_say("whoami", "logout")
    try:
        async with asyncio.timeout(options.timeout_s):
            async with reach(options, environment) as session:
                shell = ControlShell(session)
                try:
                    facts = await shell.look_around(cli=options.cli, profile=profile, prepare="never", lease_s=0)
                    if facts.cli is None:
                        raise CLINotFoundError(f"{options.cli} was not found on {options.place}")
                    environment.conversation.event(
                        ev.RemoteCli(path=facts.cli, version=facts.version_text, signed_in=facts.account is not None)
                    )
                    yield shell, facts
                finally:
                    shell.let_go()
    except TimeoutError as exc:
        raise LoginTimedOutError(
            f"{options.place} did not say in time who is signed in",
            "check the connection with `kirotunnel doctor`, and run the command again",
        ) from exc
