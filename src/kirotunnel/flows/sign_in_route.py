"""Which way a sign-in on this machine goes: one pure decision over what was asked for and where the person is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kirotunnel.errors import FlowUnavailableError, SettingsError
from kirotunnel.flows.login_plan import Flow
from kirotunnel.oauth.aws_sso_oidc import BUILDER_ID_REGION, BUILDER_ID_START_URL
from kirotunnel.oauth.kiro_service import PORTS, SocialProvider
from kirotunnel.oauth.openid_provider import DEFAULT_SCOPES, Client
from kirotunnel.oauth.session import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInOptions:
    """What was asked for; the command line's options, with their defaults."""

    method: Method | None = None
    flow: Flow = "auto"
    start_url: str | None = None
    region: str | None = None
    issuer: str | None = None
    client_id: str | None = None
    scopes: tuple[str, ...] = ()
    expect: str | None = None
    force: bool = False
    timeout_s: float = 600.0
    """Seconds for the whole sign-in."""

    @property
    def wanted_method(self) -> Method | None:
        """The method, also where only --issuer or --start-url says it."""
        if self.method is None and self.issuer is not None:
            return "external-idp"
        if self.method is None and self.start_url is not None:
            return "idc"
        return self.method


@dataclass(frozen=True, slots=True)
class ByPortal:
    """By the portal's page, where the person chooses; then perhaps by a second page."""

    def describe(self) -> str:
        """For the plan."""
        return f"on the portal's page, which comes back to one of the ports {', '.join(map(str, PORTS))}"


@dataclass(frozen=True, slots=True)
class BySocialDevice:
    """By one-time code at Kiro's auth service."""

    provider: SocialProvider

    def describe(self) -> str:
        """For the plan."""
        return f"with {self.provider}, by one-time code"


@dataclass(frozen=True, slots=True, kw_only=True)
class ByAws:
    """At AWS itself."""

    method: Literal["builder-id", "idc"]
    device: bool
    start_url: str | None
    """None where the person is still to be asked."""
    region: str | None

    def describe(self) -> str:
        """For the plan."""
        place = f"{self.start_url or 'a start URL to be asked for'}, {self.region or 'a region to be asked for'}"
        return f"at AWS ({place}), by {'one-time code' if self.device else 'callback to a free port'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ByProvider:
    """At an identity provider that was named."""

    client: Client
    device: bool

    def describe(self) -> str:
        """For the plan."""
        return f"at {self.client.issuer}, by {'one-time code' if self.device else 'callback to one of the ports'}"


@dataclass(frozen=True, slots=True)
class AskMethod:
    """Ask the person for the method, then decide again."""

    def describe(self) -> str:
        """For the plan."""
        return "by one-time code, in a way to be asked for"


Route = ByPortal | BySocialDevice | ByAws | ByProvider | AskMethod


def choose_route(
    options: SignInOptions, *, remote: bool, interactive: bool, remembered: dict[str, str] | None = None
) -> Route:
    """The way to go. Raises SettingsError for options that contradict each other, FlowUnavailableError."""
    _check(options)
    method = options.wanted_method
    device = options.flow == "device" or (options.flow == "auto" and remote)
    match method:
        case None:
            return _without_method(options, remote=remote, interactive=interactive)
        case "google" | "github":
            return BySocialDevice(method) if device else ByPortal()
        case "builder-id":
            return ByAws(method=method, device=device, start_url=BUILDER_ID_START_URL, region=BUILDER_ID_REGION)
        case "idc":
            known = remembered or {}
            # The region belongs to the start URL: that of another one is no answer.
            same = options.start_url in {None, known.get("start_url")}
            return ByAws(
                method=method,
                device=device,
                start_url=options.start_url or known.get("start_url"),
                region=options.region or (known.get("region") if same else None),
            )
        case "external-idp":
            return _external(options)


def _without_method(options: SignInOptions, *, remote: bool, interactive: bool) -> Route:
    if options.flow == "callback" or (options.flow == "auto" and not remote):
        return ByPortal()
    if interactive:
        return AskMethod()
    if options.flow == "auto":
        return ByPortal()
    raise SettingsError(
        "`--flow device` needs to know how to sign in", "add --method github, google, builder-id or idc"
    )


def _external(options: SignInOptions) -> Route:
    if options.issuer is not None and options.client_id is not None:
        client = Client(issuer=options.issuer, client_id=options.client_id, scopes=options.scopes or DEFAULT_SCOPES)
        # Few providers offer one-time codes to such clients, so they are for those who ask for them.
        return ByProvider(client=client, device=options.flow == "device")
    if options.flow == "device":
        raise FlowUnavailableError(
            "the portal knows no one-time code for an organization's identity provider",
            "leave `--flow device` out, or name the provider with --issuer and --client-id",
        )
    return ByPortal()


def _check(options: SignInOptions) -> None:
    method = options.wanted_method
    named = [
        name
        for name, value in (
            ("--issuer", options.issuer),
            ("--client-id", options.client_id),
            ("--scope", options.scopes),
        )
        if value
    ]
    if named and method != "external-idp":
        raise SettingsError(f"{named[0]} is for --method external-idp", f"leave {named[0]} out, or add that method")
    if named and (options.issuer is None or options.client_id is None):
        raise SettingsError(
            f"{named[0]} alone does not name an identity provider", "give both --issuer and --client-id"
        )
    for name, value in (("--start-url", options.start_url), ("--region", options.region)):
        if value is not None and method not in {"idc", None}:
            raise SettingsError(f"{name} is for --method idc", f"leave {name} out, or choose --method idc")
