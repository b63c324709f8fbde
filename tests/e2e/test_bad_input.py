"""What goes wrong is said: each failure has its KT code, its exit code and a hint, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pexpect
import pytest

from e2e.conftest import MakeBox
from e2e.harness import Run, finish, kirotunnel, listening_here, read_event, robot, start, wait_until
from lab.servers import Server
from lab.test_lab import listening

CALLBACK_PORTS = (3128, 4649, 6588, 8008, 9091, 49153, 50153, 51153, 52153, 53153)


def assert_failed(run: Run, exit_code: int, code: str) -> str:
    """The promised shape of a failure: events, stderr and exit code agree. Gives the message."""
    assert (run.code, run.failure) == (exit_code, code), run.stderr
    failed = run.named("failed")[0]
    assert failed["exit_code"] == exit_code
    assert failed["hint"]
    assert run.events[-1]["event"] == "result"
    assert run.events[-1]["targets"] == [{"target": run.events[-2]["target"], "ok": False, "code": code}]
    lines = run.stderr.split(f"error[{code}]: ")[1].splitlines()
    assert lines[0] == failed["message"]
    assert lines[1] == ""
    assert lines[2] == f"hint: {failed['hint']}"
    assert not any(listening_here(port) for port in CALLBACK_PORTS)
    return str(failed["message"])


# --- the host --------------------------------------------------------------------------------------------------------


def test_an_unknown_host() -> None:
    message = assert_failed(kirotunnel("login", "no-such-host.invalid", "--json"), 4, "KT202")
    assert "no-such-host.invalid" in message


@pytest.mark.parametrize("target", ["", "-oProxyCommand=x", "a b", "host:99999", "host/path", "user@", "[::1", "$(id)"])
def test_a_target_that_is_none(target: str) -> None:
    run = kirotunnel("login", "--json", "--", target)
    assert (run.code, run.failure) == (4, "KT201")


def test_a_refused_connection(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host closed\n  HostName 127.0.0.1\n  Port 9\n")
    assert "refused" in assert_failed(kirotunnel("login", "closed", "-F", str(config), "--json"), 5, "KT301")


def test_something_that_does_not_speak_ssh() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = start("login", f"127.0.0.1:{server.getsockname()[1]}", "--json", "-o", "ConnectTimeout=3")
        connection, _ = server.accept()
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.close()
        assert_failed(finish(process), 5, "KT301")


def test_a_host_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        run = kirotunnel("login", f"127.0.0.1:{server.getsockname()[1]}", "--json", "-o", "ConnectTimeout=1")
        assert_failed(run, 5, "KT306")


def test_an_ssh_config_with_an_error_names_file_and_line(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host box\n  NoSuchOption yes\n")
    message = assert_failed(kirotunnel("login", "box", "-F", str(config), "--json"), 4, "KT203")
    assert f"{config} line 2" in message.replace(": line", " line")


# --- keys ------------------------------------------------------------------------------------------------------------


def test_an_unknown_host_key_is_refused_without_a_terminal(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    box = make_box(sshd)
    known = tmp_path / "empty"
    run = kirotunnel(*box.arguments("-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=ask"))
    assert "SHA256:" in assert_failed(run, 5, "KT302")
    assert not known.exists()


def test_an_unknown_host_key_is_asked_about_on_a_terminal_and_remembered(
    make_box: MakeBox, sshd: Server, tmp_path: Path
) -> None:
    box = make_box(sshd)
    known = tmp_path / "ssh" / "known_hosts"
    options = ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=ask"]
    arguments = [part for part in box.arguments(*robot("google"), *options) if part != "--json"]
    person = pexpect.spawn(sys.executable, ["-m", "kirotunnel", *arguments], encoding="utf-8", timeout=30)
    person.expect("SHA256:")
    person.expect(r"\[y/N\]")
    person.sendline("y")
    person.expect("signed in as ada@example.com")
    person.expect(pexpect.EOF)
    check = ["ssh", "-F", str(box.config), *options, "-o", "StrictHostKeyChecking=yes", box.alias, "true"]
    assert subprocess.run(check, timeout=30).returncode == 0


def test_a_no_to_an_unknown_host_key_ends_it(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    box = make_box(sshd)
    options = ["-o", f"UserKnownHostsFile={tmp_path / 'none'}", "-o", "StrictHostKeyChecking=ask"]
    arguments = [part for part in box.arguments(*options) if part != "--json"]
    person = pexpect.spawn(sys.executable, ["-m", "kirotunnel", *arguments], encoding="utf-8", timeout=30)
    person.expect(r"\[y/N\]")
    person.sendline("")
    person.expect(r"error\[KT302\]")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 5


@pytest.mark.parametrize("strictness", ["yes", "ask", "accept-new", "no"])
def test_a_changed_host_key_is_always_refused(make_box: MakeBox, sshd: Server, tmp_path: Path, strictness: str) -> None:
    box = make_box(sshd)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    key = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    known = tmp_path / "changed"
    name = sshd.host if sshd.port == 22 else f"[{sshd.host}]:{sshd.port}"
    known.write_text(f"{name} {key}\n")
    before = known.read_text()
    options = ["-o", f"UserKnownHostsFile={known}", "-o", f"StrictHostKeyChecking={strictness}"]
    assert_failed(kirotunnel(*box.arguments(*options)), 5, "KT303")
    assert known.read_text() == before


def test_a_key_that_the_server_does_not_know(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    box = make_box(sshd)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "stranger")], check=True)
    config = tmp_path / "stranger_config"
    lines = box.config.read_text().splitlines()
    config.write_text("\n".join(line for line in lines if "IdentityFile" not in line))
    run = kirotunnel("login", box.alias, "-F", str(config), "--json", "-i", str(tmp_path / "stranger"))
    assert_failed(run, 5, "KT304")


# --- the CLI ---------------------------------------------------------------------------------------------------------


def test_a_missing_cli(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    message = assert_failed(kirotunnel(*box.arguments("--cli", "other-cli")), 6, "KT401")
    assert "other-cli" in message


@pytest.mark.parametrize("fault", ["die-before-open", "die-after-open", "die-after-callback"])
def test_a_cli_that_dies(make_box: MakeBox, sshd: Server, fault: str) -> None:
    assert_failed(make_box(sshd, KIRO_STANDIN_FAULT=fault).login("google"), 6, "KT404")


def test_a_denied_sign_in(make_box: MakeBox, sshd: Server) -> None:
    for method in ("google", "builder-id"):
        assert_failed(make_box(sshd).login(method, decision="deny"), 8, "KT601")


def test_all_callback_ports_taken_there(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    script = (
        "import socket,time\n"
        f"held=[socket.create_server(('127.0.0.1',p)) for p in {CALLBACK_PORTS}]\n"
        "print('held',flush=True)\ntime.sleep(60)\n"
    )
    held = subprocess.Popen(
        ["ssh", "-F", str(box.config), box.alias, f'/usr/bin/python3 -c "{script}"'],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    try:
        assert held.stdout is not None
        assert held.stdout.readline() == b"held\n"
        run = box.login("google")
        assert (run.code, run.failure) == (6, "KT402"), run.stderr
        message = run.named("failed")[0]["message"]
        assert "All callback ports are in use" in message
        assert all(f"{port}" in message for port in CALLBACK_PORTS)
        assert message.count("on dev-box: python3 (pid ") == len(CALLBACK_PORTS)
    finally:
        held.kill()
        held.wait()
        held.stdout.close() if held.stdout else None
        box.remote.run("pkill -u bash python3 || true")


def test_a_port_that_nothing_listens_on(make_box: MakeBox, sshd: Server) -> None:
    assert_failed(make_box(sshd, KIRO_STANDIN_FAULT="not-listening").login("google"), 6, "KT409")


def test_an_endless_talker(make_box: MakeBox, sshd: Server) -> None:
    message = assert_failed(make_box(sshd, KIRO_STANDIN_FAULT="endless-output").login("google"), 6, "KT404")
    assert "without end" in message


def test_garbage_in_the_output_does_not_matter(make_box: MakeBox, sshd: Server) -> None:
    assert make_box(sshd, KIRO_STANDIN_FAULT="garbage-output").login("google").code == 0


# --- the pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code"),
    [("bad-scheme", "KT607"), ("huge-url", "KT607"), ("private-host", "KT608"), ("unknown-host", "KT609")],
)
def test_an_address_that_must_not_be_opened_is_not(
    make_box: MakeBox, sshd: Server, tmp_path: Path, fault: str, code: str
) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\necho opened >>{opened}\n")
    browser.chmod(0o755)
    run = kirotunnel(*make_box(sshd, KIRO_STANDIN_FAULT=fault).arguments("--browser", str(browser)))
    assert_failed(run, 8, code)
    assert run.named("tunnel_opened") == []
    assert not opened.exists()


def test_a_cli_that_opens_page_after_page_is_stopped(make_box: MakeBox, sshd: Server) -> None:
    run = make_box(sshd, KIRO_STANDIN_FAULT="many-opens").login("google")
    # Whichever is noticed first: a fifth page, or a second one with the state of the first.
    assert (run.code, run.failure) in {(7, "KT502"), (8, "KT619")}, run.stderr


# --- this machine ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_all_callback_ports_taken_here_are_named_with_their_holder(
    make_box: MakeBox, sshd: Server, address: str
) -> None:
    with taken_here(address, *CALLBACK_PORTS):
        run = make_box(sshd).login("google")
    assert (run.code, run.failure) == (7, "KT501"), run.stderr
    message = run.named("failed")[0]["message"]
    assert message.count(f"pid {os.getpid()}") == len(CALLBACK_PORTS)
    assert run.named("login_started") == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_the_port_of_a_waiting_login_taken_here_is_named_with_its_holder(
    make_box: MakeBox, sshd: Server, address: str
) -> None:
    # That login has its port already, so that nothing can lead it to another.
    box = make_box(sshd)
    with taken_here(address, 3128), listening(box.remote, "127.0.0.1", 3128):
        run = kirotunnel("attach", box.alias, "-F", str(box.config), "--json", "--port", "3128")
    assert (run.code, run.failure) == (7, "KT501"), run.stderr
    assert f"pid {os.getpid()}" in run.named("failed")[0]["message"]
    assert str(os.getpid()) in run.named("failed")[0]["hint"]


@contextmanager
def taken_here(address: str, *ports: int) -> Iterator[None]:
    """Listeners of this process."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.create_server((address, port), family=family))
        yield


def test_a_browser_that_does_not_exist(make_box: MakeBox, sshd: Server) -> None:
    run = kirotunnel(*make_box(sshd).arguments("--browser", "/no/such/browser"))
    assert (run.code, run.failure) == (3, "KT102")


def test_a_browser_that_fails_leaves_the_printed_address(make_box: MakeBox, sshd: Server) -> None:
    process = start(*make_box(sshd).arguments("--browser", "false"))
    assert read_event(process, "browser_opened")["how"] == "printed"
    process.terminate()
    run = finish(process)
    assert run.code == 143
    assert any(line.startswith("http://127.0.0.1:") for line in run.stderr.splitlines())


def test_the_time_runs_out_while_the_browser_stays_away(make_box: MakeBox, sshd: Server) -> None:
    run = kirotunnel(*make_box(sshd).arguments("--no-browser", "--timeout", "6"))
    assert "never came back" in assert_failed(run, 9, "KT701")


def test_the_time_runs_out_after_strays_and_they_are_counted(make_box: MakeBox, sshd: Server) -> None:
    process = start(*make_box(sshd).arguments("--no-browser", "--timeout", "8"))
    port = read_event(process, "tunnel_opened")["port"]
    for target in ("/favicon.ico", "/oauth/callback?code=x&state=wrong", "/oauth/callback?code=y&state=wrong"):
        with socket.create_connection(("127.0.0.1", port)) as visitor:
            visitor.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
            visitor.recv(1)
    message = assert_failed(finish(process), 9, "KT701")
    assert "3 other requests were refused (2 with another state, 1 for another path)" in message


def test_the_time_runs_out_while_connecting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        run = kirotunnel("login", f"127.0.0.1:{server.getsockname()[1]}", "--json", "--timeout", "1")
        assert_failed(run, 9, "KT701")


def test_a_settings_file_with_an_unknown_key_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "xdg" / "kirotunnel" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[target."box"]\nbrowzer = "firefox"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    run = kirotunnel("login", "box")
    assert run.code == 3
    assert "browzer" in run.stderr
    assert "error[KT101]" in run.stderr


# --- sudden ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("state", ["connected", "remote_cli", "login_started", "tunnel_opened", "browser_opened"])
def test_a_signal_leaves_nothing_here_or_there(
    make_box: MakeBox, sshd: Server, state: str, number: signal.Signals, code: int
) -> None:
    process = start(*make_box(sshd).arguments("--no-browser"))
    read_event(process, state)
    process.send_signal(number)
    run = finish(process)
    assert run.code == code
    assert run.names[-1] == "result"
    assert not any(listening_here(port) for port in CALLBACK_PORTS)


def test_ctrl_c_leaves_nothing_though_it_has_ended_who_reads_the_events(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    process = start(*box.arguments("--no-browser"))
    read_event(process, "browser_opened")
    assert process.stdout is not None
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 130
    assert box.remote.leftovers_after(60) == []


def test_a_login_goes_on_though_nobody_reads_its_events(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    process = start(*box.arguments(*robot("google")))
    read_event(process, "login_started")
    assert process.stdout is not None
    process.stdout.close()
    run = finish(process)
    assert run.code == 0, run.stderr
    assert "signed in as" in run.stderr


@pytest.mark.parametrize("server", ["sshd", "dropbear"])
def test_a_kill_leaves_nothing_here_and_nothing_there_once_the_time_is_over(
    request: pytest.FixtureRequest, make_box: MakeBox, server: str
) -> None:
    box = make_box(request.getfixturevalue(server))
    process = start(*box.arguments("--no-browser", "--timeout", "8"))
    read_event(process, "browser_opened")
    process.kill()
    finish(process)
    assert not listening_here(3128)
    assert wait_until(lambda: box.remote.leftovers() == [], 60), box.remote.leftovers()


def test_a_server_that_runs_something_else(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    forced = box.remote.sshd(extra=["ForceCommand echo no shell here"])
    assert_failed(make_box(forced).login("google"), 5, "KT308")


def test_without_openssh_the_other_reader_does(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    box = make_box(sshd)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python3", "sh", "env"):
        (programs / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    run = kirotunnel(*box.arguments(*robot("google")), env={"PATH": str(programs)})
    assert run.code == 0, run.stderr


@pytest.mark.parametrize(
    ("arguments", "host"),
    [
        (["-o", "Port=5", "-p", "6"], "h:5"),
        (["-p", "6", "-o", "Port=5"], "h:6"),
        (["-p", "6", "-p", "7"], "h:6"),
        (["-lada", "-oUser=bob"], "ada@h"),
        (["-o", "user bob", "-l", "ada"], "bob@h"),
    ],
)
def test_of_two_ssh_options_that_say_the_same_the_first_counts(arguments: list[str], host: str) -> None:
    run = kirotunnel("login", "h", *arguments, "--dry-run")
    assert run.code == 0, run.stderr
    assert host in next(line for line in run.stdout.splitlines() if line.startswith("connect"))
