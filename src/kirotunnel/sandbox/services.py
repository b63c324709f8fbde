"""All sign-in services on one port: `SignInServices` in this process, or `python -m kirotunnel.sandbox.services`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Protocol, Self, get_args

from kirotunnel.local.http1 import Request
from kirotunnel.sandbox.aws_sso_oidc import AwsSsoOidc
from kirotunnel.sandbox.behaviour import Behaviour, Clock, HandOver
from kirotunnel.sandbox.grants import DeviceCodes, Grants
from kirotunnel.sandbox.identity_provider import CLIENT_ID, PATH, SCOPES, IdentityProvider
from kirotunnel.sandbox.kiro_auth_service import KiroAuthService
from kirotunnel.sandbox.portal import ExternalIdentityProvider, Portal
from kirotunnel.sandbox.web import Handler, Response, Route, WebServer, origin


class _Service(Protocol):
    def routes(self) -> Iterable[Route]: ...
    def failure(self, error: str) -> Response: ...


class SignInServices:
    """Portal, auth service, AWS SSO OIDC and identity provider, for the time of an `async with`.

    `public_url` is how the browser reaches them (default: the first address listened on). A remote machine may know
    them by another address: `issuer_base_for_remote` is the base of the issuer that it is told, and what it asks for is
    answered with the address that it asked by. `sso_public_url` is how the browser reaches the AWS pages where that is
    to be another host name than the portal's (Chromium shares connections by host name, and hides faults so).
    """

    def __init__(
        self,
        *,
        listen: Sequence[str] = ("127.0.0.1",),
        port: int = 0,
        public_url: str | None = None,
        sso_public_url: str | None = None,
        issuer_base_for_remote: str | None = None,
        hand_over: HandOver = "link",
        behaviour: Behaviour | None = None,
        clock: Clock = time.time,
    ) -> None:
        self._web = WebServer(listen=listen, port=port)
        self._public_url = public_url
        self._sso_public_url = sso_public_url
        self._issuer_base = issuer_base_for_remote
        self._hand_over: HandOver = hand_over
        self._behaviour = behaviour or Behaviour()
        self._clock = clock
        self._failures: dict[tuple[str, str], deque[str]] = {}

    @property
    def seen(self) -> list[tuple[str, str]]:
        """What arrived, in order: (service, operation), and nothing of the requests themselves."""
        return self._web.seen

    @property
    def port(self) -> int:
        """The port, the same on all addresses."""
        return self._web.port

    @property
    def origins(self) -> tuple[str, ...]:
        """The origin of each address listened on."""
        return tuple(origin(address, self.port) for address in self._web.addresses)

    @property
    def public_url(self) -> str:
        """How the browser reaches the services."""
        return (self._public_url or self.origins[0]).rstrip("/")

    @property
    def sso_public_url(self) -> str:
        """How the browser reaches the AWS pages."""
        return (self._sso_public_url or self.public_url).rstrip("/")

    @property
    def issuer_url(self) -> str:
        """The issuer of the identity provider."""
        return f"{(self._issuer_base or self.public_url).rstrip('/')}{PATH}"

    def environment(self, base: str | None = None) -> dict[str, str]:
        """The variables that point a client here, which reaches the services at `base` (default: like the browser).

        The portal stays at the public URL: what the client makes of it is opened by the browser.
        """
        client = (base or self.public_url).rstrip("/")
        return {
            "KIRO_AUTH_PORTAL_URL": self.public_url,
            "KIROTUNNEL_AUTH_SERVICE_URL": client,
            "AWS_ENDPOINT_URL_SSO_OIDC": client,
        }

    def fail_next(self, service: str, operation: str, error: str) -> None:
        """Answer the next request of this operation with an error instead, once; several are answered in order.

        `error` is an error shape for "aws-sso-oidc", an OAuth error code for "idp", an HTTP status for "kiro-auth".
        """
        self._failures.setdefault((service, operation), deque()).append(error)

    async def __aenter__(self) -> Self:
        await self._web.__aenter__()
        for service in self._services():
            self._web.add_routes(self._with_failures(service))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._web.__aexit__(kind, error, trace)

    def _services(self) -> Iterator[_Service]:
        clock, behaviour, how = self._clock, self._behaviour, self._hand_over
        kiro_grants = Grants(clock, behaviour)
        provider = ExternalIdentityProvider(issuer_url=self.issuer_url, client_id=CLIENT_ID, scopes=SCOPES)
        yield Portal(kiro_grants, hand_over=how, public_url=self.public_url, idp=provider)
        yield KiroAuthService(kiro_grants, DeviceCodes(clock, behaviour), behaviour, public_url=self.public_url)
        yield AwsSsoOidc(clock, behaviour, hand_over=how, public_url=self.sso_public_url)
        yield IdentityProvider(clock, behaviour, hand_over=how, public_url=self.public_url, issuer_url=self.issuer_url)

    def _with_failures(self, service: _Service) -> Iterator[Route]:
        for route in service.routes():
            yield replace(route, handler=self._failing(route, service.failure))

    def _failing(self, route: Route, failure: Callable[[str], Response]) -> Handler:
        def answer(request: Request) -> Response:
            wanted = self._failures.get(route.name(request))
            return failure(wanted.popleft()) if wanted else route.handler(request)

        return answer


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the services until stdin ends or SIGTERM comes; the first line on stdout says where they are."""
    asyncio.run(_run(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kirotunnel.sandbox.services", description=main.__doc__)
    parser.add_argument("--listen", metavar="ADDR", nargs="+", action="extend", help="literal addresses to listen on")
    parser.add_argument("--port", metavar="N", type=int, default=0, help="the port; 0 takes one that is free")
    parser.add_argument("--public-url", metavar="URL", help="how the browser reaches the services")
    parser.add_argument("--sso-public-url", metavar="URL", help="how the browser reaches the AWS pages")
    parser.add_argument("--issuer-base-for-remote", metavar="URL", help="the base of the issuer that clients are told")
    parser.add_argument("--hand-over", choices=get_args(HandOver), default="link", help="how the browser is sent back")
    return parser


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    services = SignInServices(
        listen=options.listen or ("127.0.0.1",),
        port=options.port,
        public_url=options.public_url,
        sso_public_url=options.sso_public_url,
        issuer_base_for_remote=options.issuer_base_for_remote,
        hand_over=options.hand_over,
    )
    async with services:
        sys.stdout.write(f"{json.dumps(_where(services))}\n")
        sys.stdout.flush()
        # A thread, since the loop can watch a pipe but not a file or /dev/null.
        threading.Thread(target=_wait_for_end_of_input, args=(loop, stop), daemon=True).start()
        await stop.wait()


def _where(services: SignInServices) -> dict[str, object]:
    return {
        "port": services.port,
        "origins": services.origins,
        "public_url": services.public_url,
        "sso_public_url": services.sso_public_url,
        "issuer_url": services.issuer_url,
        "client_id": CLIENT_ID,
        "environment": services.environment(),
    }


def _wait_for_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # os.read, not sys.stdin: its lock would be in the way when the interpreter ends while this thread waits.
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # a signal was quicker, and the loop is closed
        loop.call_soon_threadsafe(stop.set)


if __name__ == "__main__":
    main()
