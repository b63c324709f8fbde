"""Our scripts as each shell runs them that is /bin/sh somewhere: a login held, taken over, ended, or without its place.

Debian has dash there, Red Hat and Amazon Linux bash, Alpine BusyBox' ash, macOS may have zsh. Here the shell is laid
over /bin/sh, for these processes alone, in a mount namespace of theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from kirotunnel.errors import ForwardingRefusedError
from kirotunnel.profiles.profile import Profile, profile_for
from kirotunnel.ssh import control
from kirotunnel.ssh.bridge import _by_command
from kirotunnel.ssh.control import ControlShell, runner
from kirotunnel.ssh.holds import PortHolds
from kirotunnel.ssh.remote_cli import Ending, HeldCLI
from kirotunnel.ssh.scripts import assignments, read_script
from kirotunnel.ssh.session import Process
from kirotunnel.ssh.this_machine import ThisMachine
from lab.requirements import find, require, require_laboratory

SHELLS: Final = ("dash", "bash", "busybox", "zsh")
PATIENCE_S: Final = 30.0
TERMINAL: Final = ("xterm", (80, 24))
CLI: Final = """\
#!/bin/dash
case $1 in
whoami) [ ! -e "$0.hangs" ] || sleep 1000; exit 1 ;;
--version) echo "a-cli 2.10.0"; exit 0 ;;
esac
echo begun
xdg-open "https://sign-in.example/?x=1"
xdg-open "https://sign-in.example/?x=$(printf '%05000d' 2)"
read -r line
echo "got $line"
exit 3
"""


URLS: Final = ["https://sign-in.example/?x=1", f"https://sign-in.example/?x={2:05000}"]


class WithShell(ThisMachine):
    """This machine, where /bin/sh is another shell."""

    def __init__(self, wrapper: Path) -> None:
        super().__init__()
        self.wrapper = wrapper

    async def start(self, command: str, **options: Any) -> Process:
        return await super().start(f"exec {self.wrapper} {command.removeprefix('exec ')}", **options)


class Told:
    """Is told what comes of the login."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.output = b""
        self.end: tuple[Ending, int | None] | None = None

    def url(self, url: str) -> None:
        self.urls.append(url)

    def printed(self, data: bytes) -> None:
        self.output += data

    def ended(self, how: Ending, code: int | None) -> None:
        self.end = how, code


class Login:
    """One login on that machine, through as many control shells as are asked for."""

    def __init__(self, machine: WithShell, cli: Path) -> None:
        self.machine = machine
        self._cli = str(cli)
        self._hangs = cli.with_suffix(".hangs")
        self._profile: Profile = profile_for("kiro-cli")
        self._shells: list[ControlShell] = []
        self.told = Told()
        self.held = HeldCLI(self.told)
        self.directory = Path()

    def _new_shell(self) -> ControlShell:
        number = len(self._shells) + 1
        shell = ControlShell(self.machine, self.held.hear, token=self.held.token, number=number)
        self._shells.append(shell)
        return shell

    async def begin(self, *, lease_s: int = 60) -> ControlShell:
        """Start it, and wait until it is under way."""
        shell = await self.start(lease_s=lease_s)
        assert await until(lambda: b"begun" in self.told.output and self.told.urls == URLS), self.told.output
        return shell

    async def start(self, *, lease_s: int = 60) -> ControlShell:
        shell = self._new_shell()
        facts = await shell.look_around(cli=self._cli, profile=self._profile, prepare="always", lease_s=60)
        assert (facts.cli, facts.version, facts.account) == (self._cli, (2, 10, 0), None)
        assert facts.directory is not None
        self.directory = Path(facts.directory)
        await shell.set_runner(runner(("login",), self._profile))
        self.held.use(shell)
        await shell.start_cli(lease_s=lease_s, terminal=TERMINAL)
        return shell

    def whoami_hangs(self) -> None:
        """From here on the CLI does not answer who is signed in."""
        self._hangs.touch()

    def is_asked(self) -> bool:
        """Whether the CLI is asked that."""
        return any(" whoami" in line for line in self.processes())

    async def go_on(self) -> tuple[ControlShell, str]:
        shell = self._new_shell()
        standing = await shell.go_on(
            str(self.directory),
            urls=self.held.urls,
            output=self.held.received,
            cli=self._cli,
            profile=self._profile,
            lease_s=60,
        )
        self.held.use(shell)
        return shell, standing

    def processes(self) -> list[str]:
        """What runs from its directory, or is the CLI."""
        marks = (str(self.directory).encode(), self._cli.encode())
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                if any(mark in line for mark in marks):
                    found.append(line.replace(b"\0", b" ").decode("utf-8", "replace"))
        return found

    def nothing_left(self) -> bool:
        return not self.directory.exists() and self.processes() == []

    def close(self) -> None:
        for shell in self._shells:
            shell.let_go()


async def until(condition: Callable[[], bool]) -> bool:
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition() and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.05)
    return condition()


@pytest.fixture(params=SHELLS)
async def login(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Login]:
    require_laboratory()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    require(request.param, "script")
    wrapper, cli = tmp_path / "wrapper", tmp_path / "a-cli"
    wrapper.write_text(
        "#!/bin/bash\n"
        f'exec unshare -m -- {shutil.which("bash")} -c \'mount --bind "$0" "$(readlink -f /bin/sh)" && exec "$@"\''
        f' {shutil.which(request.param)} "$@"\n'
    )
    cli.write_text(CLI.replace("/bin/dash", str(shutil.which("bash"))))
    for file in (wrapper, cli):
        file.chmod(0o755)
    machine = WithShell(wrapper)
    made = Login(machine, cli)
    yield made
    made.close()
    await machine.end_all()
    for started in machine._started:  # what else had the pipes is being killed, too
        started._process._transport.close()
    await asyncio.sleep(0)


async def test_a_login_that_goes_well(login: Login) -> None:
    shell = await login.begin()
    login.held.type(b"well\r")
    assert await until(lambda: login.told.end is not None)
    assert (login.told.end, login.told.urls) == (("exited", 3), URLS)
    assert b"got well" in login.told.output
    assert await shell.finish()
    assert await until(login.nothing_left), login.processes()


async def test_a_login_that_another_connection_goes_on_with(login: Login) -> None:
    first = await login.begin()
    first.let_go()
    second, standing = await login.go_on()
    assert standing == "held"
    login.held.type(b"again\r")
    assert await until(lambda: login.told.end is not None)
    assert (login.told.end, login.told.urls, login.told.output.count(b"begun")) == (
        ("exited", 3),
        URLS,
        1,
    )
    assert await second.finish()
    assert await until(login.nothing_left), login.processes()


@pytest.mark.parametrize("how", ["bye", "the lease", "the holder is killed"])
async def test_where_nothing_can_be_written_any_more_the_cli_is_ended_all_the_same(login: Login, how: str) -> None:
    shell = await login.begin(lease_s=8 if how == "the lease" else 60)
    (login.directory / "stop").mkdir()  # so that no file of that name can be made
    match how:
        case "bye":
            assert await shell.finish()
        case "the lease":
            shell.let_go()
        case _:
            os.kill(int((login.directory / "holder.pid").read_text().split()[0]), signal.SIGKILL)
    assert await until(login.nothing_left), login.processes()


async def test_a_whoami_that_hangs_is_given_up_and_ended(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "WHOAMI_S", 2)
    shell = await login.begin()
    login.whoami_hangs()
    async with asyncio.timeout(PATIENCE_S):
        assert await shell.whoami() is None
    assert await until(lambda: not login.is_asked())
    assert await shell.finish()
    assert await until(login.nothing_left), login.processes()


async def test_a_shell_that_waits_for_a_command_can_be_told_all_the_same_that_it_is_over(login: Login) -> None:
    shell = await login.begin()
    login.whoami_hangs()
    asking = asyncio.create_task(shell.whoami())
    assert await until(login.is_asked)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    assert await shell.finish()
    assert await until(login.nothing_left), login.processes()


async def test_who_is_back_before_the_holder_has_said_who_it_is_waits_for_that(
    login: Login, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    slow = programs / "setsid"
    slow.write_text(f'#!/bin/sh\nsleep 1\nexec {find("setsid")} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    await login.start()
    second, standing = await login.go_on()  # as long as the first is not known to be lost
    assert standing == "held"
    assert await until(lambda: b"begun" in login.told.output)
    assert await second.finish()
    assert await until(login.nothing_left), login.processes()


async def test_a_directory_that_vanishes_ends_it_and_that_is_said(login: Login) -> None:
    await login.begin()
    shutil.rmtree(login.directory)
    assert await until(lambda: login.told.end is not None)
    assert login.told.end == ("gone", None)
    assert await until(login.nothing_left), login.processes()


async def test_a_directory_that_vanished_between_two_connections_is_said_to_be_gone(login: Login) -> None:
    first = await login.begin()
    first.let_go()
    shutil.rmtree(login.directory)
    second, standing = await login.go_on()
    assert standing == "gone"
    assert await second.finish()
    assert await until(login.nothing_left), login.processes()


@pytest.mark.parametrize("tool", ["python3", "perl", "bash", "curl"])
async def test_what_is_carried_over_a_command_is_the_request_and_nothing_else(
    login: Login, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in (tool, "cat", "dd", "sed", "unshare", "mount", "readlink"):
        found = find(name)
        assert found is not None
        (programs / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(programs))
    came: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, asyncio.timeout(PATIENCE_S):
        port = server.sockets[0].getsockname()[1]
        refused = ForwardingRefusedError("it forbids forwarding")
        stream = await _by_command(login.machine, port, "127.0.0.1", refused, None)  # type: ignore[arg-type]  # what it uses of it
        await stream.write(b'GET /cb?code=c&state=s HTTP/1.1\r\nHost: localhost:3128\r\nX-Quoted: "a\\b"\r\n\r\n')
        said = b""
        while data := await stream.read(1000):
            said += data
        await stream.close()
    assert said == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    (head,) = came
    assert head.startswith(b"GET /cb?code=c&state=s HTTP/1.1\r\nHost: localhost:3128\r\n")
    assert b'\r\nX-Quoted: "a\\b"\r\n' in head


@pytest.mark.parametrize("tool", ["python3", "perl"])
@pytest.mark.parametrize("gone", ["the listener", "the browser"])
def test_a_listener_is_visited_once_however_that_ends(
    login: Login, tool: str, gone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in {tool, "perl", "bash", "unshare", "mount", "readlink"}:
        (programs / name).symlink_to(str(find(name)))
    monkeypatch.setenv("PATH", str(programs))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        script = assignments(N="nonce", A="127.0.0.1", P=str(server.getsockname()[1])) + read_script("bridge.sh")
        shell = [login.machine.wrapper, "/bin/sh"]
        with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as bridge:
            assert bridge.stdin is not None
            assert bridge.stdout is not None
            bridge.stdin.write(script.encode())
            visitor, _ = server.accept()
            assert bridge.stdout.readline() + bridge.stdout.readline() == f"\nnonce connected {tool}\n".encode()
            with visitor:
                if gone == "the listener":
                    bridge.stdin.write(b"GET / HTTP/1.1\r\n\r\n")
                    assert visitor.recv(1, socket.MSG_PEEK)  # what is closed with something to read in it is reset
                else:
                    bridge.stdout.close()
                    visitor.sendall(b"hello")
                    with contextlib.suppress(ConnectionError):
                        assert visitor.recv(1) == b""
            server.settimeout(0.05)
            visits = 1
            while bridge.poll() is None:
                with contextlib.suppress(TimeoutError):
                    server.accept()[0].close()
                    visits += 1
    assert visits == 1


@pytest.mark.parametrize("tool", ["python3", "perl", "socat", "socat, slow to start", "busybox"])
async def test_a_port_is_held_by_a_program_and_let_go_of(
    login: Login, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool, _, slow = tool.partition(", ")
    require(tool, "ss")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in (tool, "cat", "sed", "grep", "sleep", "ss", "unshare", "mount", "readlink"):
        (programs / name).symlink_to(str(find(name)))
    if slow:
        (programs / tool).unlink()
        (programs / tool).write_text(f'#!/bin/sh\nsleep 1\nexec {find(tool)} "$@"\n')
        (programs / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    async with asyncio.timeout(PATIENCE_S):
        shell = ControlShell(login.machine)  # type: ignore[arg-type]  # what it uses of it
        await shell.look_for_listeners(cli="kiro-cli", profile=profile_for("kiro-cli"))
        holds = PortHolds(login.machine, shell, lease_s=60)  # type: ignore[arg-type]  # what it uses of it
        assert await holds.take([port]) == {port: f"exec:{tool}"}
        assert not can_be_bound(port)
        await holds.release()
        assert await until(lambda: can_be_bound(port))
        assert await shell.finish()


def can_be_bound(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
