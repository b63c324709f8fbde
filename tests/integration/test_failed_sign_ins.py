"""Sign-ins that go wrong: each has a code and a hint, and the session that was there before is there still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from integration.scripted_server import DROP, ScriptedServer, answer, certificate
from integration.sign_in_world import RobotBrowser, World, a_world
from kirotunnel.errors import IssuerMismatchError, KirotunnelError
from kirotunnel.flows.native_login import sign_in
from kirotunnel.flows.sign_in_environment import SignInEnvironment
from kirotunnel.flows.sign_in_route import SignInOptions
from kirotunnel.oauth.session import Session
from kirotunnel.sandbox.identity_provider import CLIENT_ID

HTML = answer(200, b"<!doctype html><title>Log in to the hotel network</title>", "text/html")
CUT = answer(200, b'{"accessToken": "s3cr3t-token", "refreshTo')
HUGE = answer(200, b'{"accessToken": "' + b"x" * 2_000_000 + b'"}')
REFUSED = answer(400, b'{"message": "not today"}')


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path / "kirotunnel") as made:
        await made.sign_in(as_="github")
        yield made


async def failure(world: World, options: SignInOptions, environment: SignInEnvironment) -> KirotunnelError:
    """How it fails, after which everything is as before."""
    before = await world.session()
    assert isinstance(before, Session)
    kept = world.environment.store.file.read_bytes()
    with pytest.raises(KirotunnelError) as caught:
        await sign_in(options, environment)
    assert await world.session() == before
    assert world.environment.store.file.read_bytes() == kept
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("reply", "code"),
    [(HTML, "KT612"), (CUT, "KT612"), (HUGE, "KT612"), (REFUSED, "KT603"), (DROP, "KT610"), (answer(503), "KT610")],
    ids=["html", "cut off", "huge", "refused", "broken off", "503"],
)
async def test_an_auth_service_that_does_not_answer_as_it_should(world: World, reply: bytes, code: str) -> None:
    async with ScriptedServer.open([reply]) as server:
        environment = replace(
            world.environment,
            endpoints=replace(world.environment.endpoints, auth_service=server.url),
            browser=RobotBrowser("google"),
        )
        for flow in ("callback", "device"):
            error = await failure(world, SignInOptions(method="google", flow=flow, timeout_s=20), environment)
            assert error.code in {code, "KT617"} if flow == "device" else error.code == code
            assert "s3cr3t-token" not in error.message


@pytest.mark.parametrize(
    ("reply", "code"),
    [(HTML, "KT612"), (CUT, "KT612"), (HUGE, "KT612"), (REFUSED, "KT617"), (DROP, "KT610"), (answer(500), "KT610")],
    ids=["html", "cut off", "huge", "refused", "broken off", "500"],
)
async def test_an_aws_that_does_not_answer_as_it_should(world: World, reply: bytes, code: str) -> None:
    async with ScriptedServer.open([reply]) as server:
        environment = replace(world.environment, endpoints=replace(world.environment.endpoints, sso_oidc=server.url))
        for flow in ("callback", "device"):
            error = await failure(world, SignInOptions(method="builder-id", flow=flow, timeout_s=20), environment)
            assert error.code == code


@pytest.mark.parametrize(
    ("reply", "code"),
    [(HTML, "KT612"), (CUT, "KT612"), (HUGE, "KT612"), (answer(404), "KT605"), (answer(200), "KT605"), (DROP, "KT610")],
    ids=["html", "cut off", "huge", "nothing there", "nothing in it", "broken off"],
)
async def test_a_provider_that_does_not_answer_as_it_should(world: World, reply: bytes, code: str) -> None:
    async with ScriptedServer.open([reply]) as server:
        options = SignInOptions(issuer=server.url, client_id="c", timeout_s=20)
        assert (await failure(world, options, world.environment)).code == code


async def test_a_provider_whose_certificate_nobody_signed(world: World, tmp_path: Path) -> None:
    tls, _ = certificate(tmp_path)
    async with ScriptedServer.open([answer(200)], tls=tls) as server:
        options = SignInOptions(issuer=server.url, client_id="c", timeout_s=20)
        error = await failure(world, options, world.environment)
        assert error.code == "KT611"
        assert "SSL_CERT_FILE" in error.hint


async def test_no_network(world: World) -> None:
    options = SignInOptions(issuer="https://nowhere.invalid", client_id="c", timeout_s=20)
    assert (await failure(world, options, world.environment)).code == "KT610"


class Impostor:
    """Comes back with the right state, in another provider's name (RFC 9207)."""

    def __init__(self, issuer: str | None) -> None:
        self._issuer = issuer
        self.task: asyncio.Task[str] | None = None

    async def open(self, url: str) -> str:
        query = {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
        iss = "" if self._issuer is None else f"&iss={quote(self._issuer, safe='')}"
        self.task = asyncio.create_task(
            self._come_back(f"{query['redirect_uri']}?code=s3cr3t&state={query['state']}{iss}")
        )
        return "impostor"

    async def _come_back(self, url: str) -> str:
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(url)).text


@pytest.mark.parametrize("issuer", ["https://evil.example", None], ids=["another", "none"])
async def test_an_answer_in_another_issuers_name(world: World, issuer: str | None) -> None:
    impostor = Impostor(issuer)
    options = SignInOptions(issuer=world.services.issuer_url, client_id=CLIENT_ID, timeout_s=20)
    error = await failure(world, options, replace(world.environment, browser=impostor))
    assert isinstance(error, IssuerMismatchError)
    assert impostor.task is not None
    assert "Nobody was signed in" in await impostor.task
    assert "token" not in world.seen("idp")  # the code was not even tried
