"""`kirotunnel whoami`: who is signed in, on this machine or with the CLI on targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kirotunnel.cli.errand import Done, Errand
from kirotunnel.cli.options import cli_option, output_options, reaching_options, targets_options
from kirotunnel.cli.sessions import (
    choice_of,
    choice_options,
    make_sessions,
    refuse_choice,
    remote_environment,
    remote_options,
)
from kirotunnel.cli.several import conversation_about, names_targets, refuse_options_of_targets, run_on_targets

if TYPE_CHECKING:
    from kirotunnel.flows.environment import Environment
    from kirotunnel.flows.remote_account import RemoteOptions


@click.command("whoami")
@targets_options
@cli_option
@choice_options
@reaching_options
@output_options
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Say who is signed in on this machine, or with the CLI on each TARGET; exit code 1 when nobody is.

    A session that has run out is renewed first: one that cannot be renewed is nobody's.
    """
    chosen = ctx.params
    if names_targets(chosen):
        refuse_choice(ctx)
        return run_on_targets(ctx, _ASK)
    from kirotunnel import events as ev
    from kirotunnel.cli.running import run_flow

    conversation = conversation_about(None, chosen)

    async def flow() -> int:
        refuse_options_of_targets(ctx)
        account = await make_sessions(conversation).whoami(choice_of(chosen))
        if account is None:
            return 1
        conversation.event(ev.SignedIn(account=account))
        if not chosen["as_json"]:
            click.echo(account.describe())
        return 0

    return run_flow(None, conversation, flow, verbose=chosen["verbose"])


async def _ask(options: RemoteOptions, environment: Environment) -> Done:
    from kirotunnel.flows.remote_account import remote_whoami

    account = await remote_whoami(options, environment)
    if account is None:
        return Done(ok=False, words="nobody is signed in", where=options.place)
    return Done(ok=True, words=f"signed in as {account.describe()}", answer=account.describe(), where=options.place)


_ASK = Errand(
    prepare=remote_options,
    environment=remote_environment,
    perform=_ask,
    sum=lambda well, of: f"{well} of {of} are signed in",
)
