"""The client's side of a sign-in, for the tests of the services: a verifier, a callback listener, a clock to turn."""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, urlencode

import httpx

from kirotunnel.local.http1 import MalformedRequestError, Request, ServerConnection
from kirotunnel.sandbox.grants import code_challenge

START_URL = "https://example.awsapps.com/start"
BUILDER_ID = "https://view.awsapps.com/start"
SCOPES = ["codewhisperer:completions", "codewhisperer:analysis", "codewhisperer:conversations"]


@dataclass
class Clock:
    """Time that passes when the test says so."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Pkce:
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def query(self) -> dict[str, str]:
        return {"code_challenge": code_challenge(self.verifier), "code_challenge_method": "S256"}


@dataclass
class CallbackListener:
    """What a command line listens with: it notes the requests, and sends the browser on."""

    answer_with: str
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    port: int = 0
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    @asynccontextmanager
    async def open(cls, answer_with: str) -> AsyncIterator[Self]:
        listener = cls(answer_with)
        writers: list[asyncio.StreamWriter] = []
        tasks: list[asyncio.Task[None]] = []

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            tasks.append(asyncio.create_task(listener._serve(ServerConnection(reader, writer))))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        listener.port = server.sockets[0].getsockname()[1]
        try:
            yield listener
        finally:
            server.close()
            for task, writer in zip(tasks, writers, strict=True):
                writer.transport.abort()
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, connection: ServerConnection) -> None:
        self.connections += 1
        try:
            while (request := await connection.read_request()) is not None:
                self.requests.append(request)
                self._arrived.set()
                await connection.respond(302, (("Location", self.answer_with),), close=True)
                if not connection.reusable:
                    return
                connection.next_cycle()
        except MalformedRequestError:
            return
        finally:
            await connection.close()

    async def arrived(self) -> Request:
        await asyncio.wait_for(self._arrived.wait(), 20)
        return self.callback

    @property
    def callback(self) -> Request:
        """The one callback."""
        (request,) = (request for request in self.requests if not request.target.startswith("/favicon"))
        return request

    @property
    def answer(self) -> dict[str, str]:
        return dict(self.pairs)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return parse_qsl(self.callback.target.partition("?")[2], keep_blank_values=True)

    @property
    def path(self) -> str:
        return self.callback.target.partition("?")[0]


def portal_url(base: str, redirect_uri: str, pkce: Pkce, *, state: str = "abcdefghij", **changed: str) -> str:
    query = {"state": state, **pkce.query, "redirect_uri": redirect_uri, "redirect_from": "kirocli", **changed}
    return f"{base}/signin?{urlencode(query)}"


def http_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), timeout=20)
