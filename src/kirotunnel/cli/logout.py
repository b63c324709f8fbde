"""`kirotunnel logout`: sign out of this machine's own session."""

from __future__ import annotations

from typing import Any

import click

from kirotunnel.cli.options import output_options
from kirotunnel.cli.sessions import choice_of, choice_options, make_sessions


@click.command("logout")
@choice_options
@output_options
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Sign out on this machine: the session is deleted here first, then revoked at the service where that can be."""
    chosen = ctx.params
    from kirotunnel.cli.running import make_conversation, run_flow
    from kirotunnel.errors import NobodySignedInError

    conversation = make_conversation(None, as_json=chosen["as_json"], verbose=chosen["verbose"], quiet=chosen["quiet"])

    async def flow() -> int:
        try:
            result = await make_sessions(conversation).end(choice_of(chosen))
        except NobodySignedInError as exc:
            conversation.tell(exc.message)
            return 0
        who = result.account.describe()
        if result.revoked:
            conversation.tell(f"signed out {who}: deleted here, and revoked at the service")
        else:
            conversation.tell(f"signed out {who}: deleted here, but not revoked at the service ({result.why_not})")
        for other in result.remaining:
            conversation.tell(f"still kept: {other.describe()}; `kirotunnel login --method …` makes it the current one")
        return 0

    return run_flow(None, conversation, flow, verbose=chosen["verbose"])
