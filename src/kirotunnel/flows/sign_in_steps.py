"""What a person does in a sign-in on this machine: go to a page and come back from it, or confirm a one-time code.

Where the browser is on another machine, a leg says its port and how its callback gets here, and then the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from kirotunnel import events as ev
from kirotunnel.errors import (
    DeviceCodeExpiredError,
    KirotunnelError,
    LoginTimedOutError,
    OAuthError,
    StateMismatchError,
)
from kirotunnel.flows.pasted_callback import PastedCallback
from kirotunnel.flows.sign_in_environment import SignInEnvironment
from kirotunnel.flows.strays import Strays
from kirotunnel.local.callback_server import Callback, CallbackServer
from kirotunnel.local.pages import Page
from kirotunnel.oauth.authorization import AuthorizationRequest, new_state
from kirotunnel.oauth.device import DeviceAuthorization, DevicePolling, Expired, PollAnswer, Refused, Wait
from kirotunnel.oauth.kiro_service import portal_end_url
from kirotunnel.oauth.tokens import TokenSet
from kirotunnel.redaction import Secret

Poll = Callable[[Secret[str], float], Awaitable[TokenSet | PollAnswer]]


@dataclass(frozen=True, slots=True)
class Leg:
    """One trip of the browser: the listener that waits for it, and the request that comes back."""

    number: int
    server: CallbackServer | PastedCallback
    request: AuthorizationRequest
    portal: str | None = None
    """Where the browser's last page is; None for a page of our own."""


class SignInSteps:
    """The steps of one sign-in, for the time of an `async with`: the last leg's browser is told how it all ended."""

    def __init__(self, environment: SignInEnvironment) -> None:
        self._environment = environment
        self._conversation = environment.conversation
        self._host = platform.node() or "this machine"
        self._leg: Leg | None = None
        self._count = 0
        self._wrong_states = 0
        self._strays = Strays()
        self.waiting_for = "the sign-in service did not answer"
        """What was still missing, should the time be over now."""

    async def __aenter__(self) -> SignInSteps:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        await self.finish(error)

    # --- by callback -------------------------------------------------------------------------------------------------

    async def begin_leg(
        self,
        ports: Sequence[int],
        paths: Iterable[str],
        *,
        redirect: str,
        portal: str | None = None,
        issuer: str | None = None,
        expects_iss: bool = False,
        nonce: Secret[str] | None = None,
    ) -> Leg:
        """Listen for a leg on the first of these ports that is free. `redirect` has `{port}` for it."""
        self._count += 1
        number, state = self._count, new_state()
        server = await self._listen(ports, number, paths, state)
        request = AuthorizationRequest(
            redirect_uri=redirect.format(port=server.port),
            state=state,
            nonce=nonce,
            issuer=issuer,
            expects_iss=expects_iss,
        )
        self._leg = Leg(number, server, request, portal)
        return self._leg

    async def _listen(
        self, ports: Sequence[int], leg: int, paths: Iterable[str], state: Secret[str]
    ) -> CallbackServer | PastedCallback:
        if self._environment.paste is None:
            return await CallbackServer.open(
                ports, leg=leg, paths=paths, state=state, host=self._host, on_refused=self._refused
            )
        return PastedCallback(
            ports[-1],
            leg=leg,
            paths=paths,
            state=state,
            paste=self._environment.paste,
            conversation=self._conversation,
            on_refused=self._refused,
        )

    async def visit(self, leg: Leg, url: Secret[str]) -> Callback:
        """Send the person to the page, and wait for the browser to come back."""
        host = urlsplit(url.reveal()).netloc
        if leg.number == 1:
            self._conversation.event(ev.LoginStarted(flow="callback"))
        port = leg.server.port
        self._conversation.event(ev.BrowserRequested(leg=leg.number, authorize_host=host, redirect_port=port))
        if self._environment.remote is not None and self._environment.paste is None:
            await self._explain_port(port, self._environment.remote.words)
        self.waiting_for = "the browser did not come back from the sign-in page"
        async with self._showing(leg.number, url):
            callback = await leg.server.callback()
        self._conversation.event(ev.CallbackReceived(leg=leg.number, outcome=callback.outcome))
        self.waiting_for = "the sign-in service did not answer"
        return callback

    async def finish(self, error: BaseException | None = None) -> None:
        """Give the browser of this leg its last page, and free the port."""
        leg, self._leg = self._leg, None
        if leg is None:
            return
        if leg.portal is not None:
            why = None if error is None else _words(error)
            leg.server.send_to(portal_end_url(leg.portal, why))
        else:
            leg.server.show(_page(error))
        await leg.server.close()
        for event in self._strays.rest(leg.number):
            self._conversation.event(event)

    def _refused(self, reason: ev.RefusalReason) -> None:
        self._wrong_states += reason == "state"
        for event in self._strays.refused(self._count, reason):
            self._conversation.event(event)

    async def _explain_port(self, port: int, words: str) -> None:
        """The browser is elsewhere: say how its callback gets here, and wait until that is done."""
        here = f"{_user()}@{self._host}"
        self._conversation.tell(
            f"This is {words}, so the browser's answer needs a way from your own machine to this one.\n"
            f"Callback port: {port}\n\n"
            "On the machine where your browser is, run one of these and leave it running:\n\n"
            f"  kirotunnel attach {here}\n"
            f"  ssh -N -L {port}:127.0.0.1:{port} {here}\n"
        )
        if self._environment.interactive:
            await self._environment.prompts.answer("Press Enter when it runs ")

    # --- by one-time code --------------------------------------------------------------------------------------------

    async def confirm(self, whom: str, device: DeviceAuthorization, poll: Poll) -> TokenSet:
        """Show the code, and ask until it was confirmed. Trouble on the network and `slow_down` are lived through."""
        loop, conversation = asyncio.get_running_loop(), self._conversation
        self.waiting_for = "the one-time code was not confirmed"
        self._count += 1
        conversation.event(ev.LoginStarted(flow="device"))
        conversation.tell(f"To sign in with {whom}, confirm a one-time code in a browser, here or on another machine.")
        expires = round(device.expires_in_s)
        conversation.event(ev.DeviceCode(url=device.page, user_code=device.user_code, expires_in_s=expires))
        async with self._showing(self._count, Secret(device.page)):
            polling = DevicePolling(device, loop.time())
            step: Wait | Expired | Refused = polling.begin(loop.time())
            while isinstance(step, Wait):
                await self._environment.sleep(step.seconds)
                answer = await poll(device.device_code, self._environment.now())
                if isinstance(answer, TokenSet):
                    return answer
                step = polling.step(answer, loop.time())
        if isinstance(step, Refused):
            raise OAuthError(f"{whom}: the sign-in was denied")
        raise DeviceCodeExpiredError(f"the one-time code was not confirmed while it lived ({expires} s)")

    # --- both --------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _showing(self, leg: int, url: Secret[str]) -> AsyncIterator[None]:
        """Print the page's address and open it, while what is in the `async with` waits for its effect."""
        self._conversation.url(url.reveal(), urlsplit(url.reveal()).netloc)
        opening = asyncio.ensure_future(self._start_browser(leg, url))
        try:
            yield
            await opening  # a robot may be quicker than the command that starts it
        finally:
            opening.cancel()
            await asyncio.wait({opening})

    async def _start_browser(self, leg: int, url: Secret[str]) -> None:
        how = await self._environment.browser.open(url.reveal())
        self._conversation.event(ev.BrowserOpened(leg=leg, how=how))

    def timed_out(self, seconds: float) -> KirotunnelError:
        """What was still missing when the time was over."""
        if self._wrong_states:
            return StateMismatchError(
                f"the browser came back with the answer of another sign-in ({self._wrong_states} times), "
                "and never with that of this one",
                "close old sign-in tabs, and run the command again",
            )
        return LoginTimedOutError(f"the sign-in was not finished within {seconds:g} s: {self.waiting_for}")


def is_denial(error: BaseException) -> bool:
    """KT601 itself, and none of its more special kinds."""
    return type(error) is OAuthError


def _page(error: BaseException | None) -> Page:
    if error is None:
        return Page.SIGNED_IN
    return Page.DENIED if is_denial(error) else Page.NOT_SIGNED_IN


def _words(error: BaseException) -> str:
    return error.message if isinstance(error, KirotunnelError) else "The sign-in was broken off"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "user"
