"""`kirotunnel attach`: options in, the flow called, its end said."""

from __future__ import annotations

from typing import Any

import click

from kirotunnel.cli.completion import complete_target
from kirotunnel.cli.options import (
    container_options,
    ec2_options,
    ec2_options_of,
    fill_from_settings,
    inside_of,
    output_options,
    ssh_options,
    ssh_options_of,
    target_name,
)


@click.command("attach")
@click.argument("target", required=False, shell_complete=complete_target)
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", help="The callback port that the login shows.")
@click.option("--cli", default="kiro-cli", show_default=True, metavar="COMMAND", help="The remote CLI: name or path.")
@click.option(
    "--trust-url-host",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Also let the CLI's answer send the browser to this host; repeatable.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="For the callback to come.",
)
@ssh_options
@ec2_options
@container_options
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
    from kirotunnel.cli.running import make_conversation, run_flow
    from kirotunnel.flows.attach import AttachOptions, attach
    from kirotunnel.flows.environment import Environment
    from kirotunnel.local.terminal import Terminal
    from kirotunnel.ssh.prompts import Nobody
    from kirotunnel.wire.redirect import TrustedHost

    conversation = make_conversation(name, as_json=chosen["as_json"], verbose=chosen["verbose"], quiet=chosen["quiet"])

    async def flow() -> int:
        fill_from_settings(ctx, name)
        options = AttachOptions(
            target=name,
            ssh=ssh_options_of(chosen),
            ec2=ec2_options_of(chosen),
            inside=inside_of(ctx),
            cli=chosen["cli"],
            port=chosen["port"],
            trusted_hosts=tuple(TrustedHost.parse(text) for text in chosen["trust_url_host"]),
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
