"""Staying signed in, and signing out: against the sandbox's services, by the flows and by the command itself."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from integration.scripted_server import ScriptedServer, answer
from integration.sign_in_world import World, a_world
from kirotunnel import events as ev
from kirotunnel.errors import (
    KirotunnelError,
    NobodySignedInError,
    ServiceReplyError,
    ServiceUnreachableError,
    SessionEndedError,
    SessionStoreError,
)
from kirotunnel.flows.native_login import sign_in
from kirotunnel.flows.session import SESSION, Choice, Sessions
from kirotunnel.flows.sign_in_route import SignInOptions
from kirotunnel.local import session_store
from kirotunnel.oauth.endpoints import Endpoints
from kirotunnel.oauth.session import Method, Session, dump

ANY = Choice()
IDC = {"start_url": "https://example.awsapps.com/start", "region": "us-east-1"}
METHODS: list[Method] = ["google", "github", "builder-id", "idc", "external-idp"]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path / "kirotunnel") as made:
        yield made


async def token(world: World, choice: Choice = ANY) -> str:
    return (await world.sessions.fresh(choice)).tokens.access_token.reveal()


@pytest.mark.parametrize("method", METHODS)
async def test_a_token_is_used_until_a_minute_before_its_end_and_then_renewed_with_rotation(
    world: World, method: Method
) -> None:
    await world.sign_in(as_=method)
    first = await token(world)
    world.clock[0] += 3600 - 61
    assert await token(world) == first
    session = await world.session()
    assert session is not None
    world.clock[0] += 1.5
    tokens = [await token(world)]
    assert tokens[0] != first
    renewed = await world.session()
    assert renewed is not None
    assert renewed.tokens.refresh_token != session.tokens.refresh_token
    assert renewed.account == session.account
    for _ in range(3):
        world.clock[0] += 3600
        tokens.append(await token(world))
    assert len(set(tokens)) == 4


@pytest.mark.parametrize("method", METHODS)
async def test_a_renewal_that_is_refused_ends_the_session_and_says_so(world: World, method: Method) -> None:
    await world.sign_in(as_="google" if method != "google" else "github")
    await world.sign_in(as_=method, method=method, **(IDC if method == "idc" else {}))
    session = await world.session()
    assert session is not None
    world.clock[0] += 4000
    await token(world)
    # The refresh token of before was spent: who still has it has a copy.
    await world.environment.store.put(SESSION + session.key, dump(session), make_current=True)
    with pytest.raises(SessionEndedError, match="refused to renew") as caught:
        await token(world)
    assert caught.value.code == "KT613"
    with pytest.raises(NobodySignedInError):
        await token(world)
    assert len(await world.sessions.all()) == 1  # the other account has nothing to do with it


@pytest.mark.parametrize("method", METHODS)
async def test_a_network_that_fails_keeps_the_session(world: World, method: Method) -> None:
    await world.sign_in(as_=method)
    session = await world.session()
    world.clock[0] += 4000
    failures = {"google": ("kiro-auth", "refreshToken", "503"), "github": ("kiro-auth", "refreshToken", "503")}
    aws = ("aws-sso-oidc", "CreateToken", "InternalServerException")
    service, operation, error = failures.get(
        method, aws if method != "external-idp" else ("idp", "token", "server_error")
    )
    for _ in range(4):
        world.services.fail_next(service, operation, error)
    with pytest.raises(ServiceUnreachableError):
        await token(world)
    assert await world.session() == session
    assert await token(world)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (answer(403, b"<html>blocked by policy", "text/html"), ServiceUnreachableError),
        (answer(429, b"{}"), ServiceUnreachableError),
        (answer(404, b"{}"), ServiceUnreachableError),
        (answer(200, b"<html>log in first", "text/html"), ServiceReplyError),
        (answer(200, b'{"accessToken": "a'), ServiceReplyError),
        (answer(200, b"{}"), ServiceReplyError),
    ],
    ids=["blocked", "429", "404", "portal", "cut off", "empty"],
)
async def test_what_somebody_on_the_way_says_does_not_end_a_session(
    world: World, reply: bytes, error: type[KirotunnelError]
) -> None:
    await world.sign_in(as_="google")
    session = await world.session()
    world.clock[0] += 4000
    async with ScriptedServer.open([reply]) as server:
        environment = replace(world.environment, endpoints=Endpoints(auth_service=server.url))
        with pytest.raises(error):
            await Sessions(environment).fresh(ANY)
    assert await world.session() == session


async def test_a_token_that_lives_for_some_seconds_more_is_better_than_none(world: World) -> None:
    await world.sign_in(as_="google")
    first = await token(world)
    world.clock[0] += 3600 - 30
    for _ in range(4):
        world.services.fail_next("kiro-auth", "refreshToken", "503")
    assert await token(world) == first


@pytest.mark.parametrize("skew", [-300, 300])
@pytest.mark.parametrize("method", METHODS)
async def test_clocks_may_be_five_minutes_apart(world: World, method: Method, skew: int) -> None:
    clock = world.clock
    environment = replace(world.environment, now=lambda: clock[0] + skew)
    await world.sign_in(as_=method)  # fills the browser in
    world.services.seen.clear()
    result = await sign_in(SignInOptions(force=True, timeout_s=15), replace(environment, browser=world.browser))
    await world.browser.reports()
    assert not result.already
    assert await Sessions(environment).whoami(ANY) == result.account


async def test_whoami_renews_and_says_why_it_could_not(world: World) -> None:
    assert await world.sessions.whoami(ANY) is None
    await world.sign_in(as_="google")
    world.clock[0] += 4000
    for _ in range(4):
        world.services.fail_next("kiro-auth", "refreshToken", "503")
    account = await world.sessions.whoami(ANY)
    assert account == ev.Account(type="social", provider="Google", email="ada@example.com")
    assert any("could not be renewed" in text for text in world.notes.said)
    world.services.fail_next("kiro-auth", "refreshToken", "401")
    assert await world.sessions.whoami(ANY) is None
    assert await world.session() is None


@pytest.mark.parametrize("method", METHODS)
async def test_signing_out_deletes_here_and_revokes_where_it_can_be(world: World, method: Method) -> None:
    await world.sign_in(as_=method)
    session = await world.session()
    assert session is not None
    result = await world.sessions.end(ANY)
    assert await world.session() is None
    is_aws = method in {"builder-id", "idc"}
    assert result.revoked is not is_aws
    assert bool(result.why_not) is is_aws
    assert world.notes.events[-1] == ev.SignedOut(revoked=not is_aws)
    if not is_aws:
        # The service really knows: the refresh token is of no use any more.
        await world.environment.store.put(SESSION + session.key, dump(session), make_current=True)
        world.clock[0] += 4000
        with pytest.raises(SessionEndedError):
            await token(world)


async def test_signing_out_without_a_network_deletes_here_and_says_so(world: World) -> None:
    await world.sign_in(as_="google")
    for _ in range(4):
        world.services.fail_next("kiro-auth", "logout", "503")
    result = await world.sessions.end(ANY)
    assert (result.revoked, await world.session()) == (False, None)
    assert "503" in result.why_not


async def test_signing_out_of_one_of_several(world: World) -> None:
    await world.sign_in(as_="google")
    await world.sign_in(method="idc", as_="idc", **IDC)
    result = await world.sessions.end(Choice(method="google"))
    assert [account.type for account in result.remaining] == ["idc"]
    current = await world.session()
    assert current is not None
    assert current.method == "idc"
    await world.sessions.end(ANY)
    assert await world.session() is None
    with pytest.raises(NobodySignedInError):
        await world.sessions.end(ANY)


async def test_a_session_without_a_refresh_token_ends_with_its_token(world: World) -> None:
    await world.sign_in(as_="google")
    session = await world.session()
    assert session is not None
    session = replace(session, tokens=replace(session.tokens, refresh_token=None))
    await world.environment.store.put(SESSION + session.key, dump(session), make_current=True)
    world.clock[0] += 3599
    assert await token(world) == session.tokens.access_token.reveal()
    world.clock[0] += 2
    with pytest.raises(SessionEndedError, match="without renewal"):
        await token(world)


async def test_a_damaged_entry_is_named_and_left_as_it_is(world: World) -> None:
    await world.sign_in(as_="google")
    file = world.environment.store.file
    values = json.loads(file.read_text())
    values["entries"]["session google"]["value"] = '{"version": 1, "access_token": "s3cr3t'
    file.write_text(json.dumps(values))
    before = file.read_bytes()
    for work in (partial(world.sessions.fresh, ANY), partial(world.sessions.end, ANY), world.sign_in):
        with pytest.raises(SessionStoreError) as caught:
            await work()
        assert str(file) in caught.value.message
        assert "s3cr3t" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.hint}"
    assert file.read_bytes() == before


async def test_ctrl_c_does_not_lose_a_renewal_under_way(world: World) -> None:
    await world.sign_in(as_="google")
    world.clock[0] += 4000
    renewing = asyncio.ensure_future(world.sessions.fresh(ANY))
    while world.seen("kiro-auth")[-1:] != ["refreshToken"]:
        await asyncio.sleep(0)
    renewing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await renewing
    session = await world.session()
    assert session is not None
    assert session.tokens.is_fresh(world.clock[0])


REFUSED = answer(401)
RENEWED = answer(200, b'{"accessToken": "a-2", "refreshToken": "r-2", "profileArn": "arn:x", "expiresIn": 3600}')


@pytest.mark.parametrize("reply", [REFUSED, RENEWED], ids=["refused", "renewed"])
async def test_a_sign_in_while_the_session_before_is_being_renewed_is_what_counts(world: World, reply: bytes) -> None:
    await world.sign_in(as_="google")
    before = await world.session()
    assert before is not None
    world.clock[0] += 4000
    new = replace(before, tokens=replace(before.tokens, expires_at=world.clock[0] + 3600))
    async with ScriptedServer.open([reply]) as server:
        server.go.clear()
        environment = replace(world.environment, endpoints=Endpoints(auth_service=server.url))
        renewing = asyncio.ensure_future(Sessions(environment).fresh(ANY))
        while not server.requests:
            await asyncio.sleep(0.01)
        keeping = asyncio.ensure_future(world.sessions.keep(new))
        await asyncio.wait({keeping}, timeout=0.5)  # which is more than it takes where it does not wait
        server.go.set()
        (renewed,) = await asyncio.gather(renewing, return_exceptions=True)
        await keeping
    assert isinstance(renewed, Session if reply is RENEWED else SessionEndedError)
    kept = await world.session()
    assert kept is not None
    assert kept.tokens == new.tokens


async def test_who_has_just_signed_in_does_not_wait_for_ever_for_a_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_store, "TURN_PATIENCE_S", 0.1)
    await world.sign_in(as_="google")
    session = await world.session()
    assert session is not None
    await world.environment.store.remove(SESSION + session.key)
    async with world.environment.store.turn(SESSION + session.key):
        await world.sessions.keep(session)
    assert await world.session() is not None


# --- the command itself ----------------------------------------------------------------------------------------------


class Command:
    """`kirotunnel` as a process, in a home of its own."""

    def __init__(self, world: World, home: Path) -> None:
        self.environ = {
            **os.environ,
            **world.services.environment(),
            "XDG_DATA_HOME": str(world.directory.parent),
            "HOME": str(home),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }

    async def __call__(self, *arguments: str, **more: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kirotunnel", *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=self.environ | more,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def real_time_world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path / "kirotunnel") as made:
        made.clock[0] = time.time()
        yield made


@pytest.mark.timeout(300)
async def test_fifty_processes_at_the_moment_of_expiry_make_one_renewal(real_time_world: World, tmp_path: Path) -> None:
    world = real_time_world
    await world.sign_in(as_="google")
    session = await world.session()
    assert session is not None
    old = replace(session, tokens=replace(session.tokens, expires_at=time.time() + 30))
    await world.environment.store.put(SESSION + old.key, dump(old), make_current=True)
    command = Command(world, tmp_path)
    results = await asyncio.gather(*(command("token") for _ in range(50)))
    assert {(code, err) for code, _, err in results} == {(0, "")}
    (printed,) = {out for _, out, _ in results}
    renewed = await world.session()
    assert renewed is not None
    assert printed == renewed.tokens.access_token.reveal() + "\n"
    assert printed != session.tokens.access_token.reveal() + "\n"
    assert world.seen("kiro-auth").count("refreshToken") == 1


async def test_the_commands_outputs_and_exit_codes(real_time_world: World, tmp_path: Path) -> None:
    world = real_time_world
    command = Command(world, tmp_path)
    assert await command("whoami") == (1, "", "nobody is signed in here\n")
    code, out, err = await command("token")
    assert (code, out) == (8, "")
    assert err.startswith("error[KT614]: nobody is signed in here\n\nhint: ")
    assert await command("logout") == (0, "", "nobody is signed in here\n")

    await world.sign_in(as_="google")
    session = await world.session()
    assert session is not None
    assert await command("whoami") == (0, "ada@example.com (Google)\n", "")
    assert await command("token") == (0, session.tokens.access_token.reveal() + "\n", "")
    code, out, err = await command("whoami", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [(line["event"], line["target"]) for line in lines] == [("signed_in", None), ("result", None)]
    assert lines[0]["account"] == {
        "type": "social", "provider": "Google", "email": "ada@example.com", "start_url": None, "region": None,
    }  # fmt: skip
    code, _, err = await command("token", "--method", "idc")
    assert code == 8
    assert "nobody is signed in here with idc" in err

    code, out, err = await command("logout", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(line["event"], line.get("revoked")) for line in lines] == [("signed_out", True), ("result", None)]
    assert "deleted here, and revoked at the service" in err
    assert (await command("whoami", "--json"))[0] == 1


async def test_login_as_a_process_with_a_browser_command(real_time_world: World, tmp_path: Path) -> None:
    world = real_time_world
    robot = Path(__file__).parent.parent / "e2e" / "robot_browser.py"
    command = Command(world, tmp_path)
    # $BROWSER says that pages can be opened from here, display or not: so it is signed in by callback.
    code, out, err = await command(
        "login", "--json", "--timeout", "30", BROWSER=f"{sys.executable} {robot} google allow"
    )
    events: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    assert code == 0, err
    assert [event["event"] for event in events] == [
        "login_started", "browser_requested", "browser_opened", "callback_received", "signed_in", "result",
    ]  # fmt: skip
    assert events[0]["flow"] == "callback"
    assert events[1]["redirect_port"] >= 1024
    assert "signed in as ada@example.com (Google) on this machine" in err
    session = await world.session()
    assert session is not None
    assert session.tokens.access_token.reveal() not in out + err


async def test_login_as_a_process_in_an_ssh_session(real_time_world: World, tmp_path: Path) -> None:
    world = real_time_world
    robot = Path(__file__).parent.parent / "e2e" / "robot_browser.py"
    code, out, err = await Command(world, tmp_path)(
        "login", "--method", "builder-id", "--json", "-q", "--timeout", "30",
        BROWSER=f"{sys.executable} {robot} builder-id allow", SSH_CONNECTION="192.0.2.1 1 192.0.2.2 22",
    )  # fmt: skip
    events: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    assert code == 0, err
    (device,) = [event for event in events if event["event"] == "device_code"]
    # Even with -q: the address, and the code, are what the person needs.
    assert f"Code: {device['user_code']}\n" in err
    assert f"{device['url']}\n" in err


async def test_a_corrupted_store_is_an_error_of_its_own(real_time_world: World, tmp_path: Path) -> None:
    world = real_time_world
    world.directory.mkdir(parents=True)
    (world.directory / "sessions.json").write_text('{"version": 1, "entries": {"session google": {"in": "file", "val')
    command = Command(world, tmp_path)
    for arguments in (("whoami",), ("token",), ("login",), ("logout",)):
        code, out, err = await command(*arguments)
        assert (code, out) == (3, "")
        assert err.startswith("error[KT103]: ")
        assert "sessions.json" in err
