"""What `whoami`, `token` and `logout` share: which of several accounts is meant, here or there, and their world."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from kirotunnel.cli.options import METHODS, of_target

if TYPE_CHECKING:
    from kirotunnel.flows.environment import Conversation, Environment
    from kirotunnel.flows.remote_account import RemoteOptions
    from kirotunnel.flows.session import Choice, Sessions

F = TypeVar("F", bound=Callable[..., Any])


def choice_options(function: F) -> F:
    """--method, --start-url, --issuer."""
    for option in reversed(
        [
            click.option(
                "--method", type=click.Choice(METHODS), help="The account of this method [default: the last]."
            ),
            click.option("--start-url", metavar="URL", help="The account of this IAM Identity Center."),
            click.option("--issuer", metavar="URL", help="The account of this identity provider."),
        ]
    ):
        function = option(function)
    return function


def choice_of(chosen: dict[str, Any]) -> Choice:
    """Which account is meant. It is never taken from the settings: those say how to sign in."""
    from kirotunnel.flows.session import Choice

    return Choice(method=chosen["method"], where=chosen["start_url"] or chosen["issuer"])


def make_sessions(conversation: Conversation) -> Sessions:
    """The sessions of this machine."""
    from kirotunnel.flows.session import Sessions
    from kirotunnel.flows.sign_in_environment import SignInEnvironment

    return Sessions(SignInEnvironment.real(conversation=conversation))


def refuse_choice(ctx: click.Context) -> None:
    """With a TARGET its CLI knows one account. Raises click.UsageError for an option that names another."""
    for name in ("method", "start_url", "issuer"):
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} is about this machine's accounts, not a TARGET's", ctx)


def remote_options(chosen: dict[str, Any]) -> RemoteOptions:
    """The flow's options from the command's parameters."""
    from kirotunnel.flows.remote_account import RemoteOptions

    return RemoteOptions(**of_target(chosen), cli=chosen["cli"])


def remote_environment(chosen: dict[str, Any], conversation: Conversation) -> Environment:
    """The real world, where no browser is needed."""
    from kirotunnel.flows.environment import Environment
    from kirotunnel.local.terminal import Terminal
    from kirotunnel.ssh.prompts import Nobody

    return Environment(conversation=conversation, prompts=Terminal.detect() or Nobody())
