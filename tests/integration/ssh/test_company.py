"""Connections made side by side: one question for all that share a key or a host, and a pace for the server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from integration.ssh.conftest import MakeRoute
from integration.ssh.people import Person, Route
from kirotunnel.errors import AuthenticationFailedError, HostKeyUnknownError
from kirotunnel.ssh.company import HANDSHAKES, Company
from kirotunnel.ssh.config import SSHOptions, resolve_endpoint
from kirotunnel.ssh.connection import SSHSession, connect
from kirotunnel.ssh.prompts import Nobody, Prompts
from lab.keys import PASSPHRASE, ClientKeys
from lab.remote import RemoteMachine
from lab.servers import Server

MANY: Final = 24
"""More than any sshd takes at once that are not authenticated (MaxStartups 10:30:100)."""


@asynccontextmanager
async def connected(route: Route, target: str, prompts: Prompts, company: Company) -> AsyncIterator[SSHSession]:
    endpoint = await resolve_endpoint(target, SSHOptions(config_file=str(route.config)))
    async with connect(endpoint, prompts, route.told.append, company) as session:
        yield session


async def all_at_once(route: Route, targets: list[str], prompts: Prompts, company: Company) -> list[str | Exception]:
    async def one(target: str) -> str:
        async with connected(route, target, prompts, company) as session:
            process = await session.start("id -un")
            return str((await process.stdout.read()).decode().strip())

    found = await asyncio.gather(*map(one, targets), return_exceptions=True)
    return [result if isinstance(result, (str, Exception)) else str(result) for result in found]


async def test_a_passphrase_is_asked_for_once_for_all_hosts(
    sshd: Server, route: MakeRoute, client_keys: ClientKeys
) -> None:
    users = ["bash", "dash", "fish"]
    way = route(*(sshd.entry(user, user, IdentityFile=str(client_keys.encrypted)) for user in users))
    person = Person({"Passphrase": PASSPHRASE})
    assert await all_at_once(way, users, person, Company()) == users
    assert len(person.asked) == 1
    assert f"Passphrase for {client_keys.encrypted} (for " in person.asked[0]


async def test_a_passphrase_that_nobody_knows_is_asked_for_once_as_well(
    sshd: Server, route: MakeRoute, client_keys: ClientKeys
) -> None:
    users = ["bash", "dash"]
    way = route(*(sshd.entry(user, user, IdentityFile=str(client_keys.encrypted)) for user in users))
    person = Person({})
    results = await all_at_once(way, users, person, Company())
    assert len(person.asked) == 1
    for result in results:
        assert isinstance(result, AuthenticationFailedError)
        assert "ssh-add" in result.hint


@pytest.mark.parametrize("yes", [True, False])
async def test_an_unknown_host_is_asked_about_once_for_all_its_users(
    sshd: Server, route: MakeRoute, tmp_path: Path, yes: bool
) -> None:
    users = ["bash", "dash", "fish"]
    file = tmp_path / "known_hosts"
    way = route(*(sshd.entry(user, user, UserKnownHostsFile=str(file)) for user in users))
    person = Person({"is not known": yes})
    results = await all_at_once(way, users, person, Company())
    assert len(person.asked) == 1
    if yes:
        assert results == users
        assert len(file.read_text().splitlines()) == 1
        assert len(way.told) == 1
    else:
        assert all(isinstance(result, HostKeyUnknownError) for result in results)
        assert not file.exists()


async def test_more_connections_than_a_server_takes_at_once_all_stand_in_the_end(
    sshd: Server, route: MakeRoute
) -> None:
    names = [f"box{number}" for number in range(MANY)]
    way = route(*(sshd.entry(name, "bash") for name in names))
    assert await all_at_once(way, names, Nobody(), Company()) == ["bash"] * MANY


async def test_so_many_are_made_at_once_and_no_more() -> None:
    company, now, most = Company(), 0, 0

    async def connection() -> None:
        nonlocal now, most
        async with company.door("server"):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

    await asyncio.gather(*(connection() for _ in range(MANY)))
    assert most == HANDSHAKES


async def test_a_server_that_turns_us_away_is_asked_again(remote: RemoteMachine, route: MakeRoute) -> None:
    server = remote.sshd(["MaxStartups 3:100:3"])
    names = [f"box{number}" for number in range(MANY // 2)]
    way = route(*(server.entry(name, "bash") for name in names))
    assert await all_at_once(way, names, Nobody(), Company()) == ["bash"] * (MANY // 2)
    assert re.search(r"drop connection|beginning MaxStartups throttling", server.log)
