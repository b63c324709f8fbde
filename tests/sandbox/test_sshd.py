"""The embedded remote is a machine like any other: for asyncssh and for the real `ssh`, while it runs and after it."""

import asyncio
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import asyncssh
import pytest

from kirotunnel.sandbox.remote_loopback import VirtualLoopback
from kirotunnel.sandbox.remote_processes import find_strays
from kirotunnel.sandbox.sshd import EmbeddedRemote

pytestmark = pytest.mark.timeout(20)

DETACHED = f"""exec {sys.executable} -c '
import os, sys, time
os.setsid()
os.write(1, b"%d\\n" % os.getpid())
os.dup2(os.open(os.devnull, os.O_RDWR), 0)
os.dup2(0, 1)
os.dup2(0, 2)
time.sleep(1000)'"""


class Ended(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
async def remote() -> AsyncIterator[EmbeddedRemote]:
    async with EmbeddedRemote({"KIRO_TEST": 'it\'s a "value"'}) as machine:
        yield machine


@pytest.fixture
async def client(remote: EmbeddedRemote) -> AsyncIterator[asyncssh.SSHClientConnection]:
    async with connected(remote) as connection:
        yield connection


@pytest.fixture
def loopback(tmp_path: Path) -> VirtualLoopback:
    directory = tmp_path / "loopback"
    directory.mkdir()
    return VirtualLoopback(directory)


@asynccontextmanager
async def connected(remote: EmbeddedRemote) -> AsyncIterator[asyncssh.SSHClientConnection]:
    async with asyncssh.connect(remote.alias, config=[str(remote.ssh_config)], agent_path=None) as connection:
        yield connection


async def ssh(remote: EmbeddedRemote, *arguments: str, stdin: bytes = b"", options: tuple[str, ...] = ()) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *("ssh", "-F", str(remote.ssh_config), "-o", "BatchMode=yes", *options, remote.alias, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not happened():
            await asyncio.sleep(0.005)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if not Path("/proc/self/stat").exists():
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False  # reaped since
    # Where nobody reaps orphans a dead one stays in the table.
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


@asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"echo:" + await reader.read())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def talk(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> bytes:
    writer.write(b"hello")
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


# --- Commands --------------------------------------------------------------------------------------------------------


async def test_asyncssh_gets_both_outputs_and_the_exit_status(client: asyncssh.SSHClientConnection) -> None:
    ended = await client.run("echo out; echo err >&2; exit 7")
    assert (ended.exit_status, ended.stdout, ended.stderr) == (7, "out\n", "err\n")


async def test_ssh_gets_both_outputs_and_the_exit_status(remote: EmbeddedRemote) -> None:
    assert await ssh(remote, "echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")


async def test_the_end_of_the_input_reaches_the_command(
    remote: EmbeddedRemote, client: asyncssh.SSHClientConnection
) -> None:
    assert (await client.run("cat; echo end", input="typed\n")).stdout == "typed\nend\n"
    assert await ssh(remote, "cat; echo end", stdin=b"typed\n") == (0, "typed\nend\n", "")


async def test_the_output_may_follow_the_end_of_the_input(client: asyncssh.SSHClientConnection) -> None:
    size = 3_000_000
    ended = await client.run("cat", input=b"x" * size, encoding=None)
    assert ended.stdout == b"x" * size


async def test_the_exit_status_comes_after_all_of_the_output(remote: EmbeddedRemote) -> None:
    ended = await ssh(remote, "head -c 5000000 /dev/zero | tr '\\0' x; exit 3")
    assert (ended.status, len(ended.out)) == (3, 5_000_000)


async def test_a_command_that_reads_nothing_does_not_stop_its_session(client: asyncssh.SSHClientConnection) -> None:
    ended = await client.run("exec 0<&-; echo done; exit 4", input=b"x" * 3_000_000, encoding=None)
    assert (ended.exit_status, ended.stdout) == (4, b"done\n")


async def test_a_signal_that_ended_the_command_is_told(client: asyncssh.SSHClientConnection) -> None:
    ended = await client.run("kill -USR1 $$")
    assert ended.exit_signal is not None
    assert ended.exit_signal[0] == "USR1"


async def test_a_signal_from_the_client_reaches_the_command(client: asyncssh.SSHClientConnection) -> None:
    async with client.create_process("trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.01; done") as run:
        await run.stdout.readline()
        run.terminate()
        ended = await run.wait()
    assert (ended.exit_status, ended.stdout) == (5, "told\n")


async def test_a_session_without_a_command_is_a_shell(client: asyncssh.SSHClientConnection) -> None:
    ended = await client.run(input="echo shell; exit 6\n")
    assert (ended.exit_status, ended.stdout) == (6, "shell\n")


async def test_the_environment_is_clean_and_that_of_an_ssh_session(
    remote: EmbeddedRemote, client: asyncssh.SSHClientConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKED", "no")
    ended = await client.run("env; pwd", env={"SENT": "no"})
    assert isinstance(ended.stdout, str)
    lines = ended.stdout.splitlines()
    variables = dict(line.split("=", 1) for line in lines[:-1])
    client_port = client.get_extra_info("sockname")[1]
    tools = variables.pop("PATH").split(":")
    assert variables.pop("PWD", None) in (None, lines[-1])
    variables.pop("_", None)
    assert variables == {
        "HOME": str(remote.home),
        "USER": remote.user,
        "LOGNAME": remote.user,
        "SHELL": "/bin/sh",
        "TMPDIR": str(remote.tmp),
        "LANG": "C.UTF-8",
        "SSH_CLIENT": f"127.0.0.1 {client_port} {remote.port}",
        "SSH_CONNECTION": f"127.0.0.1 {client_port} 127.0.0.1 {remote.port}",
    }
    assert lines[-1] == str(remote.home)
    assert (Path(tools[0]) / "ss").exists()
    assert str(remote.home / ".local" / "bin") not in tools


async def test_many_sessions_run_at_once(client: asyncssh.SSHClientConnection) -> None:
    ended = await asyncio.gather(*(client.run(f"echo {n}; cat", input="x") for n in range(20)))
    assert [run.stdout for run in ended] == [f"{n}\nx" for n in range(20)]


async def test_the_cli_is_in_the_home_and_finds_its_environment(
    remote: EmbeddedRemote, client: asyncssh.SSHClientConnection
) -> None:
    ended = await client.run("sed 's/^exec .*/env/' ~/.local/bin/kiro-cli | sh")
    assert isinstance(ended.stdout, str)
    assert 'KIRO_TEST=it\'s a "value"\n' in ended.stdout
    assert f"KIRO_STANDIN_LOOPBACK={remote.loopback.directory}\n" in ended.stdout
    assert os.access(remote.home / ".local" / "bin" / "kiro-cli", os.X_OK)


# --- Terminals -------------------------------------------------------------------------------------------------------


async def test_only_a_session_with_a_terminal_has_one(
    remote: EmbeddedRemote, client: asyncssh.SSHClientConnection
) -> None:
    question = "test -t 0 && test -t 1 && test -t 2; echo $? ${SSH_TTY:-none} ${TERM:-none} $(tty)"
    assert (await client.run(question)).stdout == "1 none none not a tty\n"
    ended = await client.run(question, term_type="vt220")
    assert isinstance(ended.stdout, str)
    status, ssh_tty, term, tty = ended.stdout.split()
    assert (status, ssh_tty, term) == ("0", tty, "vt220")
    ended_ssh = await ssh(remote, "test -t 0 && exit 9", options=("-tt",))
    assert ended_ssh.status == 9


async def test_the_terminal_controls_the_session(client: asyncssh.SSHClientConnection) -> None:
    async with client.create_process("echo ready >/dev/tty; exec sleep 1000", term_type="xterm") as run:
        assert await run.stdout.readline() == "ready\r\n"
        run.stdin.write("\x03")
        ended = await run.wait()
    assert ended.exit_signal is not None
    assert ended.exit_signal[0] == "INT"


async def test_the_terminal_has_the_clients_size_and_follows_it(client: asyncssh.SSHClientConnection) -> None:
    command = "stty size; trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done"
    async with client.create_process(command, term_type="xterm", term_size=(101, 33)) as run:
        assert await run.stdout.readline() == "33 101\r\n"
        assert await run.stdout.readline() == "ready\r\n"
        run.change_terminal_size(77, 22)
        assert await run.stdout.readline() == "22 77\r\n"


async def test_the_terminal_starts_in_the_clients_modes(client: asyncssh.SSHClientConnection) -> None:
    modes = {asyncssh.PTY_ECHO: 0, asyncssh.PTY_ONLCR: 0, asyncssh.PTY_VINTR: 5, asyncssh.PTY_CS8: 1}
    async with client.create_process("cat", term_type="xterm", term_modes=modes) as run:
        run.stdin.write("silent\n")
        assert await run.stdout.readline() == "silent\n"
        run.stdin.write("\x05")
        ended = await run.wait()
    assert (ended.stdout, ended.exit_signal and ended.exit_signal[0]) == ("", "INT")


@pytest.mark.parametrize("typed", ["", "line\n", "half a line"])
async def test_the_end_of_the_input_is_typed_on_a_terminal(client: asyncssh.SSHClientConnection, typed: str) -> None:
    modes = {asyncssh.PTY_ECHO: 0, asyncssh.PTY_ONLCR: 0}
    async with client.create_process("cat; echo .; exit 2", term_type="xterm", term_modes=modes) as run:
        run.stdin.write(typed)
        run.stdin.write_eof()
        ended = await run.wait()
    assert (ended.exit_status, ended.stdout) == (2, f"{typed}.\n")


async def test_all_output_of_a_terminal_comes_before_the_exit_status(remote: EmbeddedRemote) -> None:
    ended = await ssh(remote, "head -c 300000 /dev/zero | tr '\\0' x; exit 3", options=("-tt",))
    assert (ended.status, ended.out) == (3, "x" * 300_000)


async def test_a_background_process_does_not_hold_a_terminal_session(client: asyncssh.SSHClientConnection) -> None:
    ended = await client.run("trap '' HUP; sleep 1000 & echo $!", term_type="xterm")
    assert isinstance(ended.stdout, str)
    os.kill(int(ended.stdout), signal.SIGKILL)


# --- The end of a connection -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("term", [None, "xterm"], ids=["pipes", "terminal"])
async def test_a_lost_client_ends_the_command_and_its_children(remote: EmbeddedRemote, term: str | None) -> None:
    async with connected(remote) as client:
        run = await client.create_process("sleep 1000 & echo $$ $!; wait", term_type=term)
        shell, child = map(int, (await run.stdout.readline()).split())
        assert lives(shell)
        assert lives(child)
        client.abort()
    await until(lambda: not lives(shell) and not lives(child))


@pytest.mark.parametrize("term", [None, "xterm"], ids=["pipes", "terminal"])
async def test_a_lost_client_means_hangup(remote: EmbeddedRemote, term: str | None) -> None:
    async with connected(remote) as client:
        command = "trap 'echo hangup >told; exit' HUP; echo ready; read -r line; exit 1"
        run = await client.create_process(command, term_type=term)
        await run.stdout.readline()
        remote.drop()
    await until((remote.home / "told").exists)


async def test_a_lost_client_means_the_end_of_the_input(
    remote: EmbeddedRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Until then it is not asked to end: it must have come to write by itself.
    monkeypatch.setattr("kirotunnel.sandbox.remote_command._PATIENCE", 10.0)
    async with connected(remote) as client:
        run = await client.create_process("trap '' HUP; echo ready; cat; echo eof >told")
        await run.stdout.readline()
        client.abort()
    await until((remote.home / "told").exists)


async def test_who_ignores_every_request_to_end_is_ended(
    remote: EmbeddedRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kirotunnel.sandbox.remote_command._PATIENCE", 0.05)
    async with connected(remote) as client:
        run = await client.create_process("trap '' HUP TERM; echo $$; while :; do sleep 0.01; done")
        stubborn = int(await run.stdout.readline())
        client.abort()
    await until(lambda: not lives(stubborn))


async def test_a_closed_channel_ends_its_command_alone(client: asyncssh.SSHClientConnection) -> None:
    run = await client.create_process("echo $$; exec sleep 1000")
    sleeper = int(await run.stdout.readline())
    run.close()
    await until(lambda: not lives(sleeper))
    assert (await client.run("echo alive")).stdout == "alive\n"


async def test_drop_cuts_every_client_and_serves_the_next(remote: EmbeddedRemote) -> None:
    async with connected(remote) as first, connected(remote) as second:
        assert (remote.connections, remote.connections_seen) == (2, 2)
        remote.drop()
        await first.wait_closed()
        await second.wait_closed()
    assert remote.connections == 0
    async with connected(remote) as third:
        assert (await third.run("echo back")).stdout == "back\n"
    assert remote.connections_seen == 3


async def test_ssh_notices_that_it_was_dropped(remote: EmbeddedRemote) -> None:
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(ssh(remote, "touch started; sleep 1000"))
        await until((remote.home / "started").exists)
        remote.drop()
    assert run.result().status == 255


async def test_a_detached_process_survives_its_connection_and_not_its_machine() -> None:
    async with EmbeddedRemote({}) as remote:
        async with connected(remote) as client:
            run = await client.create_process(DETACHED + " & wait")
            detached = int(await run.stdout.readline())
            client.abort()
        async with connected(remote) as client:
            assert (await client.run(f"kill -0 {detached}")).exit_status == 0
        await until(lambda: find_strays(remote.home) == [detached])  # the first session's shell may still be ending
        home = remote.home
    assert not lives(detached)
    assert not home.exists()
    assert find_strays(home) == []


async def test_nothing_is_left_when_the_machine_is_gone() -> None:
    before = os.listdir("/dev/fd")
    async with EmbeddedRemote({}) as remote:
        client = await asyncssh.connect(remote.alias, config=[str(remote.ssh_config)], agent_path=None)
        pipes = await client.create_process("echo $$; exec sleep 1000")
        terminal = await client.create_process("echo $$; exec sleep 1000", term_type="xterm")
        await client.forward_remote_port("127.0.0.1", 3128, "127.0.0.1", 9)
        processes = [int(await run.stdout.readline()) for run in (pipes, terminal)]
        directory = remote.disk.directory
        assert directory.stat().st_mode & 0o777 == 0o700
        assert remote.client_key.stat().st_mode & 0o777 == 0o600
    await client.wait_closed()
    assert not [pid for pid in processes if lives(pid)]
    assert not directory.exists()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(remote.host, remote.port)
    await until(lambda: len(os.listdir("/dev/fd")) <= len(before))


async def test_nothing_is_left_when_the_block_fails() -> None:
    remote = EmbeddedRemote({})
    sleepers: list[int] = []

    async def fail() -> None:
        async with remote, connected(remote) as client:
            run = await client.create_process("echo $$; exec sleep 1000")
            sleepers.append(int(await run.stdout.readline()))
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert not lives(sleepers[0])
    assert not remote.home.exists()


# --- Who may come in -------------------------------------------------------------------------------------------------


async def test_another_key_is_not_let_in(remote: EmbeddedRemote) -> None:
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(
            remote.host,
            remote.port,
            username=remote.user,
            client_keys=[stranger],
            known_hosts=str(remote.known_hosts),
            config=None,
            agent_path=None,
        )


async def test_another_user_is_not_let_in(remote: EmbeddedRemote) -> None:
    ended = await ssh(remote, "true", options=("-l", "somebody-else"))
    assert ended.status == 255
    assert "Permission denied (publickey)" in ended.err


# --- The remote's loopback -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_virtual_listener_is_dialled(
    remote: EmbeddedRemote, client: asyncssh.SSHClientConnection, name: str
) -> None:
    async with echo_server() as real_port:
        remote.loopback.claim(3128, real_port)
        assert await talk(*await client.open_connection(name, 3128, encoding=None)) == b"echo:hello"
    assert remote.dials == [3128]


async def test_ssh_dials_a_virtual_listener(remote: EmbeddedRemote) -> None:
    async with echo_server() as real_port:
        remote.loopback.claim(3128, real_port)
        ended = await ssh(remote, stdin=b"hello", options=("-W", "127.0.0.1:3128"))
    assert ended == (0, "echo:hello", "")


@pytest.mark.parametrize(
    ("host", "port", "code"),
    [
        ("127.0.0.1", 3128, asyncssh.OPEN_CONNECT_FAILED),
        ("::1", 49153, asyncssh.OPEN_CONNECT_FAILED),
        ("127.0.0.1", 4649, asyncssh.OPEN_CONNECT_FAILED),
        ("127.0.0.1", 6588, asyncssh.OPEN_CONNECT_FAILED),
        ("example.com", 80, asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED),
        ("127.0.0.2", 49153, asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED),
    ],
    ids=["nobody", "ipv6", "a dead process", "a closed listener", "elsewhere", "another loopback"],
)
async def test_where_nobody_listens_the_channel_is_refused(
    remote: EmbeddedRemote, client: asyncssh.SSHClientConnection, host: str, port: int, code: int
) -> None:
    async with echo_server() as real_port:
        remote.loopback.claim(49153, real_port)
        remote.loopback.claim(4649, real_port, await _dead_process())
        remote.loopback.claim(6588, _closed_port())
        with pytest.raises(asyncssh.ChannelOpenError) as refused:
            await client.open_connection(host, port)
    assert refused.value.code == code


async def test_a_held_port_is_taken_for_every_program(
    remote: EmbeddedRemote, client: asyncssh.SSHClientConnection
) -> None:
    holder = await client.forward_remote_port("localhost", 3128, "127.0.0.1", 9)
    with pytest.raises(OSError, match="in use") as taken:
        remote.loopback.claim(3128, 1)
    assert taken.value.errno == errno.EADDRINUSE
    with pytest.raises(FileExistsError):
        os.open(remote.loopback.path(3128), os.O_CREAT | os.O_EXCL)
    with pytest.raises(asyncssh.ChannelListenError):
        await client.forward_remote_port("127.0.0.1", 3128, "127.0.0.1", 9)
    assert (await ssh(remote, "-N", options=("-R", "3128:127.0.0.1:9", "-o", "ExitOnForwardFailure=yes"))).status == 255
    holder.close()
    await holder.wait_closed()
    assert remote.loopback.claim(3128, 1).port == 3128


async def test_a_held_port_is_free_again_when_its_client_is_lost(remote: EmbeddedRemote) -> None:
    async with connected(remote) as client:
        await client.forward_remote_port("127.0.0.1", 3128, "127.0.0.1", 9)
        assert [listener.port for listener in remote.loopback.listeners()] == [3128]
        remote.drop()
    await until(lambda: remote.loopback.listeners() == [])


async def test_a_visitor_of_a_held_port_comes_to_the_client(
    remote: EmbeddedRemote, client: asyncssh.SSHClientConnection
) -> None:
    async with echo_server() as real_port:
        holder = await client.forward_remote_port("127.0.0.1", 0, "127.0.0.1", real_port)
        answer = await talk(*await client.open_connection("127.0.0.1", holder.get_port(), encoding=None))
    assert answer == b"echo:hello"


async def test_without_forwarding_both_directions_are_prohibited() -> None:
    async with EmbeddedRemote({}, allow_forwarding=False) as remote, connected(remote) as client, echo_server() as port:
        remote.loopback.claim(3128, port)
        with pytest.raises(asyncssh.ChannelOpenError) as refused:
            await client.open_connection("127.0.0.1", 3128)
        assert refused.value.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED
        with pytest.raises(asyncssh.ChannelListenError):
            await client.forward_remote_port("127.0.0.1", 4649, "127.0.0.1", 9)
        assert (await client.run("echo commands run")).stdout == "commands run\n"
        assert remote.dials == [3128]


async def test_ss_lists_the_virtual_listeners_of_living_processes(
    remote: EmbeddedRemote, client: asyncssh.SSHClientConnection
) -> None:
    script = remote.home / "kiro_cli.py"
    script.write_text("import time; time.sleep(1000)")
    async with client.create_process(f"{sys.executable} {script} & echo $!; exec sleep 1000") as run:
        cli = int(await run.stdout.readline())
        remote.loopback.claim(3128, 1, cli)
        remote.loopback.claim(4649, 1, await _dead_process())
        remote.loopback.path(6588).touch()
        await client.forward_remote_port("127.0.0.1", 8008, "127.0.0.1", 9)
        await until(lambda: script.name in _command_line(cli))
        ended = await client.run("ss -ltnpH")
    assert (ended.exit_status, ended.stderr) == (0, "")
    assert ended.stdout == (
        f'LISTEN 0 128 127.0.0.1:3128 0.0.0.0:* users:(("kiro-cli",pid={cli},fd=7))\n'
        f'LISTEN 0 128 127.0.0.1:8008 0.0.0.0:* users:(("sshd",pid={os.getpid()},fd=7))\n'
    )


async def test_ss_lists_nothing_where_nobody_listens(client: asyncssh.SSHClientConnection) -> None:
    ended = await client.run("ss -ltnpH")
    assert (ended.exit_status, ended.stdout, ended.stderr) == (0, "", "")


async def test_a_port_of_a_dead_process_can_be_claimed(loopback: VirtualLoopback) -> None:
    loopback.claim(3128, 1, await _dead_process())
    assert loopback.find(3128) is None
    claimed = loopback.claim(3128, 2)
    assert loopback.find(3128) == claimed
    assert os.listdir(loopback.directory) == ["127.0.0.1:3128"]


def test_a_file_without_its_line_yet_is_a_taken_port(loopback: VirtualLoopback) -> None:
    loopback.path(3128).touch()
    assert loopback.listeners() == []
    with pytest.raises(OSError, match="in use"):
        loopback.claim(3128, 2)


def test_only_the_owner_releases_a_port(loopback: VirtualLoopback) -> None:
    mine = loopback.claim(3128, 1)
    loopback.release(mine)
    theirs = loopback.claim(3128, 2)
    loopback.release(mine)
    assert loopback.listeners() == [theirs]
    assert loopback.path(3128).read_text() == f"2 {os.getpid()}\n"


# --- The package -----------------------------------------------------------------------------------------------------


def test_the_package_alone_does_not_import_asyncssh() -> None:
    code = "import sys, kirotunnel.sandbox; sys.exit('asyncssh' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ssh_reads_the_configuration_as_it_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "a 100% odd directory"
    odd.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(odd))

    async def log_in() -> Ended:
        async with EmbeddedRemote({}, alias="other") as remote:
            return await ssh(remote, "echo in")

    assert asyncio.run(log_in()) == (0, "in\n", "")
    assert shutil.which("ssh")


async def _dead_process() -> int:
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    return process.pid


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _command_line(pid: int) -> str:
    return subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
