"""Dropbear, on each of the ways that the other tests go with OpenSSH's sshd at their end."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.ssh.conftest import Agent, MakeRoute
from integration.ssh.people import Person
from kirotunnel.errors import AuthenticationFailedError, HostKeyChangedError, SSHError
from lab.keys import PASSPHRASE, ClientKeys, generate, public_key
from lab.remote import RemoteMachine
from lab.servers import HostEntry, Server

Accept = Callable[..., None]


@pytest.fixture
def accept(remote: RemoteMachine) -> Iterator[Accept]:
    """Have it accept other keys for bash: it reads no other file than this."""
    file = remote.path(f"{remote.users['bash'].home}/.ssh/authorized_keys")
    before = file.read_text()

    def accept(*keys: Path) -> None:
        file.write_text("".join(public_key(key) + "\n" for key in keys))

    yield accept
    file.write_text(before)


def without_keys(server: Server, **options: str) -> HostEntry:
    entry = server.entry("box", "bash", IdentitiesOnly="no", **options)
    return HostEntry("box", {key: value for key, value in entry.options.items() if key != "IdentityFile"})


async def test_three_jumps(
    remote: RemoteMachine, other_machines: list[RemoteMachine], dropbear: Server, route: MakeRoute
) -> None:
    for machine in (*other_machines, remote):
        machine.run(f"ip route replace default via {machine.host_address}")
    hops = [machine.dropbear() for machine in other_machines]
    entries = [server.entry(f"hop{number}", "bash") for number, server in enumerate(hops, 1)]
    found = route(*entries, dropbear.entry("inner", "dash", ProxyJump="hop1,hop2,hop3"))
    assert await found.user_at("inner") == "dash"
    dropbear.wait_for_log(rf"Pubkey auth succeeded for 'dash' .*from {other_machines[-1].address}")
    hops[1].stop()
    with pytest.raises(SSHError, match=r"the jump host bash@\S+ cannot reach the jump host bash@"):
        await found.user_at("inner")


async def test_a_proxy_command(dropbear: Server, sshd: Server, route: MakeRoute) -> None:
    config = route(dropbear.entry("through", "bash")).config
    command = f"ssh -F {config} -W %h:%p through"
    found = route(dropbear.entry("through", "bash"), dropbear.entry("inner", "dash", ProxyCommand=command))
    assert await found.user_at("inner") == "dash"


async def test_hashed_names_and_a_changed_key(dropbear: Server, route: MakeRoute, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text(dropbear.host_key_line + "\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True, timeout=20)
    assert dropbear.host not in known.read_text()
    options = {"UserKnownHostsFile": str(known), "StrictHostKeyChecking": "yes"}
    found = route(dropbear.entry("box", "bash", **options))
    assert await found.user_at("box") == "bash"
    name = dropbear.host_key_line.split()[0]
    known.write_text(f"{name} {public_key(generate(tmp_path / 'other'))}\n")
    with pytest.raises(HostKeyChangedError):
        await found.user_at("box")


async def test_an_encrypted_key(dropbear: Server, route: MakeRoute, client_keys: ClientKeys) -> None:
    person = Person({"Passphrase": PASSPHRASE})
    found = route(dropbear.entry("box", "bash", IdentityFile=str(client_keys.encrypted)))
    assert await found.user_at("box", prompts=person) == "bash"
    assert len(person.asked) == 1


async def test_an_agent_with_eight_keys(
    dropbear: Server, route: MakeRoute, agent: Agent, tmp_path: Path, accept: Accept
) -> None:
    keys = [generate(tmp_path / f"key{number}") for number in range(8)]
    agent.add(*keys)
    right = generate(tmp_path / "right")
    accept(right)
    named = dropbear.entry("box", "bash", IdentitiesOnly="no", IdentityFile=str(right))
    assert await route(named).user_at("box") == "bash"
    accept(keys[7])  # it lets ten be tried, where sshd ends with the sixth
    assert await route(without_keys(dropbear)).user_at("box") == "bash"
    accept(right)
    with pytest.raises(AuthenticationFailedError):
        await route(without_keys(dropbear)).user_at("box")


async def test_a_host_with_ipv6_alone(remote: RemoteMachine, route: MakeRoute) -> None:
    theirs, ours = "fd7a:6b69:726f::4", "fd7a:6b69:726f::3"
    remote.run(f"ip -6 addr add {theirs}/64 dev eth0 nodad")
    subprocess.run(f"ip -6 addr add {ours}/64 dev {remote.namespace.link} nodad".split(), check=True)
    server = remote.dropbear(extra=["-p", f"[{theirs}]:2208"], port=2209)
    try:
        known = Path(server.known_hosts_file)
        known.write_text(f"[{theirs}]:2208 {known.read_text().split(maxsplit=1)[1]}")
        found = route(server.entry("six", "bash", HostName=theirs, Port="2208", AddressFamily="inet6"))
        assert await found.user_at("six") == "bash"
    finally:
        server.stop()
        subprocess.run(f"ip -6 addr del {ours}/64 dev {remote.namespace.link}".split(), check=True)
        remote.run(f"ip -6 addr del {theirs}/64 dev eth0")
