"""`kirotunnel logout`: sign out of this machine's own session, or have the CLI on targets sign out."""

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
    from kirotunnel.flows.session import LogoutResult


@click.command("logout")
@targets_options
@cli_option
@choice_options
@reaching_options
@output_options
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Sign out on this machine, or the CLI on each TARGET.

    Here the session is deleted first, then revoked at the service where that can be. There the CLI's own logout is
    run, and its whoami asked afterwards.
    """
    chosen = ctx.params
    if names_targets(chosen):
        refuse_choice(ctx)
        return run_on_targets(ctx, _SIGN_OUT)
    from kirotunnel.cli.running import run_flow
    from kirotunnel.errors import NobodySignedInError

    conversation = conversation_about(None, chosen)

    async def flow() -> int:
        refuse_options_of_targets(ctx)
        try:
            result = await make_sessions(conversation).end(choice_of(chosen))
        except NobodySignedInError as exc:
            conversation.tell(exc.message)
            return 0
        conversation.tell(_words(result, "here"))
        for other in result.remaining:
            conversation.tell(f"still kept: {other.describe()}; `kirotunnel login --method …` makes it the current one")
        return 0

    return run_flow(None, conversation, flow, verbose=chosen["verbose"])


def _words(result: LogoutResult, where: str) -> str:
    who = result.account.describe()
    if result.revoked:
        return f"signed out {who}: deleted {where}, and revoked at the service"
    return f"signed out {who}: deleted {where}, but not revoked at the service ({result.why_not})"


async def _sign_out(options: RemoteOptions, environment: Environment) -> Done:
    from kirotunnel.errors import NobodySignedInError
    from kirotunnel.flows.remote_account import remote_logout

    try:
        result = await remote_logout(options, environment)
    except NobodySignedInError:
        return Done(ok=True, words="nobody was signed in", where=options.place)
    return Done(ok=True, words=_words(result, "there"), where=options.place)


_SIGN_OUT = Errand(
    prepare=remote_options,
    environment=remote_environment,
    perform=_sign_out,
    sum=lambda well, of: f"{well} of {of} are signed out",
)
