"""`kirotunnel token`: an access token that can be used now, and nothing else, on stdout."""

from __future__ import annotations

from typing import Any

import click

from kirotunnel.cli.sessions import choice_of, choice_options, make_sessions


@click.command("token")
@choice_options
@click.option("-v", "--verbose", count=True, help="More on stderr; -vv for all.")
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Print this machine's access token, renewed if it ends within a minute.

    There is no --json: no event and no log ever has a token in it.
    """
    chosen = ctx.params
    from kirotunnel.cli.running import make_conversation, run_flow

    conversation = make_conversation(None, as_json=False, verbose=chosen["verbose"], quiet=False)

    async def flow() -> int:
        session = await make_sessions(conversation).fresh(choice_of(chosen))
        click.echo(session.tokens.access_token.reveal())
        return 0

    return run_flow(None, conversation, flow, verbose=chosen["verbose"])
