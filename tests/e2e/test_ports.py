"""`kirotunnel ports`: every kind of holder, produced for real, is named; only own stale tunnels are ended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pexpect
import pytest

import kirotunnel as kirotunnel_package
from e2e.conftest import Box, MakeBox
from e2e.harness import finish, kirotunnel, listening_here, read_event, start, wait_until
from e2e.test_steering import WAYS, held_here
from lab.requirements import require
from lab.servers import Server

LISTEN = (
    "import socket, sys, time\n"
    "s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
    "print('listening', flush=True)\n"
    "time.sleep(60)\n"
)
NOBODY = 65534


def ports(*arguments: str) -> tuple[int, dict[int, dict[str, Any]]]:
    """The exit code, and what is said of each port."""
    run = kirotunnel("ports", "--json", *arguments)
    assert run.names[-1] == "result"
    return run.code, {event["port"]: event for event in run.named("port")}


@contextlib.contextmanager
def running(*command: str, uid: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that has said its first line."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, user=uid, cwd="/")
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def tunnel(box: Box, *options: str, command: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """A real ssh that forwards 3128."""
    argv = ["ssh", "-F", str(box.config), *options, "-L", "3128:localhost:3128", box.alias, *command]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: listening_here(3128))
        yield process
    finally:
        process.kill()
        process.wait()


def test_free_ports_are_free_and_the_exit_code_says_so() -> None:
    code, found = ports()
    assert code == 0
    assert [event["state"] for event in found.values()] == ["free"] * 10
    assert "3128   free" in kirotunnel("ports").stdout


@pytest.mark.parametrize("way", WAYS)
def test_a_listener_is_named_whatever_addresses_it_has(way: str) -> None:
    with held_here(*WAYS[way]):
        code, found = ports("3128", "4649")
    assert (code, found[3128]["state"], found[4649]["state"]) == (1, "held", "free")
    (owner,) = found[3128]["holders"]
    assert (owner["pid"], owner["stale"]) == (os.getpid(), False)
    addresses = [address for address, _ in WAYS[way]]
    assert owner["addresses"] == sorted("::" if address == "any" else address for address in addresses)


def test_a_forgotten_tunnel_is_named_with_its_host_and_ended_when_asked_for(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    with tunnel(box, "-N") as process:
        code, found = ports("3128")
        (owner,) = found[3128]["holders"]
        assert (code, owner["pid"], owner["stale"]) == (1, process.pid, True)
        assert owner["what"] == "a forgotten ssh tunnel to dev-box"
        refused = kirotunnel("ports", "3128", "--free")
        assert refused.code == 1
        assert "--yes" in refused.stderr
        assert process.poll() is None
        freed = kirotunnel("ports", "3128", "--free", "--yes")
        assert freed.code == 0
        assert "ssh -F" in freed.stderr
        assert "3128   free" in freed.stdout
        process.wait(5)


@pytest.mark.parametrize(("answer", "ended"), [("y", True), ("n", False), ("", False)])
def test_a_person_is_asked_first(make_box: MakeBox, sshd: Server, answer: str, ended: bool) -> None:
    with tunnel(make_box(sshd), "-N") as process:
        person = pexpect.spawn(
            sys.executable, ["-m", "kirotunnel", "ports", "3128", "--free"], encoding="utf-8", timeout=20
        )
        person.expect("a forgotten ssh tunnel to dev-box")
        person.expect(r"\[y/N\]")
        person.sendline(answer)
        person.expect(pexpect.EOF)
        person.close()
        assert person.exitstatus == (0 if ended else 1)
        assert (process.poll() is not None) is ended


@pytest.mark.may_leave_remains  # what ssh ran there outlives it
def test_a_session_that_somebody_may_use_is_never_ended(make_box: MakeBox, sshd: Server) -> None:
    with tunnel(make_box(sshd), command=["sleep", "30"]) as process:
        _, found = ports("3128")
        assert found[3128]["holders"][0]["what"] == "an ssh session to dev-box with -L"
        assert kirotunnel("ports", "3128", "--free", "--yes").code == 1
        assert process.poll() is None


def test_another_kirotunnel_is_named_as_one_that_shares_and_left_alone(make_box: MakeBox, sshd: Server) -> None:
    login = start(*make_box(sshd).arguments("--no-browser"))
    read_event(login, "browser_opened")
    code, found = ports("3128")
    (owner,) = found[3128]["holders"]
    assert (code, found[3128]["state"], owner["pid"]) == (0, "shared", login.pid)
    assert owner["what"] == "another kirotunnel, waiting for its browser"
    assert kirotunnel("ports", "3128", "--free", "--yes").code == 0
    assert login.poll() is None
    login.terminate()
    assert finish(login).code == 143


def test_a_kirotunnel_that_is_stopped_is_a_leftover(make_box: MakeBox, sshd: Server) -> None:
    login = start(*make_box(sshd).arguments("--no-browser"))
    read_event(login, "browser_opened")
    login.send_signal(signal.SIGSTOP)
    assert wait_until(lambda: Path(f"/proc/{login.pid}/stat").read_text().split()[2] == "T")
    _, found = ports("3128")
    assert found[3128]["holders"][0]["stale"]
    login.send_signal(signal.SIGCONT)
    login.terminate()
    finish(login)


@pytest.mark.parametrize(
    ("program", "what"),
    [
        ("squid", "the Squid proxy, whose own port is 3128"),
        ("clash", "a Clash proxy or its kin"),
        ("docker-proxy", "a container's published port"),
        ("code", "an editor's port forwarding (VS Code or its kin)"),
        ("kiro", "the Kiro IDE of this machine"),
        ("node", "a web or development server"),
    ],
)
def test_the_usual_suspects_are_recognised_by_their_process(tmp_path: Path, program: str, what: str) -> None:
    # A Python of that name: what the system says of the process is what it says of the real one.
    shutil.copy(os.path.realpath("/usr/bin/python3"), tmp_path / program)
    with running(str(tmp_path / program), "-c", LISTEN, "3128"):
        _, found = ports("3128")
    (owner,) = found[3128]["holders"]
    assert (owner["program"], owner["what"]) == (program, what)


def test_a_development_server_is_recognised() -> None:
    with running("/usr/bin/python3", "-u", "-m", "http.server", "3128", "--bind", "127.0.0.1"):
        _, found = ports("3128")
    (owner,) = found[3128]["holders"]
    assert owner["what"] == "a development server in Python"
    assert owner["command"] == "python3 -u -m http.server 3128 --bind 127.0.0.1"
    assert owner["since"]


def test_another_users_process_is_named_as_far_as_may_be_seen() -> None:
    require("setpriv")
    with running("/usr/bin/python3", "-c", LISTEN, "3128", uid=NOBODY):
        _, found = ports("3128")
    (owner,) = found[3128]["holders"]
    assert (owner["user"], owner["stale"]) == ("nobody", False)
    assert owner["what"] == "a program running as user nobody"


def test_what_only_root_may_see_is_said_to_be_so() -> None:
    # The system's Python, since root's own may lie where nobody else may look.
    path = os.pathsep.join([str(Path(kirotunnel_package.__file__).parents[1]), *sys.path])
    command = ["/usr/bin/python3", "-m", "kirotunnel", "ports", "3128"]
    with socket.create_server(("127.0.0.1", 3128)):
        done = subprocess.run(
            command, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", capture_output=True, text=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path},
        )  # fmt: skip
    if "Error: " in done.stderr:
        pytest.skip("another user cannot run kirotunnel here")
    assert done.returncode == 1, done.stderr
    assert "user root" in done.stdout
    assert "only its owner and root" in done.stdout
    assert "The processes of other users can be seen as root only." in done.stdout


def test_secrets_of_a_command_line_are_not_shown() -> None:
    with running("/usr/bin/python3", "-c", LISTEN, "3128", "--password", "hunter2", "--token=hunter2"):
        run = kirotunnel("ports", "3128")
    assert "hunter2" not in run.stdout + run.stderr


def test_ended_connections_keep_nobody_from_a_port() -> None:
    with socket.create_server(("127.0.0.1", 3128)) as server, socket.create_connection(("127.0.0.1", 3128)) as client:
        visitor, _ = server.accept()
        visitor.close()
        client.recv(1)
    time.sleep(0.1)  # until TIME_WAIT, of which no event tells
    code, found = ports("3128")
    assert (code, found[3128]["state"]) == (0, "free")
    assert "TIME_WAIT" in found[3128]["notes"][0]


def test_an_outgoing_connection_that_has_the_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", 49153))
        client.connect(server.getsockname())
        code, found = ports("49153")
    (owner,) = found[49153]["holders"]
    assert (code, owner["pid"]) == (1, os.getpid())
    assert owner["what"] == "an outgoing connection that was given this port"


def test_ports_that_linux_keeps_aside_are_noted() -> None:
    setting = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
    before = setting.read_text()
    try:
        setting.write_text("3128,49153-49155\n")
    except OSError:
        pytest.skip("the setting cannot be changed here")
    try:
        code, found = ports("3128", "4649", "49153")
    finally:
        setting.write_text(before or "\n")
    assert code == 0
    noted = [port for port, event in found.items() if any("ip_local_reserved_ports" in note for note in event["notes"])]
    assert noted == [3128, 49153]


def test_a_proxy_that_catches_localhost_is_noted() -> None:
    proxy = {"http_proxy": "http://ada:hunter2@proxy.example.com:3128"}
    run = kirotunnel("ports", env=proxy)
    assert "proxy.example.com:3128" in run.stdout
    assert "NO_PROXY" in run.stdout
    assert "hunter2" not in run.stdout
    assert "NO_PROXY" not in kirotunnel("ports", env={**proxy, "no_proxy": "localhost,127.0.0.1"}).stdout


def test_json_and_text_agree() -> None:
    with socket.create_server(("127.0.0.1", 3128)):
        run = kirotunnel("ports", "3128", "--json")
        text = kirotunnel("ports", "3128").stdout
    (owner,) = json.loads(run.stdout.splitlines()[0])["holders"]
    assert all(part in text for part in (owner["what"], owner["advice"], str(owner["pid"])))


def test_yes_without_free_is_a_usage_error() -> None:
    assert kirotunnel("ports", "--yes").code == 2
