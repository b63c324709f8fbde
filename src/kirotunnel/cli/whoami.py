"""`kirotunnel whoami`: who is signed in on this machine."""

from __future__ import annotations

from typing import Any

import click

from kirotunnel.cli.options import output_options
from kirotunnel.cli.sessions import choice_of, choice_options, make_sessions


@click.command("whoami")
@choice_options
@output_options
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Say who is signed in on this machine; exit code 1 when nobody is.

    A session that has run out is renewed first: one that cannot be renewed is nobody's.
    """
    chosen = ctx.params
    from kirotunnel import events as ev
    from kirotunnel.cli.running import make_conversation, run_flow

    conversation = make_conversation(None, as_json=chosen["as_json"], verbose=chosen["verbose"], quiet=chosen["quiet"])

    async def flow() -> int:
        account = await make_sessions(conversation).whoami(choice_of(chosen))
        if account is None:
            return 1
        conversation.event(ev.SignedIn(account=account))
        if not chosen["as_json"]:
            click.echo(account.describe())
        return 0

    return run_flow(None, conversation, flow, verbose=chosen["verbose"])
