"""An `ssh -W` as ProxyCommand asks the person, as it does when ssh starts it at a terminal; nothing is left of that."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import pytest

from integration.ssh.conftest import Agent, MakeRoute
from integration.ssh.people import Person, Route
from integration.ssh.test_authentication import TwoFactors
from kirotunnel.errors import AuthenticationFailedError, HostKeyUnknownError, SSHError
from kirotunnel.redaction import Secret
from kirotunnel.ssh.askpass import MAX_QUESTIONS
from kirotunnel.ssh.company import Company
from kirotunnel.ssh.config import SSHOptions, resolve_endpoint
from kirotunnel.ssh.connection import connect
from lab.keys import PASSPHRASE, ClientKeys
from lab.remote import RemoteMachine
from lab.servers import Server
from lab.users import PASSWORD

BY_PASSWORD = {"IdentityFile": "none", "PreferredAuthentications": "password", "PubkeyAuthentication": "no"}


@dataclass
class Asked(Person):
    """A person who notes how each answer was to be given, and what lies around meanwhile."""

    room: Path | None = None
    ways: list[str] = field(default_factory=list)
    around: list[tuple[str, int]] = field(default_factory=list)

    async def secret(self, question: str) -> Secret[str] | None:
        self.ways.append("unseen")
        if self.room is not None:
            for path in sorted(self.room.rglob("*")):
                self.around.append((path.name.partition("-")[0], stat.S_IMODE(path.stat().st_mode)))
        return await super().secret(question)

    async def answer(self, question: str) -> str | None:
        self.ways.append("seen")
        return await super().answer(question)

    async def confirm(self, question: str) -> bool | None:
        self.ways.append("yes or no")
        return await super().confirm(question)


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """XDG_RUNTIME_DIR, in which nothing may be left, nor a process that knows of it."""
    directory = Path(tempfile.mkdtemp(prefix="kt-", dir="/tmp"))  # pytest's own is too long for a socket
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    monkeypatch.delenv("DISPLAY", raising=False)
    yield directory
    left = [path.name for path in directory.rglob("*")]
    deadline = time.monotonic() + 10
    while (processes := those_who_know(directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    shutil.rmtree(directory)
    assert left == []
    assert processes == []


def those_who_know(directory: Path) -> list[str]:
    """Other processes with that path in their environment or arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            if os.fsencode(f"SSH_ASKPASS={directory}") in told and process.name != str(os.getpid()):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.fixture
def hop(remote: RemoteMachine, sshd: Server) -> Iterator[Server]:
    server = remote.sshd(extra=["PasswordAuthentication yes"])
    yield server
    server.stop()


def through(route: MakeRoute, hop: Server, target: Server, command: str = "{ssh}", **options: str) -> Route:
    """`inner` is reached by an `ssh -W` over `hop`, whose options these are."""
    found = route(hop.entry("hop", "dash", **options))
    ssh = f"ssh -F {found.config} -W %h:%p hop"
    return route(
        hop.entry("hop", "dash", **options), target.entry("inner", "bash", ProxyCommand=command.format(ssh=ssh))
    )


async def test_a_password(hop: Server, sshd: Server, route: MakeRoute, room: Path) -> None:
    person = Asked({"password": PASSWORD}, room=room)
    found = through(route, hop, sshd, **BY_PASSWORD)
    assert await found.user_at("inner", prompts=person) == "bash"
    where = f"bash@{sshd.host}" + (f":{sshd.port}" if sshd.port != 22 else "")
    assert person.asked == [f"(the ProxyCommand for {where} asks) dash@{hop.host}'s password: "]
    assert person.ways == ["unseen"]
    assert [name for name, _ in person.around] == ["kirotunnel", "askpass", "s"]
    assert [mode for _, mode in person.around[:2]] == [0o700, 0o700]


async def test_a_wrong_password_is_asked_for_again_and_then_ends_it(
    hop: Server, sshd: Server, route: MakeRoute
) -> None:
    person = Asked({"password": "wrong"})
    found = through(route, hop, sshd, **BY_PASSWORD)
    with pytest.raises(AuthenticationFailedError, match=r"the ProxyCommand for .*Permission denied"):
        await found.user_at("inner", prompts=person)
    assert len(person.asked) == 3
    assert [line for line in found.told if line.endswith(": Permission denied, please try again.")]


async def test_who_does_not_answer_is_not_asked_again(hop: Server, sshd: Server, route: MakeRoute) -> None:
    person = Asked({})
    with pytest.raises(AuthenticationFailedError) as caught:
        await through(route, hop, sshd, **BY_PASSWORD).user_at("inner", prompts=person)
    assert len(person.asked) == 1
    assert "run on a terminal" in caught.value.hint


async def test_where_the_targets_own_key_is_new_it_is_asked_on_both_runs(
    hop: Server, sshd: Server, route: MakeRoute, tmp_path: Path
) -> None:
    person = Asked({"password": PASSWORD, "Connect and remember": True})
    found = through(route, hop, sshd, **BY_PASSWORD)
    assert await found.user_at("inner", f"UserKnownHostsFile={tmp_path / 'new'}", prompts=person) == "bash"
    assert person.ways == ["unseen", "yes or no", "unseen"]


async def test_who_was_asked_is_not_asked_anew_by_a_second_try(hop: Server, sshd: Server, route: MakeRoute) -> None:
    """A server that is busy is tried again; one that has refused three answers is not."""
    person = Asked({"password": PASSWORD})
    found = through(route, hop, sshd, **BY_PASSWORD)
    endpoint = await resolve_endpoint("inner", SSHOptions(config_file=str(found.config), options=("Port=9",)))
    with pytest.raises(SSHError) as caught:
        async with connect(endpoint, person, found.told.append, Company()):
            pass
    assert caught.value.code == "KT301"  # the way is right, and may be there later: a lost login goes on trying
    assert len(person.asked) == 1


async def test_a_locked_key(hop: Server, sshd: Server, route: MakeRoute, client_keys: ClientKeys) -> None:
    person = Asked({"Enter passphrase for key": PASSPHRASE})
    found = through(route, hop, sshd, IdentityFile=str(client_keys.encrypted))
    assert await found.user_at("inner", prompts=person) == "bash"
    assert person.ways == ["unseen"]
    assert str(client_keys.encrypted) in person.asked[0]


async def test_an_unknown_host_key_is_asked_about_where_the_answer_is_seen(
    hop: Server, sshd: Server, route: MakeRoute, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    found = through(route, hop, sshd, UserKnownHostsFile=str(known))
    refused = Asked({"yes/no": "no"})
    with pytest.raises(HostKeyUnknownError, match="the ProxyCommand for"):
        await found.user_at("inner", prompts=refused)
    person = Asked({"yes/no": "maybe", "Please type": "yes"})
    assert await found.user_at("inner", prompts=person) == "bash"
    assert person.ways == ["seen", "seen"]
    assert "key fingerprint is SHA256:" in person.asked[0]
    assert "\n" not in person.asked[0]
    assert known.read_text().split(" ", 1)[1].strip() in Path(hop.known_hosts_file).read_text()


async def test_each_of_two_bastions_asks(
    hop: Server, remote: RemoteMachine, sshd: Server, route: MakeRoute, tmp_path: Path
) -> None:
    first = remote.sshd(extra=["PasswordAuthentication yes"])
    config = tmp_path / "bastions"
    entries = (first.entry("first", "bash", **BY_PASSWORD), hop.entry("hop", "dash", ProxyJump="first", **BY_PASSWORD))
    config.write_text("\n".join(map(str, entries)))
    person = Asked({"password": PASSWORD})
    found = route(sshd.entry("inner", "bash", ProxyCommand=f"ssh -F {config} -W %h:%p hop"))
    assert await found.user_at("inner", prompts=person) == "bash"
    assert [question.rsplit(" ", 3)[1].partition("@")[0] for question in person.asked] == ["bash", "dash"]


class Bastion(TwoFactors):
    """Two factors by keyboard-interactive, and then the way to the target."""

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return True


@pytest.fixture
async def bastion(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen("127.0.0.1", 0, server_factory=Bastion, server_host_keys=[key])
    port = server.sockets[0].getsockname()[1]
    known = tmp_path / "bastion"
    known.write_text(f"[127.0.0.1]:{port} {key.export_public_key().decode()}")
    yield {"HostName": "127.0.0.1", "Port": str(port), "UserKnownHostsFile": str(known), "IdentityFile": "none"}
    server.close()
    await server.wait_closed()


async def test_two_factors(hop: Server, sshd: Server, route: MakeRoute, bastion: dict[str, str]) -> None:
    person = Asked({"secret": "first", "code": "123456", "Device": "phone"})
    found = through(route, hop, sshd, **bastion)
    assert await found.user_at("inner", prompts=person) == "bash"
    assert [question.rstrip().rsplit(") ", 1)[1] for question in person.asked] == [
        "Your secret:",
        "One-time code:",
        "Device:",
    ]
    # What ssh writes beside a question is shown before it.
    assert any(line.endswith("Have your phone ready.") for line in found.told)


async def test_a_key_is_added_to_the_agent_after_a_yes(
    hop: Server, sshd: Server, route: MakeRoute, agent: Agent, client_keys: ClientKeys
) -> None:
    options = {"IdentityFile": str(client_keys.plain), "AddKeysToAgent": "ask"}
    listed = ["ssh-add", "-l"]
    for answer in (False, True):
        person = Asked({"to agent": answer})
        assert await through(route, hop, sshd, **options).user_at("inner", prompts=person) == "bash"
        assert person.ways == ["yes or no"]
        env = os.environ | {"SSH_AUTH_SOCK": str(agent.socket)}
        assert (subprocess.run(listed, env=env, stdout=subprocess.DEVNULL).returncode == 0) is answer


async def test_a_notice_is_shown_and_waits_for_nobody(sshd: Server, route: MakeRoute, tmp_path: Path) -> None:
    """As ssh has a security key touched (readpass.c, notify_start)."""
    person = Asked({})
    script = tmp_path / "touches"
    script.write_text(
        "#!/bin/sh\n"
        'SSH_ASKPASS_PROMPT=none "$SSH_ASKPASS" "$(printf \'Touch \\033[2J\\nthe key\')" >/dev/null || exit\n'
        'exec nc "$1" "$2"\n'
    )
    script.chmod(0o755)
    found = route(sshd.entry("inner", "bash", ProxyCommand=f"{script} %h %p"))
    assert await found.user_at("inner", prompts=person) == "bash"
    assert person.asked == []
    assert any(line.endswith(": Touch the key") for line in found.told)


async def test_the_number_and_the_size_of_questions_have_an_end(sshd: Server, route: MakeRoute, tmp_path: Path) -> None:
    script = tmp_path / "asks"
    script.write_text(
        "#!/bin/sh\n"
        '"$SSH_ASKPASS" "$(head -c 100000 /dev/zero | tr \'\\0\' x)" && echo too long >&2\n'
        f'for n in $(seq {MAX_QUESTIONS + 5}); do "$SSH_ASKPASS" "$(printf \'\\033]0;title\\007%s\' $n)" >&2; done\n'
        'echo "that is all" >&2\nexit 1\n'
    )
    script.chmod(0o755)
    person = Asked({"1": "an answer"})
    with pytest.raises(SSHError, match=r"\(that is all\)"):
        await route(sshd.entry("inner", "bash", ProxyCommand=str(script))).user_at("inner", prompts=person)
    assert len(person.asked) <= MAX_QUESTIONS
    assert max(map(len, person.asked)) < 200
    assert person.asked[0].endswith(" asks) 1 ")


async def test_a_person_may_take_longer_than_the_time_to_connect(hop: Server, sshd: Server, route: MakeRoute) -> None:
    class Slow(Asked):
        async def secret(self, question: str) -> Secret[str] | None:
            await asyncio.sleep(5.5)
            return await super().secret(question)

    found = through(route, hop, sshd, **BY_PASSWORD)
    assert await found.user_at("inner", "ConnectTimeout=5", prompts=Slow({"password": PASSWORD})) == "bash"


@pytest.mark.parametrize("way", ["nobody", "BatchMode"])
async def test_where_nobody_can_be_asked_it_ends_and_says_what_to_do(
    hop: Server, sshd: Server, route: MakeRoute, room: Path, way: str
) -> None:
    person = None if way == "nobody" else Asked({"password": PASSWORD}, room=room)
    found = through(route, hop, sshd, **BY_PASSWORD)
    async with asyncio.timeout(20):
        with pytest.raises(SSHError, match="Permission denied") as caught:
            await found.user_at("inner", *(["BatchMode=yes"] if person else []), prompts=person)
    assert "run on a terminal" in caught.value.hint
    assert "ssh-add" in caught.value.hint
    assert person is None or person.asked == []


async def test_whoever_is_let_go_of_at_the_question_leaves_nothing(
    hop: Server, sshd: Server, route: MakeRoute, room: Path
) -> None:
    asked = asyncio.Event()

    class Pensive(Asked):
        async def secret(self, question: str) -> Secret[str] | None:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    attempt = asyncio.create_task(through(route, hop, sshd, **BY_PASSWORD).user_at("inner", prompts=Pensive({})))
    await asyncio.wait_for(asked.wait(), 20)
    assert those_who_know(room)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt


@pytest.mark.parametrize("require", ["force", "prefer"])
async def test_an_askpass_program_that_the_person_prefers_is_left_to_it(
    hop: Server, sshd: Server, route: MakeRoute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: str
) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text(f"#!/bin/sh\necho {shlex.quote(PASSWORD)}\n")
    theirs.chmod(0o755)
    for name, value in (("SSH_ASKPASS", str(theirs)), ("SSH_ASKPASS_REQUIRE", require), ("DISPLAY", ":9")):
        monkeypatch.setenv(name, value)
    person = Asked({"password": "ours"})
    assert await through(route, hop, sshd, **BY_PASSWORD).user_at("inner", prompts=person) == "bash"
    assert person.asked == []


ANOTHER_USERS = """
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.settimeout(3)
    try:
        sock.sendall(b"\\0Tell me: \\0")
        print("heard" if sock.recv(100) else "refused")
    except (BrokenPipeError, ConnectionResetError):  # which of both: whether it was closed before or after the write
        print("refused")
    except TimeoutError:
        print("waits")
"""


async def test_another_user_is_not_put_through(hop: Server, sshd: Server, route: MakeRoute, room: Path) -> None:
    """Not even where the directory were open to all."""
    heard: list[str] = []

    class Curious(Asked):
        async def secret(self, question: str) -> Secret[str] | None:
            if not heard:
                (place,) = room.iterdir()
                for path, mode in ((room, 0o755), (place, 0o755), (place / "s", 0o777)):
                    path.chmod(mode)
                run = await asyncio.create_subprocess_exec(
                    "/usr/bin/python3", "-c", ANOTHER_USERS, str(place / "s"), user=65534, stdout=subprocess.PIPE
                )
                heard.append((await run.communicate())[0].decode().strip())
            return await super().secret(question)

    person = Curious({"Tell me": "everything", "password": PASSWORD})
    assert await through(route, hop, sshd, **BY_PASSWORD).user_at("inner", prompts=person) == "bash"
    assert heard == ["refused"]
    assert len(person.asked) == 1


async def test_a_place_where_no_program_may_run_is_passed_over(
    hop: Server, sshd: Server, route: MakeRoute, room: Path
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "none", str(room)], check=True)
    try:
        person = Asked({"password": PASSWORD}, room=room)
        assert await through(route, hop, sshd, **BY_PASSWORD).user_at("inner", prompts=person) == "bash"
        assert person.around == []
    finally:
        subprocess.run(["umount", str(room)], check=True)


async def test_a_disk_that_is_full_is_as_if_nobody_were_there(
    hop: Server, sshd: Server, route: MakeRoute, room: Path
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2", "none", str(room)], check=True)
    try:
        person = Asked({"password": PASSWORD})
        with pytest.raises(SSHError, match="Permission denied"):
            await through(route, hop, sshd, **BY_PASSWORD).user_at("inner", prompts=person)
        assert person.asked == []
        assert list(room.iterdir()) == []
    finally:
        subprocess.run(["umount", str(room)], check=True)


async def test_the_connection_goes_on_when_nothing_can_be_asked_any_more(
    hop: Server, sshd: Server, route: MakeRoute, room: Path
) -> None:
    person = Asked({"password": PASSWORD})
    async with through(route, hop, sshd, **BY_PASSWORD).to("inner", prompts=person) as session:
        assert list(room.iterdir()) == []
        process = await session.start("exec id")
        assert await process.stdout.read(4) == b"uid="
