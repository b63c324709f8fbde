"""`kirotunnel login` without TARGET: sign in on this machine, with kirotunnel's own flows."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from kirotunnel.cli.options import fill_from_settings, trusted_hosts_of
from kirotunnel.cli.several import conversation_about, refuse_options_of_targets

if TYPE_CHECKING:
    from kirotunnel.flows.environment import Conversation
    from kirotunnel.flows.sign_in_environment import SignInEnvironment
    from kirotunnel.flows.sign_in_route import SignInOptions


def run_native_login(ctx: click.Context) -> int:
    """Sign in, as the command's parameters say."""
    from kirotunnel.cli.running import run_flow
    from kirotunnel.cli.timeline import Timeline

    chosen = ctx.params
    timeline = Timeline(chosen["timeline"]) if chosen["timeline"] else None
    conversation = conversation_about(None, chosen, timeline)

    async def flow() -> int:
        refuse_options_of_targets(ctx)
        fill_from_settings(ctx, None)
        options, environment = sign_in_options(chosen), sign_in_environment(chosen, conversation)
        if chosen["dry_run"]:
            click.echo(await _plan(options, environment), err=chosen["as_json"])
            return 0
        from kirotunnel.flows.native_login import sign_in

        result = await sign_in(options, environment)
        already = "already " if result.already else ""
        conversation.tell(f"{already}signed in as {result.account.describe()} on this machine")
        return 0

    return run_flow(None, conversation, flow, verbose=chosen["verbose"], timeline=timeline)


def sign_in_options(chosen: dict[str, Any]) -> SignInOptions:
    """The flow's options from the command's parameters."""
    from kirotunnel.flows.sign_in_route import SignInOptions

    return SignInOptions(
        method=chosen["method"],
        flow=chosen["flow"],
        start_url=chosen["start_url"],
        region=chosen["region"],
        issuer=chosen["issuer"],
        client_id=chosen["client_id"],
        scopes=tuple(scope for text in chosen["scope"] for scope in text.split()),
        expect=chosen["expect"],
        force=chosen["force"],
        timeout_s=chosen["timeout"],
    )


def sign_in_environment(chosen: dict[str, Any], conversation: Conversation) -> SignInEnvironment:
    """The real world, as the options say."""
    from kirotunnel.cli.login import make_environment
    from kirotunnel.flows.sign_in_environment import SignInEnvironment
    from kirotunnel.local.browser import PrintedOnly

    world = make_environment(chosen, conversation)
    environment = SignInEnvironment.real(
        conversation=conversation,
        prompts=world.terminal,
        browser=world.browser,
        paste=world.paste,
        trusted=trusted_hosts_of(chosen),
    )
    named = chosen["browser"] or os.environ.get("BROWSER")
    if environment.remote is not None and environment.remote.kind != "wsl" and not named:
        # A browser of this machine, drawn through SSH perhaps, is not the one that the person sits at.
        return replace(environment, browser=PrintedOnly())
    return environment


async def _plan(options: SignInOptions, environment: SignInEnvironment) -> str:
    """What would be done. Connects to nothing."""
    from kirotunnel.flows.sign_in_route import choose_route

    route = choose_route(
        options,
        remote=environment.remote is not None and environment.paste is None,
        interactive=environment.interactive,
        remembered=await environment.store.remembered(),
    )
    where = environment.remote.words if environment.remote else "this machine, with its own browser"
    lines = [
        f"session   {where}",
        f"sign in   {route.describe()}",
        f"keep      in {environment.store.directory}, or in the system's keyring",
    ]
    return "\n".join(lines)
