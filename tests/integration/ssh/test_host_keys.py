"""The host's key: what known_hosts may say of it, and what is written there, as OpenSSH has it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import asyncssh
import pytest

from integration.ssh.conftest import MakeRoute
from integration.ssh.people import Person, Route
from kirotunnel.errors import HostKeyChangedError, HostKeyUnknownError, KirotunnelError, SSHError
from lab.keys import generate, public_key
from lab.remote import RemoteMachine
from lab.servers import Server


def key_of(server: Server) -> str:
    return server.host_key_line.split("\n")[0].split(maxsplit=1)[1]


def with_known(route: MakeRoute, server: Server, text: str, **options: str) -> tuple[Route, Path]:
    """A route to that server with this known_hosts."""
    known = Path(server.known_hosts_file).with_name("own_known_hosts")
    known.unlink(missing_ok=True)
    if text:
        known.write_text(text)
    return route(server.entry("box", "bash", UserKnownHostsFile=str(known), **options)), known


def ssh_takes_it(route: Route, *options: str) -> bool:
    argv = ["ssh", "-F", str(route.config), "-oBatchMode=yes", *options, "box", "true"]
    return subprocess.run(argv, capture_output=True, timeout=20).returncode == 0


@pytest.fixture
def elsewhere(remote: RemoteMachine, sshd: Server) -> Server:
    """A server on another port than 22."""
    del sshd  # it has port 22
    server = remote.sshd()
    assert server.port != 22
    return server


@pytest.mark.parametrize(
    "name",
    [
        "[{host}]:{port}",
        "{host}",
        "10.231.*",
        "[10.231.*]:{port}",
        "other,[{host}]:{port}",
        "*,!10.9.9.9",
        "[{host}]:*",
    ],
)
async def test_names_by_which_a_key_is_known(elsewhere: Server, route: MakeRoute, name: str) -> None:
    entry = name.format(host=elsewhere.host, port=elsewhere.port)
    found, _ = with_known(route, elsewhere, f"{entry} {key_of(elsewhere)}\n", StrictHostKeyChecking="yes")
    assert ssh_takes_it(found)
    assert await found.user_at("box") == "bash"


@pytest.mark.parametrize("name", ["[{host}]:{other}", "10.9.9.9", "![{host}]:{port},!{host},*"])
async def test_names_by_which_it_is_not(elsewhere: Server, route: MakeRoute, name: str) -> None:
    entry = name.format(host=elsewhere.host, port=elsewhere.port, other=elsewhere.port + 1)
    found, _ = with_known(route, elsewhere, f"{entry} {key_of(elsewhere)}\n", StrictHostKeyChecking="yes")
    assert not ssh_takes_it(found)
    with pytest.raises(HostKeyUnknownError):
        await found.user_at("box")


async def test_hashed_names(elsewhere: Server, route: MakeRoute) -> None:
    found, known = with_known(route, elsewhere, elsewhere.host_key_line + "\n", StrictHostKeyChecking="yes")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True, timeout=20)
    assert elsewhere.host not in known.read_text()
    assert await found.user_at("box") == "bash"


async def test_an_alias_for_the_key(elsewhere: Server, route: MakeRoute) -> None:
    options = {"HostKeyAlias": "the-box", "StrictHostKeyChecking": "yes"}
    found, _ = with_known(route, elsewhere, f"the-box {key_of(elsewhere)}\n", **options)
    assert ssh_takes_it(found)
    assert await found.user_at("box") == "bash"


async def test_lines_that_make_no_sense_are_passed_over(elsewhere: Server, route: MakeRoute) -> None:
    bad = f"# comment\n\nnonsense\n@unknown x ssh-ed25519 AAAA\n{elsewhere.host} ssh-new AAAA\n"
    text = f"{bad}{elsewhere.host_key_line}\n"
    found, _ = with_known(route, elsewhere, text, StrictHostKeyChecking="yes")
    assert await found.user_at("box") == "bash"


async def test_the_global_file_counts_as_well(elsewhere: Server, route: MakeRoute, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.write_text(elsewhere.host_key_line + "\n")
    options = {"GlobalKnownHostsFile": str(shared), "StrictHostKeyChecking": "yes"}
    found, _ = with_known(route, elsewhere, "", **options)
    assert await found.user_at("box") == "bash"


async def test_another_key_under_the_bare_name_does_not_make_this_port_a_changed_one(
    elsewhere: Server, route: MakeRoute, tmp_path: Path
) -> None:
    other = generate(tmp_path / "other")
    found, known = with_known(
        route, elsewhere, f"{elsewhere.host} {public_key(other)}\n", StrictHostKeyChecking="accept-new"
    )
    assert await found.user_at("box") == "bash"
    assert f"[{elsewhere.host}]:{elsewhere.port} {key_of(elsewhere)}" in known.read_text()
    assert ssh_takes_it(found, "-oStrictHostKeyChecking=yes")


async def test_a_key_of_another_type_is_a_new_one(remote: RemoteMachine, route: MakeRoute) -> None:
    server = remote.sshd(host_keys=["ed25519", "ecdsa"])
    ecdsa = next(line for line in server.host_key_line.splitlines() if "ecdsa" in line)
    found, _ = with_known(route, server, ecdsa + "\n", StrictHostKeyChecking="yes")
    assert await found.user_at("box") == "bash"  # the server is asked for the key that is known


# --- unknown keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hashed", ["yes", "no"])
@pytest.mark.parametrize("strictness", ["accept-new", "no"])
async def test_a_new_key_is_written_as_openssh_writes_it(
    elsewhere: Server, route: MakeRoute, strictness: str, hashed: str
) -> None:
    options = {"StrictHostKeyChecking": strictness, "HashKnownHosts": hashed, "UpdateHostKeys": "no"}
    found, known = with_known(route, elsewhere, "", **options)
    assert await found.user_at("box") == "bash"
    assert any(str(known) in text for text in found.told)
    ours = known.read_text()
    assert known.stat().st_mode & 0o777 == 0o600
    assert ssh_takes_it(found, "-oStrictHostKeyChecking=yes")
    known.unlink()
    assert ssh_takes_it(found)
    theirs = known.read_text()
    assert ours.split()[1:3] == theirs.split()[1:3]
    if hashed == "no":
        assert ours == theirs
    else:
        assert ours.startswith("|1|")
        assert elsewhere.host not in ours


async def test_a_new_key_goes_to_the_first_of_several_files(
    elsewhere: Server, route: MakeRoute, tmp_path: Path
) -> None:
    first, second = tmp_path / "deep" / "first", tmp_path / "second"
    second.write_text("")
    entry = elsewhere.entry("box", "bash", UserKnownHostsFile=f"{first} {second}", StrictHostKeyChecking="accept-new")
    assert await route(entry).user_at("box") == "bash"
    assert (first.exists(), second.read_text()) == (True, "")


async def test_a_file_without_a_last_newline_is_not_spoilt(elsewhere: Server, route: MakeRoute) -> None:
    other = "10.9.9.9 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6Hx1cG3iWWGTrnpBrAX1XZKk9ZyZLsGkW6m2HhNzvX"
    found, known = with_known(route, elsewhere, other, StrictHostKeyChecking="accept-new")
    assert await found.user_at("box") == "bash"
    assert known.read_text().splitlines()[0] == other
    assert len(known.read_text().splitlines()) == 2


@pytest.mark.parametrize("place", ["/dev/null", "none", "/proc/nowhere/known_hosts"])
async def test_a_key_that_cannot_be_kept_counts_for_this_time(elsewhere: Server, route: MakeRoute, place: str) -> None:
    found = route(elsewhere.entry("box", "bash", UserKnownHostsFile=place, StrictHostKeyChecking="accept-new"))
    assert await found.user_at("box") == "bash"
    assert any("this time only" in text for text in found.told)


async def test_the_question_has_name_type_and_fingerprint(elsewhere: Server, route: MakeRoute) -> None:
    found, known = with_known(route, elsewhere, "", StrictHostKeyChecking="ask")
    person = Person({"not known": True})
    assert await found.user_at("box", prompts=person) == "bash"
    argv = ["ssh-keygen", "-l", "-f", str(known)]
    fingerprint = subprocess.run(argv, capture_output=True, text=True, timeout=20).stdout.split()[1]
    assert len(person.asked) == 1
    assert fingerprint in person.asked[0]
    assert "ED25519" in person.asked[0]
    assert f"[{elsewhere.host}]:{elsewhere.port}" in person.asked[0]


@pytest.mark.parametrize(
    "options", [{"StrictHostKeyChecking": "yes"}, {"StrictHostKeyChecking": "ask", "BatchMode": "yes"}]
)
async def test_where_nobody_may_be_asked_nobody_is(
    elsewhere: Server, route: MakeRoute, options: dict[str, str]
) -> None:
    found, known = with_known(route, elsewhere, "", **options)
    person = Person({"": True})
    with pytest.raises(HostKeyUnknownError) as caught:
        await found.user_at("box", prompts=person)
    assert person.asked == []
    assert caught.value.code == "KT302"
    assert not known.exists()


# --- authorities and revocation --------------------------------------------------------------------------------------


def certified(remote: RemoteMachine, authority: Path, *, names: str | None = None, validity: str = "+1h") -> Server:
    """A server with a host certificate."""
    server = remote.sshd()
    key = f"/run/lab/host_keys/{server.port}_ed25519"
    inside = remote.path(f"{key}.pub")
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "host", "-h", "-n", names or server.host, "-V", validity]
    subprocess.run([*argv, str(inside)], check=True, timeout=20)
    server.stop()
    again = remote.sshd(
        extra=[f"HostCertificate {key}-cert.pub", f"HostKey {key}"], port=server.port + 100, host_keys=[]
    )
    again.host_key_line = server.host_key_line
    return again


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    return generate(tmp_path / "authority")


async def test_a_host_certificate(remote: RemoteMachine, route: MakeRoute, authority: Path) -> None:
    server = certified(remote, authority)
    found, _ = with_known(
        route, server, f"@cert-authority 10.231.* {public_key(authority)}\n", StrictHostKeyChecking="yes"
    )
    assert ssh_takes_it(found)
    assert await found.user_at("box") == "bash"


async def test_a_host_certificate_of_an_authority_that_is_not_known(
    remote: RemoteMachine, route: MakeRoute, authority: Path, tmp_path: Path
) -> None:
    """The plain key behind it is known: with another authority for the host, and with none."""
    server = certified(remote, authority)
    plain = f"[{server.host}]:{server.port} {key_of(server)}\n"
    other = generate(tmp_path / "other")
    for more in ("", f"@cert-authority * {public_key(other)}\n"):
        found, _ = with_known(route, server, plain + more, StrictHostKeyChecking="yes")
        assert ssh_takes_it(found)
        assert await found.user_at("box") == "bash"


@pytest.mark.parametrize("wrong", [{"names": "other.example.com"}, {"validity": "-2h:-1h"}], ids=["name", "expired"])
async def test_a_host_certificate_that_does_not_hold(
    remote: RemoteMachine, route: MakeRoute, authority: Path, wrong: dict[str, str]
) -> None:
    server = certified(remote, authority, **wrong)
    found, _ = with_known(route, server, f"@cert-authority * {public_key(authority)}\n", StrictHostKeyChecking="yes")
    assert not ssh_takes_it(found)
    with pytest.raises(HostKeyUnknownError) as caught:
        await found.user_at("box")
    assert caught.value.code == "KT302"


@pytest.mark.parametrize("also_trusted", [True, False])
async def test_a_revoked_key(elsewhere: Server, route: MakeRoute, also_trusted: bool) -> None:
    text = f"@revoked * {key_of(elsewhere)}\n" + (elsewhere.host_key_line + "\n" if also_trusted else "")
    found, known = with_known(route, elsewhere, text, StrictHostKeyChecking="accept-new")
    assert not ssh_takes_it(found)
    with pytest.raises(HostKeyChangedError, match="revoked") as caught:
        await found.user_at("box", prompts=Person({"": True}))
    assert caught.value.code == "KT303"
    assert known.read_text() == text


async def test_a_revoked_authority(remote: RemoteMachine, route: MakeRoute, authority: Path) -> None:
    server = certified(remote, authority)
    entry = public_key(authority)
    found, _ = with_known(
        route, server, f"@cert-authority * {entry}\n@revoked * {entry}\n", StrictHostKeyChecking="yes"
    )
    assert not ssh_takes_it(found)
    with pytest.raises(HostKeyChangedError, match="revoked"):
        await found.user_at("box")


async def test_a_list_of_revoked_keys(elsewhere: Server, route: MakeRoute, tmp_path: Path) -> None:
    revoked = tmp_path / "revoked"
    revoked.write_text(key_of(elsewhere) + "\n")
    found, _ = with_known(route, elsewhere, elsewhere.host_key_line + "\n", RevokedHostKeys=str(revoked))
    assert not ssh_takes_it(found)
    with pytest.raises(HostKeyChangedError, match="revoked"):
        await found.user_at("box")
    revoked.write_text("")
    assert await found.user_at("box") == "bash"


@pytest.mark.parametrize("content", [None, b"SSHKRL\n\0" + bytes(40)], ids=["missing", "binary"])
async def test_a_list_of_revoked_keys_that_cannot_be_read_is_no_leave(
    elsewhere: Server, route: MakeRoute, tmp_path: Path, content: bytes | None
) -> None:
    revoked = tmp_path / "revoked"
    if content is not None:
        revoked.write_bytes(content)
    found, _ = with_known(route, elsewhere, elsewhere.host_key_line + "\n", RevokedHostKeys=str(revoked))
    with pytest.raises(HostKeyUnknownError, match="cannot be checked"):
        await found.user_at("box")


async def test_this_very_machine_need_not_be_known(tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key])
    config = tmp_path / "config"
    port = server.sockets[0].getsockname()[1]
    config.write_text(
        f"Host box\n  HostName 127.0.0.1\n  Port {port}\n  UserKnownHostsFile none\n  StrictHostKeyChecking yes\n"
    )
    found = Route(config)
    with pytest.raises(HostKeyUnknownError):
        await found.user_at("box")
    with pytest.raises(KirotunnelError) as caught:  # it goes on to the keys, of which it accepts none
        await found.user_at("box", "NoHostAuthenticationForLocalhost=yes")
    assert caught.value.code == "KT304"
    server.close()
    await server.wait_closed()


async def test_dropbear_of_which_another_kind_of_key_is_known(
    dropbear: Server, route: MakeRoute, tmp_path: Path
) -> None:
    """Asked for an RSA key that it has not, Dropbear 2022.83 fails an assertion: ssh gets no further either."""
    rsa = generate(tmp_path / "rsa", kind="rsa")
    name = dropbear.host_key_line.split()[0]
    found, _ = with_known(route, dropbear, f"{name} {public_key(rsa)}\n", StrictHostKeyChecking="yes")
    assert not ssh_takes_it(found)
    with pytest.raises(SSHError):
        await found.user_at("box")
