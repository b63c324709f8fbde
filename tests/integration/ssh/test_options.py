"""What the SSH config says of the connection is what the connection is; what would have side effects is left alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.harness import free_port, listening_here, wait_until
from integration.ssh.conftest import Agent, MakeRoute
from integration.ssh.people import Person
from kirotunnel.errors import SSHError
from lab.remote import RemoteMachine
from lab.servers import Server
from lab.users import PASSWORD


@pytest.fixture
def talkative(remote: RemoteMachine) -> Server:
    """A server that logs what was agreed on."""
    return remote.sshd(extra=["LogLevel DEBUG1", "PasswordAuthentication yes"], host_keys=("rsa", "ed25519"))


@pytest.mark.parametrize(
    ("option", "value", "logged"),
    [
        ("Ciphers", "aes256-ctr", "kex: client->server cipher: aes256-ctr "),
        ("MACs", "hmac-sha2-512-etm@openssh.com", "MAC: hmac-sha2-512-etm@openssh.com"),
        ("KexAlgorithms", "ecdh-sha2-nistp384", "kex: algorithm: ecdh-sha2-nistp384"),
        ("HostKeyAlgorithms", "rsa-sha2-256", "kex: host key algorithm: rsa-sha2-256"),
    ],
)
async def test_lists_of_algorithms(talkative: Server, route: MakeRoute, option: str, value: str, logged: str) -> None:
    more = {"Ciphers": "aes256-ctr"} if option == "MACs" else {}  # chacha20 and GCM have none
    found = route(talkative.entry("box", "bash", **{option: value}, **more))
    assert await found.user_at("box") == "bash"
    talkative.wait_for_log(logged.replace("+", r"\+").replace(">", r"\>"))


async def test_a_list_that_the_server_has_nothing_of(remote: RemoteMachine, route: MakeRoute) -> None:
    server = remote.sshd(extra=["Ciphers aes128-ctr"])
    with pytest.raises(SSHError) as caught:
        await route(server.entry("box", "bash", Ciphers="aes256-ctr")).user_at("box")
    assert caught.value.code == "KT301"
    assert "encryption" in caught.value.message


async def test_a_signature_that_may_not_be_made(remote: RemoteMachine, route: MakeRoute, tmp_path: Path) -> None:
    key = tmp_path / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", str(key)], check=True, timeout=60)
    remote.write("/run/lab/own_keys", key.with_suffix(".pub").read_text())
    server = remote.sshd(extra=["LogLevel DEBUG1", "AuthorizedKeysFile /run/lab/own_keys"])
    entry = server.entry("box", "bash", IdentityFile=str(key), PubkeyAcceptedAlgorithms="rsa-sha2-256")
    assert await route(entry).user_at("box") == "bash"
    server.wait_for_log("pkalg rsa-sha2-256 ")
    assert "pkalg rsa-sha2-512 " not in server.log


@pytest.fixture
def other_address(remote: RemoteMachine) -> Iterator[str]:
    """A second address of this side, on the link to the remote."""
    address = "10.254.254.1"
    subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", remote.namespace.link], check=True)
    remote.run(f"ip route add {address} via {remote.host_address}")
    yield address
    subprocess.run(["ip", "addr", "del", f"{address}/32", "dev", remote.namespace.link], check=True)
    remote.run(f"ip route del {address}")


async def test_the_address_to_come_from(sshd: Server, route: MakeRoute, other_address: str) -> None:
    assert await route(sshd.entry("box", "bash", BindAddress=other_address)).user_at("box") == "bash"
    sshd.wait_for_log(rf"Accepted publickey for bash from {other_address}")


async def test_the_order_of_methods(talkative: Server, route: MakeRoute) -> None:
    person = Person({"Password": PASSWORD})
    entry = talkative.entry("box", "bash", PreferredAuthentications="password,publickey")
    assert await route(entry).user_at("box", prompts=person) == "bash"
    talkative.wait_for_log("Accepted password for bash")
    assert len(person.asked) == 1


async def test_new_keys_after_so_many_bytes(talkative: Server, route: MakeRoute) -> None:
    async with route(talkative.entry("box", "bash", RekeyLimit="64K")).to("box") as session:
        process = await session.start("wc -c")
        process.stdin.write(bytes(400_000))
        process.stdin.write_eof()
        assert (await process.stdout.read()).strip() == b"400000"
    # asyncssh counts what it sends; the server's own limit is for the rest.
    assert wait_until(lambda: talkative.log.count("SSH2_MSG_KEXINIT received") >= 4)


async def test_what_would_have_side_effects_is_left_alone(
    remote: RemoteMachine, route: MakeRoute, agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = remote.sshd(extra=["AcceptEnv *", "X11Forwarding yes", "PermitUserEnvironment no"])
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setenv("LAB_SENT", "x")
    here, there = free_port(), 5999
    entry = server.entry(
        "box",
        "bash",
        LocalForward=f"{here} localhost:22",
        RemoteForward=f"{there} localhost:22",
        DynamicForward=str(free_port()),
        RemoteCommand="touch /tmp/remote-command",
        PermitLocalCommand="yes",
        LocalCommand=f"touch {tmp_path}/local-command",
        ForwardAgent="yes",
        ForwardX11="yes",
        SendEnv="LAB_*",
        SetEnv="LAB_SET=x",
        RequestTTY="force",
        Tunnel="yes",
    )
    async with route(entry).to("box") as session:
        assert not listening_here(here)
        assert all(port != there for _, port in remote.listeners())
        process = await session.start("env")
        variables = (await process.stdout.read()).decode()
        assert "SSH_CONNECTION=" in variables
        assert [name for name in ("SSH_AUTH_SOCK", "DISPLAY", "LAB_", "SSH_TTY") if f"\n{name}" in variables] == []
    assert not (tmp_path / "local-command").exists()
    assert remote.files("/tmp/remote-command") == []
