"""Keys, agents, certificates, passwords and codes, as people have them; and what is said when none of them will do."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from integration.ssh.conftest import Agent, MakeRoute
from integration.ssh.people import Person, Route
from kirotunnel.errors import AuthenticationFailedError
from lab.keys import PASSPHRASE, ClientKeys, generate, public_key
from lab.remote import RemoteMachine
from lab.servers import HostEntry, Server
from lab.users import PASSWORD

OWN_KEYS = "/run/lab/own_keys"


def accepting(remote: RemoteMachine, *keys: Path, extra: tuple[str, ...] = ()) -> Server:
    """A server that accepts these keys and no others."""
    remote.write(OWN_KEYS, "".join(public_key(key) + "\n" for key in keys))
    return remote.sshd(extra=[f"AuthorizedKeysFile {OWN_KEYS}", *extra])


def many(directory: Path, count: int = 8) -> list[Path]:
    return [generate(directory / f"key{number}") for number in range(count)]


def unnamed(server: Server, user: str = "bash", **options: str) -> HostEntry:
    """An entry without our own IdentityFile."""
    entry = server.entry("box", user, IdentitiesOnly="no", **options)
    return HostEntry(
        "box", {key: value for key, value in entry.options.items() if key != "IdentityFile" or key in options}
    )


# --- key files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_a_key_of_each_kind(remote: RemoteMachine, route: MakeRoute, tmp_path: Path, kind: str) -> None:
    key = generate(tmp_path / kind, kind=kind)
    server = accepting(remote, key)
    assert await route(server.entry("box", "bash", IdentityFile=str(key))).user_at("box") == "bash"


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
async def test_a_locked_key_is_unlocked_once_and_for_its_host(
    remote: RemoteMachine, route: MakeRoute, tmp_path: Path, kind: str
) -> None:
    key = generate(tmp_path / kind, kind=kind, passphrase=PASSPHRASE)
    server = accepting(remote, key)
    person = Person({"Passphrase": PASSPHRASE})
    found = route(server.entry("box", "bash", IdentityFile=str(key)))
    assert await found.user_at("box", prompts=person) == "bash"
    assert person.asked == [f"Passphrase for {key} (for bash@{server.host}:{server.port}): "] or server.port == 22


async def test_a_locked_key_in_the_older_format_without_its_public_half(
    remote: RemoteMachine, route: MakeRoute, tmp_path: Path
) -> None:
    key = tmp_path / "old"
    argv = ["ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", PASSPHRASE, "-f", str(key)]
    subprocess.run(argv, check=True, timeout=60)
    server = accepting(remote, key)
    Path(f"{key}.pub").unlink()
    person = Person({"Passphrase": PASSPHRASE})
    assert await route(server.entry("box", "bash", IdentityFile=str(key))).user_at("box", prompts=person) == "bash"
    assert len(person.asked) == 1


async def test_a_wrong_passphrase_is_asked_for_again(remote: RemoteMachine, route: MakeRoute, tmp_path: Path) -> None:
    key = generate(tmp_path / "key", passphrase=PASSPHRASE)
    server = accepting(remote, key)

    class Forgetful(Person):
        def _find(self, question: str) -> str | bool | None:
            super()._find(question)
            return PASSPHRASE if len(self.asked) == 3 else "wrong"

    person = Forgetful({})
    assert await route(server.entry("box", "bash", IdentityFile=str(key))).user_at("box", prompts=person) == "bash"
    assert len(person.asked) == 3


async def test_the_passphrase_of_a_key_that_the_server_does_not_want_is_not_asked_for(
    remote: RemoteMachine, route: MakeRoute, tmp_path: Path, client_keys: ClientKeys
) -> None:
    right = generate(tmp_path / "right")
    server = accepting(remote, right)
    entry = server.entry("box", "bash", IdentityFile=f"{client_keys.encrypted}\n    IdentityFile {right}")
    person = Person({})
    assert await route(entry).user_at("box", prompts=person) == "bash"
    assert person.asked == []


async def test_a_locked_key_without_a_terminal_is_named_in_the_hint(
    sshd: Server, route: MakeRoute, client_keys: ClientKeys
) -> None:
    with pytest.raises(AuthenticationFailedError) as caught:
        await route(sshd.entry("box", "bash", IdentityFile=str(client_keys.encrypted))).user_at("box")
    assert f"ssh-add {client_keys.encrypted}" in caught.value.hint


async def test_a_key_file_that_is_missing_is_passed_over(sshd: Server, route: MakeRoute) -> None:
    entry = sshd.entry("box", "bash", IdentityFile=f"/no/such/key\n    IdentityFile {sshd.identity_file}")
    assert await route(entry).user_at("box") == "bash"


async def test_a_key_that_others_can_read_is_not_used_and_said(
    remote: RemoteMachine, route: MakeRoute, tmp_path: Path
) -> None:
    key = generate(tmp_path / "open")
    server = accepting(remote, key)
    key.chmod(0o644)
    found = route(server.entry("box", "bash", IdentityFile=str(key)))
    with pytest.raises(AuthenticationFailedError) as caught:
        await found.user_at("box")
    assert f"chmod 600 {key}" in caught.value.hint
    assert any(str(key) in text for text in found.told)
    argv = ["ssh", "-F", str(found.config), "-oBatchMode=yes", "box", "true"]
    assert subprocess.run(argv, capture_output=True, timeout=20).returncode == 255  # as ssh does
    key.chmod(0o600)
    assert await found.user_at("box") == "bash"


@pytest.mark.parametrize("text", ["", "no key at all\n", "-----BEGIN OPENSSH PRIVATE KEY-----\nbroken\n"])
async def test_a_file_that_holds_no_key_is_passed_over(
    sshd: Server, route: MakeRoute, tmp_path: Path, text: str
) -> None:
    bad = tmp_path / "bad"
    bad.write_text(text)
    bad.chmod(0o600)
    entry = sshd.entry("box", "bash", IdentityFile=f"{bad}\n    IdentityFile {sshd.identity_file}")
    assert await route(entry).user_at("box") == "bash"


async def test_a_default_key_in_the_home_directory_is_found(
    sshd: Server, route: MakeRoute, client_keys: ClientKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without IdentityFile ssh looks for ~/.ssh/id_*; here the home is the account's, whatever HOME says."""
    home = tmp_path / "account"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519").symlink_to(client_keys.plain)
    monkeypatch.setattr("kirotunnel.ssh.config_text.home", lambda: home)
    monkeypatch.setattr("kirotunnel.ssh.config.home", lambda: home)
    assert await route(unnamed(sshd)).user_at("box") == "bash"


# --- the agent -------------------------------------------------------------------------------------------------------


async def test_a_key_of_the_agent(remote: RemoteMachine, route: MakeRoute, agent: Agent, tmp_path: Path) -> None:
    key = generate(tmp_path / "key")
    server = accepting(remote, key)
    agent.add(key)
    key.unlink()
    assert await route(unnamed(server)).user_at("box") == "bash"


async def test_a_named_key_is_found_behind_eight_of_the_agent(
    remote: RemoteMachine, route: MakeRoute, agent: Agent, tmp_path: Path
) -> None:
    agent.add(*many(tmp_path))
    right = generate(tmp_path / "right")
    server = accepting(remote, right)
    found = route(unnamed(server, IdentityFile=str(right)))
    assert await found.user_at("box") == "bash"
    assert "Failed publickey" not in server.log


async def test_a_named_key_that_is_the_agents_eighth(
    remote: RemoteMachine, route: MakeRoute, agent: Agent, tmp_path: Path
) -> None:
    keys = many(tmp_path)
    agent.add(*keys)
    keys[-1].unlink()  # the private half is the agent's alone
    server = accepting(remote, keys[-1])
    assert await route(unnamed(server, IdentityFile=f"{keys[-1]}.pub")).user_at("box") == "bash"


async def test_identities_only_offers_the_named_one_of_the_agent_alone(
    remote: RemoteMachine, route: MakeRoute, agent: Agent, tmp_path: Path
) -> None:
    keys = many(tmp_path)
    agent.add(*keys)
    server = accepting(remote, keys[7], extra=("MaxAuthTries 2",))
    only = server.entry("box", "bash", IdentityFile=f"{keys[7]}.pub", IdentitiesOnly="yes")
    assert await route(only).user_at("box") == "bash"
    other = server.entry("box", "bash", IdentityFile=f"{keys[0]}.pub", IdentitiesOnly="yes")
    with pytest.raises(AuthenticationFailedError, match="none of the keys"):
        await route(other).user_at("box")


async def test_an_agent_full_of_other_keys_is_said(
    remote: RemoteMachine, route: MakeRoute, agent: Agent, tmp_path: Path
) -> None:
    keys = many(tmp_path)
    agent.add(*keys)
    server = accepting(remote, keys[7])
    with pytest.raises(AuthenticationFailedError, match="too many keys") as caught:
        await route(unnamed(server)).user_at("box")
    assert "IdentitiesOnly=yes" in caught.value.hint


async def test_a_locked_key_that_the_agent_has_is_not_asked_about(
    remote: RemoteMachine, route: MakeRoute, agent: Agent, tmp_path: Path
) -> None:
    key = generate(tmp_path / "key")
    server = accepting(remote, key)
    agent.add(key)
    argv = ["ssh-keygen", "-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", str(key)]
    subprocess.run(argv, check=True, timeout=20, stdout=subprocess.DEVNULL)
    person = Person({})
    found = route(server.entry("box", "bash", IdentityFile=str(key)))
    assert await found.user_at("box", prompts=person) == "bash"
    assert person.asked == []


async def test_the_agent_that_the_config_names(
    remote: RemoteMachine, route: MakeRoute, agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = generate(tmp_path / "key")
    server = accepting(remote, key)
    agent.add(key)
    key.unlink()
    monkeypatch.setenv("SSH_AUTH_SOCK", "/no/agent")
    assert await route(unnamed(server, IdentityAgent=str(agent.socket))).user_at("box") == "bash"
    with pytest.raises(AuthenticationFailedError):
        await route(unnamed(server, IdentityAgent="none")).user_at("box")


async def test_an_agent_that_is_gone_is_no_obstacle_to_a_key_file(sshd: Server, route: MakeRoute, agent: Agent) -> None:
    agent.stop()
    assert await route(sshd.entry("box", "bash")).user_at("box") == "bash"


async def test_an_agent_that_is_gone_is_said_where_it_was_needed(sshd: Server, route: MakeRoute, agent: Agent) -> None:
    agent.stop()
    with pytest.raises(AuthenticationFailedError) as caught:
        await route(unnamed(sshd)).user_at("box")
    assert str(agent.socket) in caught.value.hint


async def test_an_agent_that_does_not_answer_is_not_waited_for_long(
    sshd: Server, route: MakeRoute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kirotunnel.ssh.identities.AGENT_TIMEOUT_S", 0.2)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "silent"))
        async with asyncio.timeout(20):
            assert await route(sshd.entry("box", "bash")).user_at("box") == "bash"
            with pytest.raises(AuthenticationFailedError) as caught:
                await route(unnamed(sshd)).user_at("box")
    assert f"the agent at {tmp_path / 'silent'} does not answer" in caught.value.hint


# --- certificates ----------------------------------------------------------------------------------------------------


def sign(key: Path, authority: Path, principal: str = "bash") -> Path:
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", principal, f"{key}.pub"]
    subprocess.run(argv, check=True, timeout=20)
    return key.with_name(f"{key.name}-cert.pub")


def trusting(remote: RemoteMachine, authority: Path) -> Server:
    remote.write("/run/lab/user_ca.pub", public_key(authority) + "\n")
    return remote.sshd(extra=["TrustedUserCAKeys /run/lab/user_ca.pub", "AuthorizedKeysFile none"])


@pytest.mark.parametrize(
    "where", ["beside the key", "CertificateFile", "agent and CertificateFile", "agent", "agent alone"]
)
@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
async def test_a_certificate(
    remote: RemoteMachine, route: MakeRoute, agent: Agent, tmp_path: Path, where: str, kind: str
) -> None:
    key, authority = generate(tmp_path / "key", kind=kind), generate(tmp_path / "ca")
    server = trusting(remote, authority)
    certificate = sign(key, authority)
    options = {"IdentityFile": str(key)}
    if where.startswith("agent") and "and" not in where:
        agent.add(key)  # ssh-add takes the certificate along
        if where == "agent alone":
            env = os.environ | {"SSH_AUTH_SOCK": str(agent.socket)}
            certificate.rename(tmp_path / "aside")
            subprocess.run(["ssh-add", "-q", "-d", str(key)], env=env, check=True, timeout=20)
            (tmp_path / "aside").rename(certificate)
        for file in (key, certificate):
            file.unlink()
    elif where != "beside the key":
        moved = certificate.rename(tmp_path / "elsewhere.pub")
        options["CertificateFile"] = str(moved)
        if where == "agent and CertificateFile":
            agent.add(key)
            key.unlink()
            options["IdentityFile"] = f"{key}.pub"
    assert await route(unnamed(server, **options)).user_at("box") == "bash"


async def test_a_certificate_with_a_locked_key(remote: RemoteMachine, route: MakeRoute, tmp_path: Path) -> None:
    key, authority = generate(tmp_path / "key", passphrase=PASSPHRASE), generate(tmp_path / "ca")
    server = trusting(remote, authority)
    sign(key, authority)
    person = Person({"Passphrase": PASSPHRASE})
    assert await route(unnamed(server, IdentityFile=str(key))).user_at("box", prompts=person) == "bash"
    assert len(person.asked) == 1


async def test_a_certificate_for_somebody_else(remote: RemoteMachine, route: MakeRoute, tmp_path: Path) -> None:
    key, authority = generate(tmp_path / "key"), generate(tmp_path / "ca")
    server = trusting(remote, authority)
    sign(key, authority, principal="dash")
    with pytest.raises(AuthenticationFailedError):
        await route(unnamed(server, IdentityFile=str(key))).user_at("box")


# --- passwords and codes ---------------------------------------------------------------------------------------------


async def test_a_password(remote: RemoteMachine, route: MakeRoute) -> None:
    server = remote.sshd(extra=["PasswordAuthentication yes"])
    person = Person({"Password": PASSWORD})
    found = route(unnamed(server, IdentityFile="none"))
    assert await found.user_at("box", prompts=person) == "bash"
    assert len(person.asked) == 1
    assert f"bash@{server.host}" in person.asked[0]


async def test_a_password_over_dropbear(remote: RemoteMachine, route: MakeRoute) -> None:
    server = remote.dropbear(extra=["--with-passwords"])
    person = Person({"Password": PASSWORD})
    assert await route(unnamed(server, IdentityFile="none")).user_at("box", prompts=person) == "bash"


async def test_a_wrong_password_is_asked_for_as_often_as_the_config_says(
    remote: RemoteMachine, route: MakeRoute
) -> None:
    server = remote.sshd(extra=["PasswordAuthentication yes"])
    person = Person({"Password": "wrong"})
    found = route(unnamed(server, IdentityFile="none", NumberOfPasswordPrompts="2"))
    with pytest.raises(AuthenticationFailedError):
        await found.user_at("box", prompts=person)
    assert len(person.asked) == 2


@pytest.mark.parametrize("options", [{}, {"BatchMode": "yes"}, {"PasswordAuthentication": "no"}])
async def test_a_password_that_nobody_can_be_asked_for(
    remote: RemoteMachine, route: MakeRoute, options: dict[str, str]
) -> None:
    server = remote.sshd(extra=["PasswordAuthentication yes"])
    person = Person({"Password": PASSWORD}) if options else None
    with pytest.raises(AuthenticationFailedError) as caught:
        await route(unnamed(server, IdentityFile="none", **options)).user_at("box", prompts=person)
    assert person is None or person.asked == []
    if "PasswordAuthentication" not in options:
        assert "run on a terminal" in caught.value.hint


async def test_a_person_may_take_longer_than_the_time_to_connect(remote: RemoteMachine, route: MakeRoute) -> None:
    class Slow(Person):
        async def secret(self, question: str):
            await asyncio.sleep(4.6)
            return await super().secret(question)

    server = remote.sshd(extra=["PasswordAuthentication yes"])
    found = route(unnamed(server, IdentityFile="none", ConnectTimeout="4"))
    assert await found.user_at("box", prompts=Slow({"Password": PASSWORD})) == "bash"


async def test_a_key_and_then_a_code_by_pam(remote: RemoteMachine, route: MakeRoute, client_keys: ClientKeys) -> None:
    remote.cover(
        "/etc/pam.d/sshd", "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n"
    )
    server = remote.sshd(
        extra=["UsePAM yes", "KbdInteractiveAuthentication yes", "AuthenticationMethods publickey,keyboard-interactive"]
    )
    person = Person({"Password": PASSWORD})
    assert await route(server.entry("box", "bash")).user_at("box", prompts=person) == "bash"
    assert len(person.asked) == 1
    assert person.asked[0].startswith(f"(bash@{server.host}")


class TwoFactors(asyncssh.SSHServer):
    """A password first, then a code that may be seen; both by keyboard-interactive (RFC 4256)."""

    def __init__(self) -> None:
        self._round = 0

    def begin_auth(self, username: str) -> bool:
        return True

    def kbdint_auth_supported(self) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return False

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return ("Two factors", "Have your phone ready.", "", [("Your secret: ", False)])

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> Any:
        self._round += 1
        if self._round == 1:
            return (
                ("", "", "", [("One-time code: ", True), ("Device: ", True)]) if list(responses) == ["first"] else False
            )
        return list(responses) == ["123456", "phone"]


@pytest.fixture
async def two_factors(tmp_path: Path) -> AsyncIterator[Route]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen("127.0.0.1", 0, server_factory=TwoFactors, server_host_keys=[key])
    port = server.sockets[0].getsockname()[1]
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{port} {key.export_public_key().decode()}")
    config = tmp_path / "config"
    config.write_text(
        f"Host box\n  HostName 127.0.0.1\n  Port {port}\n  User ada\n  UserKnownHostsFile {known}\n"
        "  GlobalKnownHostsFile none\n  IdentityFile none\n  IdentityAgent none\n"
    )
    yield Route(config)
    server.close()
    await server.wait_closed()


async def test_a_second_factor_with_several_questions(two_factors: Route) -> None:
    person = Person({"secret": "first", "code": "123456", "Device": "phone"})
    async with two_factors.to("box", prompts=person):
        pass
    assert [question.split(")")[1].strip() for question in person.asked] == [
        "Two factors Have your phone ready. Your secret:",
        "One-time code:",
        "Device:",
    ]
    assert all(question.startswith("(ada@127.0.0.1:") for question in person.asked)


async def test_a_wrong_second_factor_ends_in_time(two_factors: Route) -> None:
    person = Person({"secret": "first", "code": "0", "Device": "phone"})
    with pytest.raises(AuthenticationFailedError):
        async with two_factors.to("box", prompts=person):
            pass
    assert len(person.asked) <= 9


async def test_a_second_factor_that_nobody_can_be_asked_for(two_factors: Route) -> None:
    with pytest.raises(AuthenticationFailedError) as caught:
        async with two_factors.to("box"):
            pass
    assert "run on a terminal" in caught.value.hint


def test_the_environment_has_no_agent_of_the_developers() -> None:
    assert "SSH_AUTH_SOCK" not in os.environ
