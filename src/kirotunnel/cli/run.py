"""`kirotunnel run`: options in, the flow called, the command's exit code out."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from kirotunnel.cli.completion import complete_target
from kirotunnel.cli.options import (
    browser_options,
    fill_from_settings,
    inside_of,
    of_target,
    reaching_options,
    target_name,
    timeout_option,
    trust_option,
    trusted_hosts_of,
)

if TYPE_CHECKING:
    from kirotunnel.flows.environment import Conversation, Environment
    from kirotunnel.flows.run import RunOptions


class _WithCommand(click.Command):
    """Our options anywhere before `--`; without one, as with ssh, before TARGET only."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.allow_interspersed_args = at < len(args)
        left = super().parse_args(ctx, args[:at])
        if at < len(args):
            if extra := ctx.params.get("words"):
                raise click.UsageError(f"Got unexpected extra argument ({extra[0]}) before --", ctx)
            ctx.params["words"] = tuple(args[at + 1 :])
        return left


@click.command("run", cls=_WithCommand)
@click.argument("target", required=False, shell_complete=complete_target)
@click.argument("words", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED)
@browser_options
@trust_option("Open pages on this host without asking, http included; repeatable.")
@click.option("--profile", metavar="NAME", help="What is known of COMMAND [default: the profile that recognises it].")
@click.option(
    "-t", "terminal", flag_value=True, type=bool, default=None, help="A terminal for the command in any case."
)
@click.option("-T", "terminal", flag_value=False, type=bool, help="No terminal for the command.")
@timeout_option("End the command after this time [default: never].", None)
@click.option("--dry-run", is_flag=True, help="Print the plan and connect to nothing.")
@click.option("--json", "as_json", is_flag=True, hidden=True)
@click.option("-v", "--verbose", count=True, help="More on stderr; -vv for all.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors, and the address to open, on stderr.")
@reaching_options
@click.pass_context
def command(ctx: click.Context, /, target: str | None, words: tuple[str, ...], **_: Any) -> int:
    """Run COMMAND on TARGET as `ssh -t` does, with its browser and the callbacks of its logins brought here.

    Several words after -- are the command to the letter; a single one is a line for your shell there, as with ssh:
    kirotunnel run dev-box -- wrangler login, or kirotunnel run dev-box -- 'cd app && npm run login'. Its exit code is
    passed on. On a terminal, ~. at the beginning of a line ends it.
    """
    chosen = ctx.params
    if chosen["as_json"]:
        raise click.UsageError("--json is not for run: what is on stdout is the command's own", ctx)
    name = target_name(ctx, target)
    if name is None:
        raise click.UsageError("Missing argument 'TARGET'.", ctx)
    if not words:
        raise click.UsageError("Missing argument '-- COMMAND...'.", ctx)
    from kirotunnel.cli.running import make_conversation, run_flow

    conversation = make_conversation(name, as_json=False, verbose=chosen["verbose"], quiet=chosen["quiet"])

    async def flow() -> int:
        fill_from_settings(ctx, name)
        options = run_options(chosen | {"target": name, "inside": inside_of(ctx)})
        environment = make_environment(chosen, conversation)
        if chosen["dry_run"]:
            click.echo(await _plan(options))
            return 0
        from kirotunnel.flows.run import run

        return await run(options, environment)

    return run_flow(name, conversation, flow, verbose=chosen["verbose"])


def run_options(chosen: dict[str, Any]) -> RunOptions:
    """The flow's options from the command's parameters."""
    from kirotunnel.flows.run import RunOptions

    return RunOptions(
        **of_target(chosen),
        command=chosen["words"],
        terminal=chosen["terminal"],
        profile=chosen["profile"],
        trusted_hosts=trusted_hosts_of(chosen),
        timeout_s=chosen["timeout"],
    )


def make_environment(chosen: dict[str, Any], conversation: Conversation) -> Environment:
    """The real world: keys come from where standard input is a terminal, answers only where stderr is one as well."""
    import dataclasses
    import os
    import sys

    from kirotunnel.cli.login import make_environment as make
    from kirotunnel.local.allowed_hosts import AllowedHosts
    from kirotunnel.local.terminal import Terminal
    from kirotunnel.ssh.prompts import Nobody

    environment = make({**chosen, "quiet": False, "paste": False}, conversation)
    environment = dataclasses.replace(environment, allowed_hosts=AllowedHosts.of_this_user())
    if environment.terminal is None and os.name != "nt" and sys.stdin and sys.stdin.isatty():
        return dataclasses.replace(environment, terminal=Terminal(sys.stdin.fileno(), sys.stderr), prompts=Nobody())
    return environment


async def _plan(options: RunOptions) -> str:
    """What would be done. Connects to nothing."""
    from kirotunnel.flows.run import chosen_profile
    from kirotunnel.targets.locate import locate

    profile = chosen_profile(options)
    line = options.command[0] if len(options.command) == 1 else shlex.join(options.command)
    lines = [f"target    {options.place}"]
    by_hand = None
    if options.inside is None:
        located = await locate(options.target, options.ssh, options.ec2)
        endpoint = located.endpoint
        by_hand = shlex.join(["ssh", "-t", *located.arguments, located.destination, "--", line])
        lines += [
            f"connect   {endpoint.describe()}" + "".join(f" via {hop.describe()}" for hop in endpoint.jumps),
            *(f"          {note}" for note in (*located.notes, *endpoint.warnings)),
        ]
    known = f"{profile.name} ({profile.source})" if profile else "none knows this command: the general rules"
    lines += [
        f"run       {line}",
        f"profile   {known}",
        "forward   the port that the page it opens comes back to, or on which it begins to listen",
        *([f"by hand   {by_hand}, and another ssh -L for that port"] if by_hand else []),
    ]
    return "\n".join(lines)
