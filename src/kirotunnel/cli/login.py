"""`kirotunnel login`: options in, the flow called, its end said."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from kirotunnel.cli.errand import Done, Errand
from kirotunnel.cli.options import (
    METHODS,
    browser_options,
    cli_option,
    of_target,
    output_options,
    reaching_options,
    targets_options,
    timeline_option,
    timeout_option,
    trust_option,
    trusted_hosts_of,
)
from kirotunnel.cli.several import names_targets, run_on_targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kirotunnel.flows.environment import Conversation, Environment
    from kirotunnel.flows.login_plan import Provider
    from kirotunnel.flows.remote_login import LoginOptions
    from kirotunnel.wire.containers import Inside


@click.command("login")
@targets_options
@click.option(
    "--tabs",
    type=click.IntRange(1, 256),
    default=3,
    show_default=True,
    metavar="N",
    help="With several targets, sign-in pages that wait for you at once.",
)
@click.option("--retry-failed", is_flag=True, help="Only the targets that failed in the last run of several.")
@click.option("--method", type=click.Choice(METHODS), help="How to sign in [default: chosen in the browser].")
@click.option("--start-url", metavar="URL", help="Start URL of IAM Identity Center, for idc.")
@click.option("--region", metavar="REGION", help="Region of IAM Identity Center, for idc.")
@click.option("--issuer", metavar="URL", help="Identity provider, for external-idp without the portal.")
@click.option("--client-id", metavar="ID", help="Client registered there, with --issuer.")
@click.option("--scope", multiple=True, metavar="SCOPE", help="Scope to ask for, with --issuer; repeatable.")
@click.option(
    "--flow",
    type=click.Choice(("auto", "callback", "device")),
    default="auto",
    show_default=True,
    help="Callback through the tunnel, or a one-time code.",
)
@click.option("--expect", metavar="TEXT", help="E-mail, account type or start URL that must be signed in afterwards.")
@click.option("--force", is_flag=True, help="Sign in although somebody is: signs the remote CLI out first.")
@cli_option
@browser_options
@trust_option("Also open sign-in pages on this host, http included; repeatable.")
@click.option("--paste", is_flag=True, help="Bind no local port: you paste the address that the browser ends on.")
@timeout_option("For the whole sign-in, per target.")
@click.option("--dry-run", is_flag=True, help="Print the plan and connect to nothing.")
@timeline_option
@reaching_options
@output_options
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Sign the CLI on each TARGET in, with the browser of this machine; without TARGET, sign in on this machine.

    TARGET is what you would give to ssh: an alias of your SSH config, a host name, or [user@]host[:port]; or the ID of
    an EC2 instance, i-…. A pattern such as 'prod-*' stands for the aliases that match it. With --container or --pod it
    is where that is: localhost for this machine, without SSH.
    """
    if not names_targets(ctx.params):
        from kirotunnel.cli.native_login import run_native_login

        return run_native_login(ctx)
    return run_on_targets(ctx, _SIGN_IN)


async def _sign_in(options: LoginOptions, environment: Environment) -> Done:
    from kirotunnel.flows.remote_login import login

    result = await login(options, environment)
    already = "already " if result.already else ""
    return Done(ok=True, words=f"{already}signed in as {result.account.describe()}", where=options.place)


def login_options(chosen: dict[str, Any]) -> LoginOptions:
    """The flow's options from the command's parameters."""
    from kirotunnel.flows.remote_login import LoginOptions

    return LoginOptions(
        **of_target(chosen),
        cli=chosen["cli"],
        method=chosen["method"],
        flow=chosen["flow"],
        start_url=chosen["start_url"],
        region=chosen["region"],
        provider=provider_of(chosen),
        expect=chosen["expect"],
        force=chosen["force"],
        trusted_hosts=trusted_hosts_of(chosen),
        timeout_s=chosen["timeout"],
    )


def provider_of(chosen: dict[str, Any]) -> Provider | None:
    """The identity provider that the options name, if any. Raises click.UsageError where half of it is missing."""
    from kirotunnel.flows.login_plan import Provider

    if not (chosen.get("issuer") or chosen.get("client_id") or chosen.get("scope")):
        return None
    if not (chosen["issuer"] and chosen["client_id"]):
        raise click.UsageError("--issuer and --client-id go together, and --scope with them")
    scopes = tuple(scope for text in chosen["scope"] for scope in text.split())
    return Provider(issuer=chosen["issuer"], client_id=chosen["client_id"], scopes=scopes)


def make_environment(chosen: dict[str, Any], conversation: Conversation) -> Environment:
    """The real world, as the options say."""
    from kirotunnel.flows.environment import Environment
    from kirotunnel.local.browser import CommandBrowser, DefaultBrowser, PrintedOnly, parse_command
    from kirotunnel.local.terminal import InputLines, Terminal
    from kirotunnel.ssh.prompts import Nobody

    if chosen["no_browser"]:
        browser: Any = PrintedOnly()
    elif chosen["browser"]:
        browser = CommandBrowser([parse_command(chosen["browser"])])
    else:
        browser = DefaultBrowser()
    terminal = Terminal.detect()
    # With -q nothing of the remote's is drawn, so nobody could answer its menus: it gets no terminal then.
    screen = None if chosen.get("quiet") else terminal
    paste = (terminal or InputLines()) if chosen.get("paste") else None
    return Environment(
        conversation=conversation, prompts=terminal or Nobody(), browser=browser, terminal=screen, paste=paste
    )


async def _plan(options: LoginOptions) -> str:
    """What would be done, and what a person would type instead. Connects to nothing."""
    from kirotunnel.profiles.profile import profile_for
    from kirotunnel.targets.locate import is_this_machine, locate

    if options.inside is not None and is_this_machine(options.target, options.ssh, options.ec2):
        return "\n".join(_plan_inside(options, options.inside, []))
    located = await locate(options.target, options.ssh, options.ec2)
    endpoint = located.endpoint
    profile = profile_for(options.cli)
    port = profile.ports[0] if profile.ports else "PORT"
    by_hand = ["ssh", *located.arguments, "-N", "-L", f"{port}:127.0.0.1:{port}", located.destination]
    reached = [
        f"target    {options.target}",
        f"connect   {endpoint.describe()}" + "".join(f" via {hop.describe()}" for hop in endpoint.jumps),
        *(f"          {note}" for note in located.notes),
        *(f"          {warning}" for warning in endpoint.warnings),
        *(["          no key is at hand: a one-time key would be pushed"] if located.push_first else []),
    ]
    if options.inside is not None:
        return "\n".join([*reached, *_plan_inside(options, options.inside, [*located.arguments, located.destination])])
    lines = [
        *reached,
        f"run       {options.cli} {shlex.join(profile.login)}, its browser opener brought here",
        f"forward   the port that it chooses, {_one_of(profile.ports)}; then a second page's",
        f"by hand   {shlex.join(by_hand)}",
    ]
    return "\n".join(lines)


def _plan_inside(options: LoginOptions, inside: Inside, ssh: list[str]) -> list[str]:
    """The rest of the plan for a container; `ssh`: what reaches its host, nothing for this machine."""
    from kirotunnel.profiles.profile import profile_for
    from kirotunnel.wire.containers import by_hand

    profile = profile_for(options.cli)
    return [
        *([] if ssh else [f"target    {options.target}: this machine, without SSH"]),
        f"enter     {inside.describe()}, by `exec` of {' or '.join(inside.engines)}",
        f"run       {options.cli} {shlex.join(profile.login)} in it, its browser opener brought here",
        f"carry     what comes to the port that it chooses, {_one_of(profile.ports)}, over a command",
        *([f"by hand   {by_hand(inside, profile.ports[0], ssh)}"] if profile.ports else []),
    ]


def _one_of(ports: Sequence[int]) -> str:
    return f"one of {', '.join(map(str, ports))}" if ports else "any"


_SIGN_IN = Errand(
    prepare=login_options,
    environment=make_environment,
    perform=_sign_in,
    plan=_plan,
    takes_turns=True,
    remembers=True,
    sum=lambda well, of: (
        f"{well} of {of} are signed in"
        + ("" if well == of else "; the others are tried again with `kirotunnel login --retry-failed`")
    ),
)
