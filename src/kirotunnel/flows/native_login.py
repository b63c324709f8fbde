"""Sign in on this machine: kirotunnel's own session, by any of the five methods, with nobody else's CLI.

choose    the way                             → a route               (sign_in_route)
ready     the store can be written, or else nothing is begun          (local.session_store)
leg       listen on both loopback addresses, open the page, wait for the browser to come back, check it
          (the portal may send us on to a second leg: AWS, or the organization's identity provider)
device    or: show a one-time code and ask until it is confirmed      (both: sign_in_steps)
exchange  the code for tokens, and the ID token for a name            (oauth)
keep      the session, once it is who was expected; until then the previous one stands
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from kirotunnel import events as ev
from kirotunnel.errors import OAuthError, SettingsError, WrongAccountError, WrongMethodError
from kirotunnel.flows.session import Choice, Sessions
from kirotunnel.flows.sign_in_environment import SignInEnvironment
from kirotunnel.flows.sign_in_route import (
    AskMethod,
    ByAws,
    ByPortal,
    ByProvider,
    BySocialDevice,
    Route,
    SignInOptions,
    choose_route,
)
from kirotunnel.flows.sign_in_steps import SignInSteps, is_denial
from kirotunnel.local.callback_server import Callback
from kirotunnel.oauth import aws_sso_oidc as aws
from kirotunnel.oauth import kiro_service as kiro
from kirotunnel.oauth import openid_provider as openid
from kirotunnel.oauth.authorization import AuthorizationRequest, Granted, new_state, read_response
from kirotunnel.oauth.device import PollAnswer
from kirotunnel.oauth.endpoints import check_region
from kirotunnel.oauth.http import HttpClient
from kirotunnel.oauth.session import AwsGrant, KiroGrant, Method, Session
from kirotunnel.oauth.tokens import TokenSet
from kirotunnel.redaction import Secret
from kirotunnel.wire.terminal import one_line

_NAMES: Final[dict[Method, str]] = {
    "github": "GitHub",
    "google": "Google",
    "builder-id": "AWS Builder ID",
    "idc": "AWS IAM Identity Center",
    "external-idp": "your organization's identity provider",
}
_MENU: Final[tuple[Method, ...]] = ("builder-id", "google", "github", "idc")
"""What a one-time code can be had for without knowing more; the order is kiro-cli's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInResult:
    """Who is signed in on this machine now."""

    account: ev.Account
    already: bool
    """Somebody was signed in before; nothing was changed."""


async def sign_in(options: SignInOptions, environment: SignInEnvironment) -> SignInResult:
    """Sign in. Raises KirotunnelError; then the session that was there before is there still."""
    steps = SignInSteps(environment)
    async with HttpClient(environment.patience) as http:
        try:
            async with asyncio.timeout(options.timeout_s):
                return await _SignIn(options, environment, steps, http).run()
        except TimeoutError as exc:
            raise steps.timed_out(options.timeout_s) from exc


class _SignIn:
    """One sign-in under way."""

    def __init__(
        self, options: SignInOptions, environment: SignInEnvironment, steps: SignInSteps, http: HttpClient
    ) -> None:
        self._options = options
        self._environment = environment
        self._sessions = Sessions(environment)
        self._steps = steps
        self._http = http
        self._kiro = kiro.KiroService(http, environment.endpoints)

    async def run(self) -> SignInResult:
        """Go through it."""
        environment, remembered = self._environment, await self._environment.store.remembered()
        route = self._route(self._options, remembered)
        if not self._options.force and (known := await self._already()) is not None:
            await self._sessions.make_current(known)
            environment.conversation.event(ev.SignedIn(account=known.account))
            return SignInResult(account=known.account, already=True)
        await environment.store.ensure_writable()
        if isinstance(route, AskMethod):
            route = self._route(replace(self._options, method=await self._ask_method(), flow="device"), remembered)
        async with self._steps:
            session = await self._by(route)
            await self._keep(session)
        environment.conversation.event(ev.SignedIn(account=session.account))
        return SignInResult(account=session.account, already=False)

    async def _already(self) -> Session | None:
        """Who is signed in as it was asked for, with a token that can be used."""
        options = self._options
        session = await self._sessions.find(
            Choice(method=options.wanted_method, where=options.start_url or options.issuer)
        )
        if session is None or (options.expect is not None and not session.account.matches(options.expect)):
            return None
        try:
            return await self._sessions.freshened(session)
        except OAuthError as exc:
            self._environment.conversation.tell(
                f"The session of {session.account.describe()} cannot be used: {exc.message}"
            )
            return None

    async def _keep(self, session: Session) -> None:
        account, expected = session.account, self._options.expect
        if expected is not None and not account.matches(expected):
            raise WrongAccountError(
                f"{account.describe()} signed in, and {expected} was expected; nothing was kept",
                "choose the other account in the browser (a private window helps), and run it again",
            )
        await self._sessions.keep(session)
        if isinstance(session.grant, AwsGrant) and session.method == "idc":
            await self._environment.store.remember(start_url=session.grant.start_url, region=session.grant.region)

    # --- which way ---------------------------------------------------------------------------------------------------

    def _route(self, options: SignInOptions, remembered: dict[str, str]) -> Route:
        return choose_route(
            options,
            # A pasted address comes from wherever the browser is, so there is no need for a one-time code.
            remote=self._environment.remote is not None and self._environment.paste is None,
            interactive=self._environment.interactive,
            remembered=remembered,
        )

    async def _ask_method(self) -> Method:
        rows = "".join(f"  {number}  {_NAMES[method]}\n" for number, method in enumerate(_MENU, 1))
        self._environment.conversation.tell(f"How do you want to sign in?\n\n{rows}")
        answer = (await self._environment.prompts.answer(f"1 to {len(_MENU)}: ") or "").strip()
        if not answer.isdecimal() or not 1 <= int(answer) <= len(_MENU):
            raise SettingsError("no way of signing in was chosen", "run it again, or give --method")
        return _MENU[int(answer) - 1]

    async def _by(self, route: Route) -> Session:
        match route:
            case ByPortal():
                return await self._by_portal()
            case BySocialDevice(social):
                device = await self._kiro.start_device(social)
                return _social(social, await self._steps.confirm(_NAMES[social], device, self._kiro.poll))
            case ByAws():
                return await self._by_aws(route)
            case ByProvider(client=client, device=device_code):
                provider = await openid.OpenIdProvider.discover(self._http, self._environment.endpoints, client)
                if device_code:
                    return await self._by_provider_device(provider)
                return await self._by_provider(provider, kiro.PORTS)
            case AskMethod():
                raise SettingsError("no way of signing in was chosen", "give --method")

    # --- the portal --------------------------------------------------------------------------------------------------

    async def _by_portal(self) -> Session:
        portal = self._environment.endpoints.portal
        await self._press_enter()
        leg = await self._steps.begin_leg(
            kiro.PORTS, kiro.CALLBACK_PATHS, redirect="http://localhost:{port}", portal=portal
        )
        callback = await self._steps.visit(leg, kiro.portal_url(portal, leg.request))
        choice = kiro.read_portal_callback(leg.request, callback.path, callback.parameters.reveal())
        self._check_method(kiro.method_of(choice))
        if isinstance(choice, kiro.SocialChosen):
            return _social(choice.provider, await self._kiro.exchange(choice, leg.request, self._environment.now()))
        await self._steps.finish()  # the portal has done its part; a second page follows
        if isinstance(choice, kiro.AwsChosen):
            return await self._by_aws(
                ByAws(method=choice.method, device=False, start_url=choice.start_url, region=choice.region)
            )
        client = openid.Client(
            issuer=choice.issuer,
            client_id=choice.client_id,
            scopes=choice.scopes,
            login_hint=choice.login_hint,
            audience=choice.audience,
        )
        provider = await openid.OpenIdProvider.discover(self._http, self._environment.endpoints, client)
        return await self._by_provider(provider, [port for port in kiro.PORTS if port != leg.server.port])

    async def _press_enter(self) -> None:
        """On a terminal, where nothing was said on the command line, nothing happens unasked."""
        environment = self._environment
        if self._options.wanted_method is None and environment.interactive and environment.remote is None:
            await environment.prompts.answer("Press Enter to continue in the browser ")

    def _check_method(self, chosen: Method) -> None:
        wanted = self._options.wanted_method
        if wanted is not None and chosen != wanted:
            raise WrongMethodError(f"--method {wanted} was asked for, and {_NAMES[chosen]} was chosen in the browser")

    # --- AWS ---------------------------------------------------------------------------------------------------------

    async def _by_aws(self, route: ByAws) -> Session:
        start_url, region = await self._place(route)
        service = aws.AwsSsoOidc(self._http, self._environment.endpoints, region)
        registrations = _Registrations(self._environment, service, start_url, region, device=route.device)
        by = self._by_aws_device if route.device else self._by_aws_callback
        client, tokens = await by(service, registrations, route.method)
        grant = AwsGrant(
            start_url=start_url, region=region, client_id=client.client_id, client_secret=client.client_secret
        )
        return Session(method=route.method, grant=grant, tokens=tokens, email=tokens.email)

    async def _place(self, route: ByAws) -> tuple[str, str]:
        """Start URL and region, asked for where they are not known."""
        start_url = route.start_url or await self._ask("Start URL", "--start-url", "https://example.awsapps.com/start")
        region = route.region or await self._ask("Region", "--region", "us-east-1")
        check_region(region)
        if not self._environment.endpoints.allows(start_url):
            raise SettingsError(f"{one_line(start_url, 80)!r} is no start URL", "a start URL is an https address")
        return start_url, region

    async def _ask(self, what: str, option: str, example: str) -> str:
        question = f"Enter {what} of your IAM Identity Center, such as {example}: "
        answer = (await self._environment.prompts.answer(question) or "").strip()
        if not answer:
            raise SettingsError(f"--method idc needs the {what} of your IAM Identity Center", f"give it with {option}")
        return answer

    async def _by_aws_callback(
        self, service: aws.AwsSsoOidc, registrations: _Registrations, method: Method
    ) -> tuple[aws.Registration, TokenSet]:
        client = await registrations.good()
        leg = await self._steps.begin_leg(
            (0,), {aws.REDIRECT_PATH}, redirect=f"http://127.0.0.1:{{port}}{aws.REDIRECT_PATH}"
        )
        try:
            callback = await self._steps.visit(leg, aws.authorize_url(service.base, client, leg.request))
            code = _granted(leg.request, callback, _NAMES[method])
            return client, await service.exchange(client, leg.request, code, self._environment.now())
        except BaseException as exc:
            if not is_denial(exc):
                # Whatever it was, AWS may have forgotten the client; a new registration costs one request.
                await registrations.forget()
            raise

    async def _by_aws_device(
        self, service: aws.AwsSsoOidc, registrations: _Registrations, method: Method
    ) -> tuple[aws.Registration, TokenSet]:
        client = await registrations.good()
        try:
            device = await service.start_device(client, registrations.start_url)
        except aws.RegistrationRefusedError:
            await registrations.forget()
            client = await registrations.good()
            device = await service.start_device(client, registrations.start_url)

        async def poll(device_code: Secret[str], now: float) -> TokenSet | PollAnswer:
            return await service.poll(client, device_code, now)

        return client, await self._steps.confirm(_NAMES[method], device, poll)

    # --- an identity provider ----------------------------------------------------------------------------------------

    async def _by_provider(self, provider: openid.OpenIdProvider, ports: Sequence[int]) -> Session:
        metadata = provider.metadata
        leg = await self._steps.begin_leg(
            ports,
            {openid.REDIRECT_PATH},
            redirect=f"http://localhost:{{port}}{openid.REDIRECT_PATH}",
            issuer=metadata.issuer,
            expects_iss=metadata.sends_iss,
            nonce=new_state() if provider.client.asks_for_identity else None,
        )
        callback = await self._steps.visit(leg, openid.authorize_url(metadata, provider.client, leg.request))
        code = _granted(leg.request, callback, metadata.issuer)
        tokens = await provider.exchange(leg.request, code, self._environment.now())
        return await self._provider_session(provider, tokens, leg.request.nonce)

    async def _by_provider_device(self, provider: openid.OpenIdProvider) -> Session:
        device = await provider.start_device()
        tokens = await self._steps.confirm(_NAMES["external-idp"], device, provider.poll)
        return await self._provider_session(provider, tokens, None)

    async def _provider_session(
        self, provider: openid.OpenIdProvider, tokens: TokenSet, nonce: Secret[str] | None
    ) -> Session:
        identity = await provider.identity(tokens, nonce, self._environment.now())
        email = (identity.email if identity else None) or tokens.email
        return Session(method="external-idp", grant=provider.grant(), tokens=tokens, email=email)


class _Registrations:
    """Our client at AWS for one start URL: made once, kept until it expires."""

    def __init__(
        self, environment: SignInEnvironment, service: aws.AwsSsoOidc, start_url: str, region: str, *, device: bool
    ) -> None:
        self._environment = environment
        self._service = service
        self._device = device
        self._name = f"registration {'device' if device else 'callback'} {region} {start_url}"
        self.start_url = start_url

    async def good(self) -> aws.Registration:
        """That of last time while it lives, else a new one."""
        store = self._environment.store
        text = await store.get(self._name)
        known = aws.Registration.load(text) if text is not None else None
        if known is not None and known.is_good(self._environment.now()):
            return known
        made = await self._service.register(self.start_url, device=self._device)
        await store.put(self._name, made.dump())
        return made

    async def forget(self) -> None:
        """Make a new one next time."""
        await self._environment.store.remove(self._name)


def _social(provider: kiro.SocialProvider, tokens: TokenSet) -> Session:
    return Session(method=provider, grant=KiroGrant(), tokens=tokens, email=tokens.email)


def _granted(request: AuthorizationRequest, callback: Callback, whom: str) -> Secret[str]:
    response = read_response(request, callback.parameters.reveal())
    if isinstance(response, Granted):
        return response.code
    raise response.as_error(whom)
