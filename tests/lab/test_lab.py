"""The laboratory itself: what the other tests believe about their remote machine is true."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from lab.keys import PASSPHRASE, ClientKeys
from lab.namespace import LINK_PREFIX
from lab.remote import RemoteMachine
from lab.requirements import require
from lab.servers import Server
from lab.setup_script import REPOSITORY
from lab.users import PASSWORD

SHELLS = ["bash", "dash", "ash", "fish", "tcsh", "zsh", "noisy", "busybox"]
# The program that a user's shell comes with, where it has another name.
PROGRAMS = {"ash": "busybox", "noisy": "bash"}

LISTEN = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print("listening", flush=True)
sys.stdin.read()
"""

PROGRAM = """
import json, os, sys
from pathlib import Path
print(os.environ["GREETING"], sys.argv[1:], os.environ["HOME"], Path("/proc/self/comm").read_text().strip())
with open(os.environ["KIRO_STANDIN_LOG"], "a") as log:
    print(json.dumps({"event": "ran"}), file=log)
"""


def is_interface(name: str) -> bool:
    """Whether this process's network has that interface; /sys shows the network in which it was mounted."""
    return name in {known for _, known in socket.if_nameindex()}


def mounted(process: int | str) -> set[str]:
    """The lines of all that is mounted for that process."""
    return set(Path(f"/proc/{process}/mounts").read_text().splitlines())


@contextmanager
def running(machine: RemoteMachine, *argv: str) -> Iterator[None]:
    """A program on the remote that says one line when it is ready, and ends when its stdin does."""
    process = subprocess.Popen(machine.namespace.entered(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 10)[0], "the program never became ready"
        process.stdout.readline()
        yield


def listening(machine: RemoteMachine, address: str, port: int) -> AbstractContextManager[None]:
    """A listener on the remote."""
    return running(machine, "python3", "-c", LISTEN, address, str(port))


async def who_am_i(server: Server, method: str) -> str:
    """The name that `bash` has there, after logging in by that method with the password alone."""
    options: dict[str, Any] = {"config": None, "client_keys": None, "preferred_auth": method, "password": PASSWORD}
    connection = await asyncssh.connect(
        server.host, server.port, username="bash", known_hosts=str(server.known_hosts_file), **options
    )
    async with connection:
        done = await connection.run("id -un")
    return str(done.stdout)


def can_connect(machine: RemoteMachine, address: str, port: int) -> bool:
    """Whether somebody on the remote reaches this address and port."""
    attempt = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)"
    return machine.run(["python3", "-c", attempt, address, str(port)]).returncode == 0


def test_a_listener_on_the_remotes_loopback_is_not_reachable_from_here(remote: RemoteMachine) -> None:
    with listening(remote, "127.0.0.1", 3128):
        assert ("127.0.0.1", 3128) in remote.listeners()
        assert can_connect(remote, "127.0.0.1", 3128)
        with socket.create_server(("127.0.0.1", 3128)):
            pass  # the very same port is free here
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", 3128), timeout=5)


def test_a_listener_on_our_loopback_is_not_reachable_from_the_remote(remote: RemoteMachine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as here:
        assert not can_connect(remote, "127.0.0.1", here.getsockname()[1])


def test_listeners_of_both_families_are_seen(remote: RemoteMachine) -> None:
    with listening(remote, "127.0.0.1", 4649), listening(remote, "::1", 6588):
        assert {("127.0.0.1", 4649), ("::1", 6588)} <= remote.listeners()


def test_the_remote_reaches_what_we_serve_on_the_link(remote: RemoteMachine) -> None:
    with socket.create_server((remote.host_address, 0)) as here:
        assert can_connect(remote, remote.host_address, here.getsockname()[1])


def test_the_remote_reaches_no_other_network(remote: RemoteMachine) -> None:
    routes = remote.run(["ip", "route"]).stdout.split("\n")
    assert [route.split()[0] for route in routes if route] == [f"{remote.address.rpartition('.')[0]}.0/30"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("tty", [False, True], ids=["plain", "terminal"])
def test_every_shell_logs_in_by_openssh(sshd: Server, shell: str, tty: bool) -> None:
    require(PROGRAMS.get(shell, shell))
    done = sshd.ssh(shell, "echo home=$HOME; exit 7", tty=tty)
    assert (done.returncode, f"home=/home/{shell}\n" in done.stdout) == (7, True), done


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "busybox"])
def test_every_shell_logs_in_by_dropbear(dropbear: Server, shell: str) -> None:
    require(PROGRAMS.get(shell, shell))
    done = dropbear.ssh(shell, "echo home=$HOME; exit 7")
    assert (done.returncode, f"home=/home/{shell}\n" in done.stdout) == (7, True), done


def test_the_noisy_user_is_noisy_without_a_terminal_too(sshd: Server) -> None:
    done = sshd.ssh("noisy", "echo first")
    assert "nvm is not loaded> first\n" in done.stdout
    assert "warning" in done.stderr


def test_the_busybox_user_has_nothing_but_busybox(sshd: Server) -> None:
    require("busybox")
    done = sshd.ssh("busybox", "for name in nc awk python3 bash ss; do command -v $name; done; ls /usr/bin/ps")
    # BusyBox's shell finds its own applets without looking at PATH.
    assert done.stdout.split() == ["nc", "awk", "/usr/bin/ps"]


def test_users_own_their_home_and_nothing_else(remote: RemoteMachine) -> None:
    done = remote.run(
        "umask; touch ~/mine /tmp/mine && rm ~/mine /tmp/mine; id -u; touch /usr/mine /etc/mine", user="bash"
    )
    assert done.stdout.split()[-1] == "20001"
    assert done.returncode != 0


def test_root_there_cannot_write_to_our_files(remote: RemoteMachine) -> None:
    assert "Read-only" in remote.run("touch /etc/written-by-the-laboratory").stderr
    assert not Path("/etc/written-by-the-laboratory").exists()


def test_the_remote_sees_neither_our_processes_nor_our_files(remote: RemoteMachine, tmp_path: Path) -> None:
    (tmp_path / "ours").write_text("anything")
    done = remote.run(f"ls {tmp_path} {REPOSITORY}/src; ls /root")
    assert done.stdout == ""
    assert set(remote.run("cat /proc/[0-9]*/comm").stdout.split()) <= {"cat", "sh", "sshd", "dropbear"}


def test_several_servers_differ_in_their_settings(remote: RemoteMachine, sshd: Server) -> None:
    strict = remote.sshd(extra=["AllowTcpForwarding no", "PermitTTY no"])
    assert strict.port != sshd.port
    assert strict.host_key_line != sshd.host_key_line
    assert "PTY allocation request failed" in strict.ssh("bash", "true", tty=True).stderr
    assert sshd.ssh("bash", "tty", tty=True).stdout.startswith("/dev/pts/")


def test_extra_settings_win_and_may_be_matched(remote: RemoteMachine) -> None:
    settings = ["SetEnv WHO=everybody", "Match User dash", "ForceCommand echo forced"]
    server = remote.sshd(extra=settings)
    assert server.ssh("bash", "echo $WHO").stdout == "everybody\n"
    assert server.ssh("dash", "echo free").stdout == "forced\n"


async def test_a_server_may_ask_for_a_password(remote: RemoteMachine) -> None:
    server = remote.sshd(extra=["PasswordAuthentication yes"])
    assert await who_am_i(server, "password") == "bash\n"


async def test_a_server_may_ask_by_pam(remote: RemoteMachine) -> None:
    server = remote.sshd(extra=["UsePAM yes", "KbdInteractiveAuthentication yes"])
    assert await who_am_i(server, "keyboard-interactive") == "bash\n"


async def test_dropbear_may_ask_for_a_password(remote: RemoteMachine) -> None:
    require("dropbear", "dropbearkey")
    assert await who_am_i(remote.dropbear(["--with-passwords"]), "password") == "bash\n"


def test_a_server_with_a_bad_setting_says_so(remote: RemoteMachine) -> None:
    with pytest.raises(TimeoutError, match="Bad configuration option: NoSuchKeyword"):
        remote.sshd(extra=["NoSuchKeyword yes"])
    assert remote.leftovers() == []


def test_a_written_ssh_config_serves_the_real_client(
    remote: RemoteMachine, sshd: Server, dropbear: Server, tmp_path: Path
) -> None:
    config = remote.ssh_config(
        tmp_path / "config", sshd.entry("dev-box", "bash"), dropbear.entry("behind", "fish", ProxyJump="dev-box")
    )
    done = subprocess.run(
        ["ssh", "-F", config, "-oBatchMode=yes", "behind", "echo $SSH_CONNECTION"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    # Dropbear was reached from the remote itself, not from here.
    assert done.stdout.split()[0] == remote.address


def test_the_encrypted_key_opens_with_its_passphrase_only(client_keys: ClientKeys) -> None:
    def opens(passphrase: str) -> bool:
        argv = ["ssh-keygen", "-y", "-P", passphrase, "-f", str(client_keys.encrypted)]
        return subprocess.run(argv, capture_output=True, timeout=20, check=False).returncode == 0

    assert opens(PASSPHRASE)
    assert not opens("")


def test_a_strangers_key_is_refused(
    remote: RemoteMachine, sshd: Server, client_keys: ClientKeys, tmp_path: Path
) -> None:
    entry = sshd.entry("dev-box", "bash", IdentityFile=str(client_keys.stranger), PasswordAuthentication="no")
    config = remote.ssh_config(tmp_path / "config", entry)
    done = subprocess.run(["ssh", "-F", config, "dev-box", "true"], capture_output=True, timeout=20, check=False)
    assert b"Permission denied" in done.stderr


@pytest.mark.may_leave_remains
def test_leftovers_are_found(remote: RemoteMachine) -> None:
    assert remote.leftovers() == []
    remote.run(
        "touch /tmp/shim; mkdir -p ~/.cache/thing ~/.config/kirotunnel; setsid sleep 300 >/dev/null 2>&1 &", user="bash"
    )
    with listening(remote, "127.0.0.1", 3128):
        deadline = time.monotonic() + 20
        while "process: sleep 300" not in (found := remote.leftovers()) and time.monotonic() < deadline:
            time.sleep(0.02)  # until then its command line is still that of a shell
    expected = {
        "file: /tmp/shim",
        "file: /home/bash/.cache/thing",
        "file: /home/bash/.config/kirotunnel",
        "process: sleep 300",
        "listener: 127.0.0.1:3128",
    }
    assert expected <= set(found)


@pytest.mark.may_leave_remains
def test_a_reset_makes_the_remote_as_new(remote: RemoteMachine, sshd: Server) -> None:
    remote.run("touch /tmp/shim ~/file; rm -r ~/.ssh; setsid sleep 300 >/dev/null 2>&1 &", user="bash")
    remote.hide("lsof")
    remote.cover("/proc/sys/kernel/osrelease", "5.15.0-microsoft-standard-WSL2\n")
    remote.cut()
    remote.reset()
    assert remote.leftovers() == []
    assert remote.files("/home/bash/file") == []
    assert "microsoft" not in remote.run("uname -r; cat /proc/sys/kernel/osrelease").stdout
    assert sshd.ssh("bash", "true").returncode == 0


def test_orphans_are_reaped(remote: RemoteMachine) -> None:
    # A process whose parent is gone must not stay as a zombie: `kill -0` would take it for alive.
    pid = remote.run(
        "(setsid sh -c 'echo $$; exec >/dev/null 2>&1; read line </dev/null' &)", user="bash"
    ).stdout.strip()
    assert remote.run(f"while kill -0 {pid} 2>/dev/null; do :; done", timeout=10).returncode == 0


def test_hidden_programs_are_not_there(remote: RemoteMachine) -> None:
    before = remote.run("command -v perl; command -v awk", user="bash").stdout.split()
    remote.hide("perl", "no-such-program")
    remote.hide("lsof")
    assert before[-1:] == remote.run("command -v perl; command -v lsof; command -v awk", user="bash").stdout.split()
    assert remote.files("/usr/bin/perl") == []
    assert Path("/usr/bin/perl").exists()


def test_a_covered_file_reads_as_told(remote: RemoteMachine) -> None:
    remote.cover("/proc/sys/kernel/osrelease", "5.15.0-microsoft-standard-WSL2\n")
    assert "WSL2" in remote.run("cat /proc/sys/kernel/osrelease", user="dash").stdout
    assert "WSL2" not in Path("/proc/sys/kernel/osrelease").read_text()


def test_a_cut_link_is_silent_and_a_connection_outlives_it(remote: RemoteMachine, sshd: Server) -> None:
    with socket.create_connection((sshd.host, sshd.port), timeout=20) as connection:
        assert connection.recv(100).startswith(b"SSH-2.0-OpenSSH")
        remote.cut()
        connection.sendall(b"SSH-2.0-laboratory\r\n")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        remote.restore()
        connection.settimeout(20)
        assert connection.recv(100)  # the server's key exchange


def test_connections_can_be_dropped_without_stopping_the_server(remote: RemoteMachine, sshd: Server) -> None:
    done: list[subprocess.CompletedProcess[str]] = []
    client = threading.Thread(target=lambda: done.append(sshd.ssh("bash", "exec sleep 300", tty=True)))
    client.start()
    sshd.wait_for_log("Accepted publickey for bash")
    sshd.drop_connections()
    client.join(20)
    assert done[0].returncode == 255
    assert sshd.ssh("bash", "true").returncode == 0


@pytest.mark.parametrize("where", ["~/.local/bin/kiro-cli", "~/tools/kiro-cli", "/usr/local/bin/kiro-cli"])
@pytest.mark.parametrize("user", ["bash", "tcsh", "busybox"])
def test_a_program_runs_where_it_is_installed(remote: RemoteMachine, tmp_path: Path, user: str, where: str) -> None:
    require(PROGRAMS.get(user, user))
    source = tmp_path / "program.py"
    source.write_text(PROGRAM)
    runner = "bash" if where.startswith("/usr") else user  # busybox sees no /usr/local of the machine
    path = remote.install_cli(user, where, env={"GREETING": 'it\'s "me"'}, source=source)
    done = remote.run([path, "a b"], user=runner)
    assert (done.stdout, done.stderr) == (f"it's \"me\" ['a b'] {remote.users[runner].home} kiro-cli\n", "")
    assert remote.standin_log(user) == [{"event": "ran"}]


@pytest.mark.parametrize("user", ["bash", "busybox"])
def test_the_stand_in_for_kiro_cli_runs_though_python_is_hidden(remote: RemoteMachine, user: str) -> None:
    require(PROGRAMS.get(user, user))
    path = remote.install_cli(user)
    remote.hide("python3")
    assert remote.run("command -v python3", user=user).returncode != 0
    assert remote.run([path, "--version"], user=user).stdout.startswith("kiro-cli ")


def test_nothing_is_left_after_a_machine_ends(tmp_path: Path) -> None:
    machine = RemoteMachine(tmp_path, without=["perl"])
    mounts = mounted("self")
    with machine:
        link, first = machine.namespace.link, machine.namespace.init_pid
        its_own = mounted(first) - mounts
        assert its_own
        machine.sshd()
        assert machine.run("command -v perl").returncode != 0
        assert is_interface(link)
    assert not is_interface(link)
    assert not Path(f"/proc/{first}").exists()
    # Only these are looked for: other tests' containers come and go here meanwhile.
    assert not its_own & mounted("self")


def test_two_machines_live_side_by_side(remote: RemoteMachine, client_keys: ClientKeys, tmp_path: Path) -> None:
    with RemoteMachine(tmp_path, keys=client_keys) as other:
        assert other.namespace.link.startswith(LINK_PREFIX)
        assert other.address != remote.address
        assert other.sshd().ssh("bash", "hostname").stdout == "remote\n"


def test_nothing_is_left_after_a_crash(remote: RemoteMachine, tmp_path: Path) -> None:
    # Another process makes a machine with a server and is killed while it has it.
    program = (
        "import sys; from pathlib import Path; from lab.remote import RemoteMachine\n"
        "machine = RemoteMachine(Path(sys.argv[1])).__enter__(); machine.sshd()\n"
        "print(machine.namespace.init_pid, machine.namespace.link, flush=True); sys.stdin.read()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "tests")}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as owner:
        assert owner.stdout is not None
        assert select.select([owner.stdout], [], [], 30)[0]
        pid, link = owner.stdout.readline().split()
        ended = os.pidfd_open(int(pid))
        owner.send_signal(signal.SIGKILL)
    assert select.select([ended], [], [], 20)[0], "the first process of the machine outlived its owner"
    os.close(ended)
    # The kernel takes the namespace apart in the background.
    deadline = time.monotonic() + 20
    while is_interface(link) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_interface(link)
