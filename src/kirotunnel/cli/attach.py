"""`kirotunnel attach`: options in, the flow called, its end said."""

from __future__ import annotations

from typing import Any

import click

from kirotunnel.cli.completion import complete_target
from kirotunnel.cli.options import (
    cli_option,
    fill_from_settings,
    inside_of,
    of_target,
    output_options,
    reaching_options,
    target_name,
    timeout_option,
    trust_option,
    trusted_hosts_of,
)
from kirotunnel.cli.several import conversation_about


@click.command("attach")
@click.argument("target", required=False, shell_complete=complete_target)
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", help="The callback port that the login shows.")
@cli_option
@trust_option("Also let the CLI's answer send the browser to this host; repeatable.")
@timeout_option("For the callback to come.")
@reaching_options
@output_options
@click.pass_context
def command(ctx: click.Context, /, target: str | None, **_: Any) -> int:
    """Help a login that waits already in another terminal on TARGET.

    Finds the port on which it waits for its callback, opens the tunnel, and ends it when the callback has arrived.
    """
    chosen = ctx.params
    name = target_name(ctx, target)
    if name is None:
        raise click.UsageError("Missing argument 'TARGET'.", ctx)
    from kirotunnel.cli.running import run_flow
    from kirotunnel.flows.attach import AttachOptions, attach
    from kirotunnel.flows.environment import Environment
    from kirotunnel.local.terminal import Terminal
    from kirotunnel.ssh.prompts import Nobody

    conversation = conversation_about(name, chosen)

    async def flow() -> int:
        fill_from_settings(ctx, name)
        options = AttachOptions(
            **of_target(chosen | {"target": name, "inside": inside_of(ctx)}),
            cli=chosen["cli"],
            port=chosen["port"],
            trusted_hosts=trusted_hosts_of(chosen),
            timeout_s=chosen["timeout"],
        )
        terminal = Terminal.detect()
        environment = Environment(conversation=conversation, prompts=terminal or Nobody(), terminal=terminal)
        await attach(options, environment)
        conversation.tell(
            f"the callback was delivered to {options.place}; the other terminal says whether it is signed in"
        )
        return 0

    return run_flow(name, conversation, flow, verbose=chosen["verbose"])
