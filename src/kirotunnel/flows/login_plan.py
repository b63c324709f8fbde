"""What was asked of a login, and what follows from it: which mode, which arguments, which errors. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from kirotunnel import events as ev
from kirotunnel.errors import (
    CallbackPortError,
    CallbackUndeliveredError,
    DeviceCodeExpiredError,
    KirotunnelError,
    LoginRefusedError,
    LoginTimedOutError,
    OAuthError,
    StateMismatchError,
    TokenRequestError,
)
from kirotunnel.oauth.session import Method as Method
from kirotunnel.profiles.profile import Profile
from kirotunnel.wire.records import RemoteFacts
from kirotunnel.wire.redirect import UrlPolicy

Flow = Literal["auto", "callback", "device"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An organization's identity provider, as the person names it to the remote CLI."""

    issuer: str
    client_id: str
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginPlan:
    """What was asked for."""

    host: str
    """The target as the person named it; for messages."""
    cli: str
    """The CLI as the person named it; for messages."""
    profile: Profile
    method: Method | None = None
    flow: Flow = "auto"
    force: bool = False
    expect: str | None = None
    start_url: str | None = None
    region: str | None = None
    provider: Provider | None = None
    """The identity provider, where the portal is not to name it."""
    policy: UrlPolicy = field(default_factory=UrlPolicy)
    """Hosts for authorize URLs; one-time codes have the profile's device hosts beside."""
    paste: bool = False
    """The person brings the callback, and no port is bound here."""
    interactive: bool = False
    """Whether a person sits at a terminal who can be asked and can type."""


# What kiro-cli's binaries say, and what it means here. First match counts.
CLI_ERRORS: Final[tuple[tuple[str, type[KirotunnelError]], ...]] = (
    (r"callback ports are in use|failed to bind callback port", CallbackPortError),
    (r"state mismatch", StateMismatchError),
    (r"not supported in remote environments", LoginRefusedError),
    (r"device code expired|expired_token", DeviceCodeExpiredError),
    (
        r"no code received|callback channel closed|failed to receive callback|missing code or state",
        CallbackUndeliveredError,
    ),
    (r"access_denied|denied access|authorization denied", OAuthError),
    (r"token exchange failed|service error|dispatch failure|error sending request|discovery failed", TokenRequestError),
    # Last: a request of the CLI's own that timed out is the target's network, not the person's time.
    (r"timed? ?out|timeout waiting", LoginTimedOutError),
)


def choose_own_mode(plan: LoginPlan, facts: RemoteFacts) -> bool:
    """Whether the CLI's own remote mode is used, rather than its browser flow with our opener.

    The browser flow serves every method in every version since 1.20, so it is taken wherever the opener can work:
    not on macOS, where the CLI opens pages without a program, and not under WSL, where it asks for another opener and
    knows by the kernel that it is remote. Raises LoginRefusedError where neither way serves what was asked for.
    """
    opener_works = facts.system not in {"Darwin", ""} and not facts.wsl and facts.directory is not None
    if plan.flow != "device" and opener_works:
        return False
    where = "WSL" if facts.wsl else {"Darwin": "macOS"}.get(facts.system, facts.system or "this system")
    if plan.method == "external-idp" and plan.method not in plan.profile.device:
        reason = "by one-time code" if plan.flow == "device" else f"on {where}"
        raise LoginRefusedError(
            f"{plan.cli} has no sign-in with an organization's identity provider {reason}",
            "leave out --flow device" if opener_works else None,
        )
    if not plan.profile.login_device:
        raise LoginRefusedError(
            f"nothing is known of a sign-in by one-time code of {plan.cli}, which is all there could be on {where}",
            "leave out --flow device" if opener_works else None,
        )
    social = plan.method in {"google", "github"}
    if plan.flow == "callback" and not own_mode_uses_port(plan, facts):
        raise LoginRefusedError(f"{plan.cli} cannot be given a browser on {where}", "use --flow device")
    if social and facts.version and facts.version < plan.profile.forward_since:
        raise LoginRefusedError(
            f"{plan.cli} {facts.version_text} on {plan.host} has no {plan.method} sign-in in remote mode",
            "leave out --flow device" if opener_works else f"update {plan.cli} on {plan.host}",
        )
    return True


def own_mode_uses_port(plan: LoginPlan, facts: RemoteFacts) -> bool:
    """Whether the CLI's remote mode will show a port and wait for Enter (1.24 to 2.0, Google and GitHub)."""
    version = facts.version or (0,)
    return (
        plan.method in {"google", "github", None}
        and plan.profile.forward_since <= version < plan.profile.device_since
        and (plan.method is not None or plan.flow == "callback")
    )


def login_arguments(plan: LoginPlan, *, own_mode: bool) -> tuple[str, ...]:
    """The arguments of the CLI's login."""
    if not own_mode:
        return (*plan.profile.login, *provider_arguments(plan))
    device = plan.profile.device.get(plan.method or "")
    arguments = [*plan.profile.login_device, *(device.arguments if device else ())]
    if plan.method == "idc":
        arguments += [plan.profile.start_url_option, plan.start_url] if plan.start_url else []
        arguments += [plan.profile.region_option, plan.region] if plan.region else []
    return (*arguments, *provider_arguments(plan))


def provider_arguments(plan: LoginPlan) -> tuple[str, ...]:
    """The options that name the identity provider. Raises LoginRefusedError where the CLI takes none."""
    if plan.provider is None:
        return ()
    if not plan.profile.provider_options:
        raise LoginRefusedError(
            f"{plan.cli} takes its identity provider from the portal, not from --issuer",
            "leave out --issuer, --client-id and --scope, and choose your organization on the sign-in page",
        )
    issuer, client_id, scope = plan.profile.provider_options
    scopes = [part for text in plan.provider.scopes for part in (scope, text)]
    return (issuer, plan.provider.issuer, client_id, plan.provider.client_id, *scopes)


def is_of_method(account: ev.Account, method: Method) -> bool:
    """Whether an account came about by that method."""
    if method in {"google", "github"}:
        return account.type == "social" and (account.provider or method).casefold() == method
    return account.type == method


def error_for(said: str) -> type[KirotunnelError] | None:
    """The error class behind what the CLI said, where that is known."""
    return next((error for pattern, error in CLI_ERRORS if re.search(pattern, said, re.IGNORECASE)), None)
