"""Logins inside of containers, of the real podman: on this machine without SSH, and on a remote behind a real sshd."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs

import pexpect
import pytest

from e2e.chromium import Openings
from e2e.harness import (
    Run,
    Services,
    finish,
    kirotunnel,
    listening_here,
    read_event,
    robot,
    start,
    wait_until,
)
from e2e.running_command import BROWSER, IDP
from e2e.test_attach import visit
from e2e.test_login import METHODS, assert_only_callbacks_arrived, assert_signed_in
from e2e.test_run import LISTEN
from e2e.test_steering import held_here
from lab.containers import Contained, Podman, own_network, podman_here, podman_there
from lab.remote import RemoteMachine
from lab.servers import Server

# A CLI of nobody's: it opens the page of a sign-in service, and takes one callback.
ONE_SHOT = """
import threading
def open_page(port):
    subprocess.run(["xdg-open", authorize(port)], check=True)
with socket.socket() as sock:
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
threading.Thread(target=open_page, args=(port,)).start()
sys.exit(0 if one_shot(port=port) else 1)
"""
SETTLING_S = 8.0
"""Seconds for what runs inside to notice that nobody is there any more."""


class Stopping(Protocol):
    """An engine whose containers can be stopped."""

    def stop(self, name: str) -> None: ...


@dataclass
class Place:
    """A container with the stand-in CLI, and how it is reached."""

    target: list[str]
    inside: list[str]
    engine: Stopping
    contained: Contained
    services: Services
    env: dict[str, str]
    server: Server | None = None

    def arguments(self, *more: str, command: str = "login") -> list[str]:
        trust = [] if command == "doctor" else self.services.trust
        return [command, *self.target, *self.inside, "--json", *trust, *more]

    def login(self, method: str, *more: str, decision: str = "allow") -> Run:
        run = kirotunnel(*self.arguments(*robot(method, decision), *more), env=self.env)
        shown = run.stdout + "".join(line for line in run.stderr.splitlines(True) if not line.startswith("http"))
        assert [secret for secret in self.secrets() if secret in shown] == []
        return run

    def log(self) -> list[dict[str, Any]]:
        return self.contained.standin_log()

    def requests(self) -> list[str]:
        return [f"{e['leg']} {e['method']} {e['path']}" for e in self.log() if e["event"] == "request"]

    def secrets(self) -> set[str]:
        queries = [parse_qs(str(e["query"])) for e in self.log() if e["event"] == "request"]
        return {value for query in queries for name in ("code", "state") for value in query.get(name, ())}


def podman_of(place: Place) -> Podman:
    assert isinstance(place.engine, Podman)
    return place.engine


MakePlace = Callable[..., Place]


@pytest.fixture
def make_place(
    request: pytest.FixtureRequest, remote: RemoteMachine, services: Services, tmp_path: Path
) -> Iterator[MakePlace]:
    """Containers; each must be empty in the end, but for its own processes."""
    with ExitStack() as stack:
        places: list[Place] = []

        def make(where: str, *options: str, **cli: str) -> Place:
            network = stack.enter_context(own_network())
            server: Server | None = None
            if where == "here":
                engine = stack.enter_context(podman_here(tmp_path / "podman", network))
                target, env = ["localhost"], {"PATH": f"{tmp_path}/podman/bin:{os.environ['PATH']}"}
            else:
                server = request.getfixturevalue(where)
                assert server is not None
                engine = stack.enter_context(podman_there(remote, network))
                remote.write("/root/.ssh/authorized_keys", remote.keys.authorized_keys(), mode=0o600)
                config = remote.ssh_config(tmp_path / "ssh_config", server.entry("dev-box", "root"))
                target, env = ["dev-box", "-F", str(config)], {}
            contained = engine.start("web", *options)
            contained.install_cli(env=services.cli_environment(**cli))
            place = Place(target, ["--container", "web"], engine, contained, services, env, server)
            places.append(place)
            return place

        yield make
        running = [place for place in places if alive(place.contained.init_pid)]
        left = [place.contained.leftovers_after(SETTLING_S) for place in running]
        assert left == [[]] * len(left), "left behind in the container"


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}/root/proc")


WHERE = ("here", "sshd", "dropbear")


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("method", METHODS)
def test_each_method_signs_in_inside(make_place: MakePlace, where: str, method: str) -> None:
    place = make_place(where)
    run = place.login(method)
    assert_signed_in(run, method)
    assert_only_callbacks_arrived(place, method)
    assert run.named("container")[0] | {"engine": "podman", "container": "web"} == run.named("container")[0]
    assert {event["via"] for event in run.named("tunnel_opened")} == {"exec"}
    assert "connecting" not in run.names or where != "here"
    for event in run.named("tunnel_opened"):
        assert not listening_here(event["port"])


@pytest.mark.parametrize("where", ["here", "sshd"])
@pytest.mark.parametrize("method", ["builder-id", "google"])
def test_a_one_time_code_signs_in_inside(make_place: MakePlace, where: str, method: str) -> None:
    run = make_place(where).login(method, "--flow", "device", "--method", method)
    assert_signed_in(run, method)
    assert run.named("tunnel_opened") == []


@pytest.mark.parametrize("where", ["here", "sshd"])
def test_a_port_that_is_busy_here_is_held_inside(make_place: MakePlace, where: str) -> None:
    place = make_place(where)
    with held_here(("127.0.0.1", 3128)):
        run = place.login("google")
    assert_signed_in(run, "google")
    assert [event["method"] for event in run.named("port_steered")] == ["exec:python3"]
    assert run.named("tunnel_opened")[0]["port"] == 4649
    assert wait_until(lambda: place.contained.listeners() == [])


@pytest.mark.parametrize("where", ["here", "sshd"])
def test_strays_do_not_go_inside(make_place: MakePlace, tmp_path: Path, where: str) -> None:
    place = make_place(where)
    openings = Openings(tmp_path / "opened")
    process = start(*place.arguments(*openings.browser), env=place.env)
    try:
        page = openings.next()
        opened = read_event(process, "tunnel_opened")
        for path in ("/favicon.ico", "/oauth/callback?code=x&state=wrong"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{opened['port']}{path}", timeout=10)
            refused.value.close()
        visit(page)
        run = finish(process)
    finally:
        openings.close()
    assert_signed_in(run, "google")
    assert_only_callbacks_arrived(place, "google")
    assert {event["reason"] for event in run.named("request_refused")} == {"path", "state"}


# --- sudden ends -----------------------------------------------------------------------------------------------------


@contextmanager
def waiting_login(place: Place, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A login that waits for its first callback."""
    process = start(*place.arguments("--no-browser", *more), env=place.env)
    try:
        read_event(process, "browser_opened")
        assert place.contained.listeners() != []
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_it_ends_nothing_is_left_inside(make_place: MakePlace, where: str, number: signal.Signals) -> None:
    place = make_place(where)
    with waiting_login(place, *(("--timeout", "12") if number is signal.SIGKILL else ())) as process:
        os.kill(process.pid, number)
        process.wait(20)
        # What was killed can tell nobody, so the holder waits for it until the time of the sign-in is over.
        assert place.contained.leftovers_after(60 if number is signal.SIGKILL else SETTLING_S) == []
        assert process.returncode == (-9 if number is signal.SIGKILL else 128 + number)
    assert [event for event in place.log() if event["event"] == "signed_in"] == []


@pytest.mark.parametrize("where", ["here", "sshd"])
def test_a_container_that_stops_in_mid_login_is_said(make_place: MakePlace, where: str) -> None:
    place = make_place(where)
    with waiting_login(place) as process:
        place.engine.stop("web")
        run = finish(process)
    assert (run.code, run.failure) == (5, "KT305"), run.stderr
    message = run.named("failed")[0]["message"]
    assert "container web on" in message
    # The engine's own word for it, which podman changes while it stops a container.
    assert re.search("is not running: it is (stopping|stopped|exited)", message)


@pytest.mark.parametrize("where", ["here", "sshd"])
def test_a_container_that_is_restarted_in_mid_login_is_said(make_place: MakePlace, where: str) -> None:
    place = make_place(where)
    with waiting_login(place) as process:
        podman_of(place).restart("web")
        run = finish(process)
    assert (run.code, run.failure) == (5, "KT305"), run.stderr
    failed = run.named("failed")[0]
    # Or we looked between its end and its start.
    words = {"was gone from there when it came back": "was restarted", "is not running": "start"}
    assert [hint for said, hint in words.items() if said in failed["message"] and hint in failed["hint"]]


def test_a_container_that_is_paused_in_mid_login_is_said(make_place: MakePlace) -> None:
    place = make_place("here")
    podman = podman_of(place)
    with waiting_login(place) as process:
        podman.run("pause", "web")
        try:
            run = finish(process)
        finally:
            podman.run("unpause", "web")
            podman.stop("web")
    assert (run.code, run.failure) == (5, "KT305"), run.stderr
    failed = run.named("failed")[0]
    assert "is not running: it is paused" in failed["message"]
    assert "`podman unpause web`" in failed["hint"]


def test_a_login_inside_outlives_the_connection_to_its_host(make_place: MakePlace, tmp_path: Path) -> None:
    place = make_place("sshd")
    openings = Openings(tmp_path / "opened")
    process = start(*place.arguments(*openings.browser), env=place.env)
    try:
        page = openings.next()
        assert place.server is not None
        place.server.drop_connections()
        read_event(process, "reconnected")
        visit(page)
        run = finish(process)
    finally:
        openings.close()
    assert_signed_in(run, "google")
    assert_only_callbacks_arrived(place, "google")


def test_a_shell_inside_that_does_not_answer_any_more_is_replaced(make_place: MakePlace, tmp_path: Path) -> None:
    # What is left of an engine's client whose process inside is gone looks the same: an open pipe, and silence.
    place = make_place("here")
    openings = Openings(tmp_path / "opened")
    process = start(*place.arguments(*openings.browser), env=place.env)
    try:
        page = openings.next()
        os.kill(oldest_shell(place.contained), signal.SIGSTOP)
        read_event(process, "reconnected")
        visit(page)
        run = finish(process)
    finally:
        openings.close()
    assert_signed_in(run, "google")


def oldest_shell(contained: Contained) -> int:
    """The control shell, by its birth: the numbers of processes begin anew once they have reached their last."""
    shells = []
    for pid in contained.pids():
        with suppress(OSError):  # it has ended meanwhile
            head, _, tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
            if head.endswith("(sh"):
                shells.append((int(tail.split()[19]), pid))
    return min(shells)[1]


# --- a terminal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["here", "sshd"])
def test_a_person_types_at_the_prompts_inside(make_place: MakePlace, where: str) -> None:
    place = make_place(where, KIRO_STANDIN_PROFILES='[["one", "arn:aws:x:1"], ["two", "arn:aws:x:2"]]')
    arguments = [part for part in place.arguments(*robot("idc")) if part != "--json"]
    env = {**os.environ, **place.env}
    person = pexpect.spawn(
        sys.executable, ["-m", "kirotunnel", *arguments], encoding="utf-8", timeout=30, dimensions=(40, 123), env=env
    )
    person.expect("two")
    sizes = [size for pid in terminals(place.contained) if (size := terminal_size(pid))]
    assert (123, 40) in sizes
    person.setwinsize(33, 99)
    assert wait_until(lambda: (99, 33) in [terminal_size(pid) for pid in terminals(place.contained)])
    person.send("\r")
    person.expect("signed in as")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 0


def terminals(contained: Contained) -> list[int]:
    """The processes inside that have a terminal as their input."""
    return [pid for pid in contained.pids() if link(f"/proc/{pid}/fd/0").startswith("/dev/pts/")]


def link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def terminal_size(pid: int) -> tuple[int, int] | None:
    """Columns and rows of the terminal that the process has as its input."""
    try:
        descriptor = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return None
    try:
        size = os.get_terminal_size(descriptor)
        return (size.columns, size.lines)
    except OSError:  # it has another input by now
        return None
    finally:
        os.close(descriptor)


# --- other commands --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["here", "sshd"])
def test_attach_finds_the_login_that_waits_inside(make_place: MakePlace, where: str) -> None:
    place = make_place(where, KIRO_STANDIN_VERSION="2.0.0")
    command = podman_of(place).command("exec", "-it", "--env", "SSH_TTY=x", "web", "/root/.local/bin/kiro-cli", "login")
    other = pexpect.spawn(command[0], command[1:], encoding="utf-8", timeout=30, dimensions=(30, 200))
    other.expect("Select login method")
    other.expect("Pro license")
    other.send("j\r")
    other.expect("[Pp]ress [Ee]nter")
    process = start(*place.arguments(command="attach"), env=place.env)
    read_event(process, "tunnel_opened")
    other.send("\r")
    other.expect(r"(http://\S+redirect_from=\S+)\s")
    visit(str(other.match[1]))
    run = finish(process)
    assert run.code == 0, run.stderr
    assert run.named("callback_received")[0]["outcome"] == "granted"
    other.expect(pexpect.EOF)
    other.close()


@pytest.mark.parametrize("where", ["here", "sshd"])
def test_doctor_looks_inside(make_place: MakePlace, where: str) -> None:
    place = make_place(where)
    run = kirotunnel(*[part for part in place.arguments(command="doctor") if part != "--json"], env=place.env)
    assert f"container web on {place.target[0]}\n" in run.stdout
    assert "the callback travels over a command there (python3)" in run.stdout
    assert "/root/.local/bin/kiro-cli" in run.stdout


@pytest.mark.parametrize("where", ["here", "sshd"])
def test_run_runs_inside(make_place: MakePlace, tmp_path: Path, where: str) -> None:
    place = make_place(where)
    words = [sys.executable, "-m", "kirotunnel", "run", *place.target, *place.inside, "--trust-url-host", IDP]
    env = {**os.environ, **place.env}
    counted = subprocess.run(
        [*words, "--", "wc -c; echo err >&2; exit 7"], input="x" * 300_000, capture_output=True, text=True, env=env
    )
    assert (counted.returncode, counted.stdout.strip()) == (7, "300000"), counted.stderr
    assert "err\n" in counted.stderr
    place.contained.write("/root/cli.py", LISTEN + ONE_SHOT)
    browser = ["--browser", shlex.join([sys.executable, str(BROWSER), str(tmp_path / "visits")])]
    login = subprocess.run(
        [*words, *browser, "--", "/usr/bin/python3", "/root/cli.py"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, timeout=60,
    )  # fmt: skip
    assert (login.returncode, "GOT /callback?code=the-code&state=s-1" in login.stdout) == (0, True), login.stderr


@pytest.mark.parametrize("where", ["here", "sshd"])
def test_whoami_and_logout_ask_inside(make_place: MakePlace, where: str) -> None:
    place = make_place(where)
    assert_signed_in(place.login("google"), "google")
    whoami = [part for part in place.arguments(command="whoami") if part not in place.services.trust]
    logout = [part for part in place.arguments(command="logout") if part not in place.services.trust]
    assert kirotunnel(*whoami, env=place.env).named("signed_in")[0]["account"]["email"] == "ada@example.com"
    assert kirotunnel(*logout, env=place.env).code == 0
    assert kirotunnel(*whoami, env=place.env).code == 1


# --- what may be missing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("home", ["HOME=", "HOME=/", "HOME=/nowhere"])
def test_a_home_that_is_not_set_or_is_the_root_will_do(make_place: MakePlace, home: str) -> None:
    place = make_place("here", "--env", home)
    run = place.login("google", "--cli", "/root/.local/bin/kiro-cli")
    assert_signed_in(run, "google")


def test_another_user_of_the_container_has_a_place_too(make_place: MakePlace) -> None:
    place = make_place("here", "--user", "1234:1234", "--env", "HOME=/tmp/home")
    place.contained.path("/opt/standin").chmod(0o755)
    place.contained.path("/var/log/standin.jsonl").chmod(0o666)
    place.contained.path("/root").chmod(0o755)
    home = place.contained.path("/tmp/home")
    home.mkdir()
    os.chown(home, 1234, 1234)
    run = place.login("google", "--cli", "/root/.local/bin/kiro-cli")
    assert_signed_in(run, "google")
    shutil.rmtree(home)


def test_a_container_with_this_machines_network_is_told_from_others(make_place: MakePlace) -> None:
    place = make_place("here", "--network", f"ns:/proc/{os.getpid()}/ns/net")
    place.contained.own_network = False
    run = place.login("google")
    assert (run.code, run.failure) == (4, "KT204"), run.stderr
    assert "podman exec -it web" in run.named("failed")[0]["hint"]
    whoami = [part for part in place.arguments(command="whoami") if part not in place.services.trust]
    assert kirotunnel(*whoami, env=place.env).code == 1


@pytest.mark.parametrize("where", ["here", "sshd"])
def test_ctrl_c_while_the_cli_is_being_asked_leaves_nothing(make_place: MakePlace, where: str) -> None:
    place = make_place(where, KIRO_STANDIN_FAULT="slow-whoami")
    process = start(*place.arguments("--no-browser"), env=place.env)
    read_event(process, "container")
    assert wait_until(lambda: any("whoami" in line for line in place.contained.processes()))
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 130
    assert place.contained.leftovers_after(SETTLING_S) == []


@pytest.mark.parametrize("where", ["here", "sshd"])
def test_what_is_wrong_is_said_with_what_to_do(make_place: MakePlace, where: str) -> None:
    place = make_place(where)
    podman = podman_of(place)
    podman.start("db")
    podman.stop("db")
    podman.start_empty("bare")
    on = "this machine" if where == "here" else "root@"
    for inside, code, message, hint in [
        (["--container", "wbe"], "KT214", "podman has no container wbe on", "did you mean web?"),
        (["--container", "db"], "KT215", "container db on", "`podman start db`"),
        (["--container", "bare"], "KT219", "container bare on", "image with a shell"),
        (["--container", "web", "--container-engine", "nerdctl"], "KT213", "has no nerdctl", "--container-engine"),
        (["--container", "web;id"], "KT201", "is no name of a container", "docker ps"),
    ]:
        place.inside = inside
        run = kirotunnel(*place.arguments(), env=place.env)
        assert (run.code, run.failure) == (4, code), run.stderr
        failed = run.named("failed")[0]
        assert message in failed["message"]
        assert on in failed["message"] or code == "KT201"
        assert hint in failed["hint"]
