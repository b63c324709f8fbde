"""What `whoami`, `token` and `logout` share: which of several accounts is meant, and the world that they act in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from kirotunnel.flows.environment import Conversation
    from kirotunnel.flows.session import Choice, Sessions

F = TypeVar("F", bound=Callable[..., Any])
METHODS = ("github", "google", "builder-id", "idc", "external-idp")


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
