"""Through other hosts: jumps, each with its own user and key; a ProxyCommand; and which host an error is about."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration.ssh.conftest import MakeRoute
from integration.ssh.people import Person, Route
from kirotunnel.errors import (
    AuthenticationFailedError,
    ConnectTimedOutError,
    HostKeyChangedError,
    HostKeyUnknownError,
    HostNotFoundError,
    SSHConfigError,
    SSHError,
)
from kirotunnel.ssh.connection import CONNECT_TIMEOUT_S
from lab.keys import PASSPHRASE, ClientKeys, generate, public_key
from lab.remote import RemoteMachine
from lab.servers import Server


@dataclass
class Way:
    """Three hops and a target, four machines: each with another user and another key."""

    hops: list[Server]
    target: Server
    machines: list[RemoteMachine]
    keys: list[Path]

    def config(self, route: MakeRoute, **changes: dict[str, str]) -> Route:
        users = ["dash", "noisy", "zsh", "bash"]
        entries = []
        for number, server in enumerate([*self.hops, self.target]):
            name = f"hop{number + 1}" if number < 3 else "inner"
            options = {"IdentityFile": str(self.keys[number])} | changes.get(name, {})
            entries.append(server.entry(name, users[number], **options))
        return route(*entries)


@pytest.fixture
def way(remote: RemoteMachine, other_machines: list[RemoteMachine], tmp_path: Path) -> Iterator[Way]:
    machines = [*other_machines, remote]
    keys, servers = [], []
    for number, machine in enumerate(machines):
        # They find each other through us. A link that was down has lost its route.
        machine.run(f"ip route replace default via {machine.host_address}")
        key = generate(tmp_path / f"key{number}")
        accepted = f"/run/lab/only_{number}"
        machine.write(accepted, public_key(key) + "\n")
        keys.append(key)
        servers.append(machine.sshd(extra=[f"AuthorizedKeysFile {accepted}"]))
    yield Way(servers[:3], servers[3], machines, keys)
    for machine, server in zip(machines, servers, strict=True):
        machine.restore()
        server.stop()


async def test_one_jump(way: Way, route: MakeRoute) -> None:
    found = way.config(route, inner={"ProxyJump": "hop1"})
    assert await found.user_at("inner") == "bash"
    way.target.wait_for_log(rf"Accepted publickey for bash from {way.machines[0].address}")


async def test_three_jumps_each_with_its_own_user_and_key(way: Way, route: MakeRoute) -> None:
    found = way.config(route, inner={"ProxyJump": "hop1,hop2,hop3"})
    assert await found.user_at("inner") == "bash"
    for server, before in (
        (way.hops[1], way.machines[0]),
        (way.hops[2], way.machines[1]),
        (way.target, way.machines[2]),
    ):
        server.wait_for_log(rf"Accepted publickey for \w+ from {before.address}")


async def test_a_jump_that_itself_needs_a_jump(way: Way, route: MakeRoute) -> None:
    found = way.config(route, inner={"ProxyJump": "hop2"}, hop2={"ProxyJump": "hop1"})
    assert await found.user_at("inner") == "bash"
    way.hops[1].wait_for_log(rf"Accepted publickey for noisy from {way.machines[0].address}")


async def test_a_jump_over_dropbear(remote: RemoteMachine, dropbear: Server, sshd: Server, route: MakeRoute) -> None:
    found = route(dropbear.entry("bear", "bash"), sshd.entry("inner", "dash", ProxyJump="bear"))
    assert await found.user_at("inner") == "dash"


async def test_a_jump_host_that_is_down_is_named(way: Way, route: MakeRoute) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        free = held.getsockname()[1]
    found = way.config(route, inner={"ProxyJump": "hop1"}, hop1={"HostName": "127.0.0.1", "Port": str(free)})
    with pytest.raises(SSHError) as caught:
        await found.user_at("inner")
    assert caught.value.code == "KT301"
    assert f"the jump host dash@127.0.0.1:{free}: connection refused" in caught.value.message


async def test_a_jump_host_that_does_not_answer_is_named_in_time(way: Way, route: MakeRoute) -> None:
    found = way.config(route, inner={"ProxyJump": "hop1,hop2"}, hop1={"ConnectTimeout": "2"})
    way.machines[0].cut()
    began = time.monotonic()
    with pytest.raises(ConnectTimedOutError, match="the jump host dash@"):
        await found.user_at("inner")
    assert time.monotonic() - began < CONNECT_TIMEOUT_S / 2  # without a ConnectTimeout it is all of it


async def test_a_host_behind_a_jump_that_is_down_is_named_with_the_jump(way: Way, route: MakeRoute) -> None:
    found = way.config(route, inner={"ProxyJump": "hop1", "Port": "9"})
    with pytest.raises(
        SSHError, match=r"the jump host dash@\S+ cannot reach bash@\S+: nothing answers there"
    ) as caught:
        await found.user_at("inner")
    assert caught.value.code == "KT301"


async def test_a_second_jump_that_is_down_is_named_with_the_first(way: Way, route: MakeRoute) -> None:
    found = way.config(route, inner={"ProxyJump": "hop1,hop2"}, hop2={"Port": "9"})
    with pytest.raises(SSHError, match=r"the jump host dash@\S+ cannot reach the jump host noisy@\S+:9"):
        await found.user_at("inner")


async def test_a_jump_host_that_forbids_forwarding_is_named(way: Way, route: MakeRoute) -> None:
    way.hops[0].stop()
    way.hops[0] = way.machines[0].sshd(extra=["AllowTcpForwarding no", "AuthorizedKeysFile /run/lab/only_0"])
    found = way.config(route, inner={"ProxyJump": "hop1"})
    with pytest.raises(SSHError, match=r"the jump host dash@\S+ cannot reach bash@\S+: it forbids forwarding"):
        await found.user_at("inner")


async def test_a_key_that_a_jump_refuses_is_about_that_jump(
    way: Way, route: MakeRoute, client_keys: ClientKeys
) -> None:
    stranger = {"IdentityFile": str(client_keys.stranger)}
    found = way.config(route, inner={"ProxyJump": "hop1,hop2,hop3"}, hop2=stranger)
    with pytest.raises(AuthenticationFailedError, match="the jump host noisy@"):
        await found.user_at("inner")


async def test_a_host_key_of_a_jump_is_that_jumps_own(way: Way, route: MakeRoute, tmp_path: Path) -> None:
    empty = {"UserKnownHostsFile": str(tmp_path / "none"), "StrictHostKeyChecking": "yes"}
    found = way.config(route, inner={"ProxyJump": "hop1,hop2"}, hop2=empty)
    with pytest.raises(HostKeyUnknownError, match=way.hops[1].host):
        await found.user_at("inner")
    wrong = tmp_path / "wrong"
    host, port = way.hops[1].host, way.hops[1].port
    wrong.write_text(f"{host},[{host}]:{port} {public_key(way.keys[0])}\n")
    found = way.config(route, inner={"ProxyJump": "hop1,hop2"}, hop2={"UserKnownHostsFile": str(wrong)})
    with pytest.raises(HostKeyChangedError, match=way.hops[1].host):
        await found.user_at("inner")


async def test_a_jump_host_without_an_address_is_named(way: Way, route: MakeRoute) -> None:
    found = way.config(route, inner={"ProxyJump": "nowhere.invalid"})
    with pytest.raises(HostNotFoundError, match=r"the jump host nowhere\.invalid has no address"):
        await found.user_at("inner")


async def test_jumps_that_lead_in_a_circle_are_shown(way: Way, route: MakeRoute) -> None:
    found = way.config(route, inner={"ProxyJump": "hop1"}, hop1={"ProxyJump": "hop2"}, hop2={"ProxyJump": "hop1"})
    with pytest.raises(SSHConfigError, match=r"\binner → hop1 → hop2 → hop1"):
        await found.user_at("inner")


async def test_a_lost_jump_ends_the_target_as_well(way: Way, route: MakeRoute) -> None:
    found = way.config(route, inner={"ProxyJump": "hop1"})
    async with found.to("inner") as session:
        way.hops[0].drop_connections()
        await asyncio.wait_for(asyncio.shield(session.lost), 10)  # keepalives would take longer


async def test_a_passphrase_is_asked_once_for_all_hops(
    remote: RemoteMachine, sshd: Server, route: MakeRoute, client_keys: ClientKeys
) -> None:
    person = Person({"Passphrase": PASSPHRASE})
    other = remote.sshd()
    locked = {"IdentityFile": str(client_keys.encrypted)}
    found = route(sshd.entry("first", "dash", **locked), other.entry("inner", "bash", ProxyJump="first", **locked))
    assert await found.user_at("inner", prompts=person) == "bash"
    assert len(person.asked) == 1
    assert str(client_keys.encrypted) in person.asked[0]
    assert f"for dash@{sshd.host}" in person.asked[0]


async def test_a_proxy_command(way: Way, route: MakeRoute) -> None:
    found = way.config(route)
    command = f"ssh -F {found.config} -W %h:%p hop1"
    assert await found.user_at("inner", f"ProxyCommand={command}") == "bash"
    way.target.wait_for_log(rf"Accepted publickey for bash from {way.machines[0].address}")


@pytest.mark.parametrize(
    "command",
    [
        "{ssh} 2>/dev/null",
        "{ssh} 2>&-",
        "sh -c '(while sleep 0.0{mark}; do echo noise; done >&2 </dev/null >/dev/null) & exec {ssh}'",
    ],
    ids=["hidden", "closed", "noise"],
)
async def test_what_a_proxy_command_does_with_its_standard_error_is_not_the_connections(
    way: Way, route: MakeRoute, command: str
) -> None:
    found = way.config(route)
    mark = f"{time.time_ns() % 10**9:09d}"
    line = command.format(ssh=f"ssh -F {found.config} -W %h:%p hop1", mark=mark)
    async with found.to("inner", f"ProxyCommand={line}") as session:
        for _ in range(20):
            process = await session.start("exec id")
            assert await process.stdout.read(4) == b"uid="
            process.close()
    assert await ended(f"sleep 0.0{mark}")


async def ended(command: str) -> bool:
    """Whether no process with that command line is left, soon."""
    for _ in range(200):
        if subprocess.run(["pgrep", "-f", command], stdout=subprocess.DEVNULL).returncode == 1:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_the_last_words_of_a_proxy_command_are_in_the_error(sshd: Server, route: MakeRoute) -> None:
    command = "sh -c 'echo first >&2; printf \"no way \\033[2J today\\n\" >&2; exit 1'"
    found = route(sshd.entry("box", "bash", ProxyCommand=command))
    with pytest.raises(SSHError, match=r"ProxyCommand .* ended before .* \(no way today\)$"):
        await found.user_at("box")


async def test_a_proxy_command_is_read_by_the_persons_own_shell(
    way: Way, route: MakeRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = way.config(route).config
    found = way.config(route, inner={"ProxyCommand": f"ssh -F {config} -W ${{BASH_VERSION:+%h}}:%p hop1"})
    check = ["ssh", "-F", str(found.config), "-oBatchMode=yes", "inner", "true"]
    monkeypatch.setenv("SHELL", "/bin/bash")
    assert subprocess.run(check, capture_output=True, timeout=20).returncode == 0
    assert await found.user_at("inner") == "bash"
    monkeypatch.setenv("SHELL", "/bin/dash")
    assert subprocess.run(check, capture_output=True, timeout=20).returncode == 255
    with pytest.raises(SSHError, match="the ProxyCommand for"):
        await found.user_at("inner")


async def test_a_proxy_command_that_would_ask_is_told_from_others(
    way: Way, route: MakeRoute, client_keys: ClientKeys
) -> None:
    stranger = {"IdentityFile": str(client_keys.stranger)}
    config = way.config(route, hop1=stranger).config
    found = way.config(route, hop1=stranger, inner={"ProxyCommand": f"ssh -F {config} -W %h:%p hop1"})
    with pytest.raises(SSHError, match="Permission denied") as caught:
        await found.user_at("inner")
    assert "run on a terminal" in caught.value.hint


@pytest.mark.parametrize("command", ["exit 1", "/no/such/program %h", "echo this is not SSH"])
async def test_a_proxy_command_that_fails_is_shown(sshd: Server, route: MakeRoute, command: str) -> None:
    found = route(sshd.entry("box", "bash", ProxyCommand=command))
    with pytest.raises(SSHError, match=r"ProxyCommand|SSH protocol") as caught:
        await found.user_at("box")
    assert caught.value.code == "KT301"


async def test_a_proxy_command_that_says_nothing_is_given_up_in_time(sshd: Server, route: MakeRoute) -> None:
    found = route(sshd.entry("box", "bash", ProxyCommand="sleep 60", ConnectTimeout="1"))
    began = time.monotonic()
    with pytest.raises(ConnectTimedOutError):
        await found.user_at("box")
    assert time.monotonic() - began < CONNECT_TIMEOUT_S / 2  # without a ConnectTimeout it is all of it


async def test_a_host_with_ipv6_alone(remote: RemoteMachine, route: MakeRoute) -> None:
    theirs, ours = "fd7a:6b69:726f::2", "fd7a:6b69:726f::1"
    remote.run(f"ip -6 addr add {theirs}/64 dev eth0 nodad")
    subprocess.run(f"ip -6 addr add {ours}/64 dev {remote.namespace.link} nodad".split(), check=True)
    server = remote.sshd(extra=[f"ListenAddress [{theirs}]:2206"], port=2207)
    try:
        known = Path(server.known_hosts_file)
        key = known.read_text().split(maxsplit=1)[1]
        known.write_text(f"[{theirs}]:2206 {key}")
        found = route(server.entry("six", "bash", HostName=theirs, Port="2206"))
        assert await found.user_at("six") == "bash"
        assert await found.user_at("six", "AddressFamily=inet6") == "bash"
        found = route(server.entry("*", "bash", HostName="%h", Port="2206"))
        assert await found.user_at(theirs) == "bash"
        assert await found.user_at(f"ssh://dash@[{theirs}]:2206") == "dash"
    finally:
        server.stop()
        subprocess.run(f"ip -6 addr del {ours}/64 dev {remote.namespace.link}".split(), check=True)
        remote.run(f"ip -6 addr del {theirs}/64 dev eth0")


async def test_a_host_with_several_addresses_that_all_refuse(
    sshd: Server, route: MakeRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = socket.getaddrinfo
    addresses = ["::1", "127.0.0.1"]

    def resolve(host: str, port: int, *more: Any, **named: Any) -> list[Any]:
        found = [asked(address, port, type=socket.SOCK_STREAM)[0] for address in addresses]
        return found if host == "dual.example" else asked(host, port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    entry = sshd.entry("box", "bash", HostName="dual.example", Port="9")
    with pytest.raises(SSHError) as caught:
        await route(entry).user_at("box")
    assert caught.value.message == "cannot connect to bash@dual.example:9: connection refused"
    assert "port 9" in caught.value.hint


@pytest.mark.parametrize("kind", ["sshd", "dropbear"])
async def test_a_silent_loss_is_noticed_by_keepalive(
    request: pytest.FixtureRequest, remote: RemoteMachine, route: MakeRoute, kind: str
) -> None:
    server = request.getfixturevalue(kind)
    found = route(server.entry("box", "bash", ServerAliveInterval="1", ServerAliveCountMax="2"))
    async with found.to("box") as session:
        remote.cut()
        began = time.monotonic()
        await asyncio.wait_for(asyncio.shield(session.lost), 10)
        took = time.monotonic() - began
    # Three seconds and what a busy machine needs; as it is without the two options, 15 at the least.
    assert took < 9
    assert time.monotonic() - began - took < 5
