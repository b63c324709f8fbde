"""The demo signs in on this machine alone, by every method, shows how, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from e2e.harness import (
    Run,
    finish,
    kirotunnel,
    listening_here,
    read_event,
    read_url,
    robot,
    start,
    wait_until,
)
from kirotunnel.cli.demo import summary
from kirotunnel.errors import InternalError
from kirotunnel.events import Account, Event
from kirotunnel.flows import demo as flow
from kirotunnel.flows.environment import Environment, Silence
from kirotunnel.sandbox.services import SignInServices

PEOPLE = {
    "google": "ada@example.com",
    "github": "grace@example.com",
    "builder-id": "alan@example.com",
    "idc": "katherine@example.com",
    "external-idp": "edsger@example.com",
}
PAGES = {"google": 1, "github": 1, "builder-id": 2, "idc": 2, "external-idp": 2}
REQUESTS = {"google": 1, "github": 1, "builder-id": 3, "idc": 3, "external-idp": 3}
FIRST_PORT = 3128


@dataclass
class Machine:
    """This machine, as a demo sees it: a directory for temporary files that should be empty again in the end."""

    tmp: Path

    @property
    def env(self) -> dict[str, str]:
        return {"TMPDIR": str(self.tmp)}

    def demo(self, *arguments: str, **env: str) -> Run:
        return kirotunnel("demo", *arguments, env=self.env | env)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return start("demo", *arguments, env=self.env)

    def processes(self, word: str = "") -> list[int]:
        """Who has our directory in its environment or its command line, and that word in the latter."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(self.tmp) in command + environment and os.fsencode(word) in command:
                found.append(int(entry.name))
        return found

    def leftovers(self) -> list[str]:
        assert wait_until(lambda: not self.processes(), 15), "a process is left"
        return [str(path) for path in self.tmp.rglob("*")]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    here = Machine(tmp_path / "tmp")
    here.tmp.mkdir()
    yield here
    assert here.leftovers() == []
    assert wait_until(lambda: not listening_here(FIRST_PORT))  # a process that ends has no environment before it


def steps(run: Run) -> list[str]:
    return re.findall(r"^ +\d+\. (.*)$", run.stderr, re.MULTILINE)


@pytest.mark.parametrize("method", PEOPLE)
def test_the_robot_signs_in_by_each_method(machine: Machine, method: str) -> None:
    run = machine.demo("--auto", "--method", method)
    assert (run.code, run.stdout) == (0, ""), run.stderr
    assert f"Signed in as {PEOPLE[method]} " in run.stderr
    pages, requests = PAGES[method], REQUESTS[method]
    assert f"{pages} sign-in page" in run.stderr
    assert f" {requests} request{'s' * (requests > 1)} passed on to kiro-cli" in run.stderr
    assert f" {pages} stray request{'s' * (pages > 1)} answered here" in run.stderr
    assert run.stderr.endswith("    kirotunnel login my-ec2\n")


def test_each_step_is_a_numbered_sentence(machine: Machine) -> None:
    run = machine.demo("--auto")
    numbers = [int(number) for number in re.findall(r"^ +(\d+)\. ", run.stderr, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    said = " | ".join(steps(run))
    order = ["Sign-in pages run", "An SSH server runs", "stand-in for kiro-cli", "`kirotunnel login demo-host` begins",
             "Started `kiro-cli login`", "wants sign-in page 1", "Opened the same port", "A robot opened", "stray",
             "came back with an approval", "Closed port", "`kiro-cli whoami`"]  # fmt: skip
    places = [said.find(words) for words in order]
    assert places == sorted(places)
    assert -1 not in places


def test_json_has_the_lines_of_a_login_and_no_secret(machine: Machine) -> None:
    run = machine.demo("--auto", "--json", "-vv", "--method", "builder-id")
    assert run.code == 0
    assert re.findall(r"(?:code|state|code_challenge)=(?!\*)[^\s&]+", run.stdout + run.stderr) == []
    assert len(run.events) == len(run.stdout.splitlines())
    assert [name for name in run.names if name != "request_refused"] == [
        "connecting",
        "connected",
        "remote_cli",
        "login_started",
        *["browser_requested", "tunnel_opened", "browser_opened", "callback_received", "tunnel_closed"] * 2,
        "signed_in",
        "result",
    ]
    assert {event["how"] for event in run.named("browser_opened")} == {"robot"}
    assert run.events[-1]["targets"] == [{"target": "demo-host", "ok": True, "code": None}]
    assert "Signed in as alan@example.com" in run.stderr


def test_nothing_of_the_persons_own_is_needed_or_touched(machine: Machine, scrubbed_environment: Path) -> None:
    process = subprocess.run(
        ["env", "-i", f"PATH={os.defpath}", f"TMPDIR={machine.tmp}", f"HOME={scrubbed_environment}",
         sys.executable, "-m", "kirotunnel", "demo", "--auto"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert [path for path in scrubbed_environment.rglob("*") if path.is_file()] == []


# --- with a browser --------------------------------------------------------------------------------------------------


def test_a_browser_is_opened_where_there_is_one(machine: Machine) -> None:
    run = machine.demo(*robot("idc"), "--json")
    assert run.code == 0, run.stderr
    assert {event["how"] for event in run.named("browser_opened")} == {sys.executable}
    assert "Signed in as katherine@example.com" in run.stderr
    assert len([line for line in run.stderr.splitlines() if line.startswith("http://")]) == 2


@pytest.mark.parametrize("browser", ["", "false"], ids=["none", "one-that-does-not-start"])
def test_without_a_browser_the_robot_signs_in(machine: Machine, browser: str) -> None:
    run = machine.demo("--json", "--method", "github", BROWSER=browser)
    assert run.code == 0, run.stderr
    assert run.named("browser_opened")[0]["how"] == "robot"
    assert run.named("signed_in")[0]["account"]["email"] == PEOPLE["github"]


def test_a_person_may_open_the_printed_address_which_is_all_that_quiet_leaves(machine: Machine) -> None:
    process = machine.start("--no-browser", "-q")
    *command, _, _ = shlex.split(robot("github")[1])
    subprocess.run([*command, "github", "allow", read_url(process)], check=True)
    run = finish(process)
    assert (run.code, run.stderr.strip()) == (0, "")


def test_a_denial_is_the_logins_own_error(machine: Machine) -> None:
    run = machine.demo(*robot("google", "deny"), "--json")
    assert (run.code, run.failure) == (8, "KT601")


def test_a_person_who_never_comes_is_waited_for_until_the_timeout(machine: Machine) -> None:
    run = machine.demo("--no-browser", "--timeout", "1", "--json")
    assert (run.code, run.failure) == (9, "KT701")


def test_options_that_contradict_each_other_are_refused(machine: Machine) -> None:
    run = machine.demo("--auto", "--browser", "firefox")
    assert (run.code, "--auto and --browser exclude each other" in run.stderr) == (2, True)


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"])
@pytest.mark.parametrize("moment", ["remote_cli", "browser_opened"])
def test_an_interrupted_demo_leaves_nothing(machine: Machine, moment: str, number: signal.Signals, code: int) -> None:
    process = machine.start("--no-browser", "--json")
    read_event(process, moment)
    process.send_signal(number)
    assert finish(process).code == code


def test_a_killed_cli_ends_the_demo(machine: Machine) -> None:
    process = machine.start("--no-browser", "--json")
    read_event(process, "browser_opened")
    (pid,) = machine.processes("kiro_cli.py\0login")
    os.kill(pid, signal.SIGKILL)
    run = finish(process)
    assert run.code == 6, run.stderr


def test_a_port_that_is_taken_here_is_named_or_avoided(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", FIRST_PORT)):
        run = machine.demo("--auto", "--json")
    assert (run.code, run.failure) in {(7, "KT501"), (0, None)}


def test_of_two_demos_at_once_none_disturbs_the_other(machine: Machine) -> None:
    both = [machine.start("--auto", "--json") for _ in range(2)]
    ended = {(run.code, run.failure) for run in (finish(process) for process in both)}
    assert (0, None) in ended
    assert ended <= {(0, None), (7, "KT501")}


class BrokenPortal(SignInServices):
    """Its consent page never comes."""

    async def __aenter__(self) -> BrokenPortal:
        await super().__aenter__()
        self.fail_next("portal", "consent", "503")
        return self


async def test_a_robot_that_cannot_go_on_is_an_error_that_says_why(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(machine.tmp))
    monkeypatch.setattr(flow, "SignInServices", BrokenPortal)
    monkeypatch.setattr(flow, "GRACE_S", 0.1)
    events: list[Event] = []
    with pytest.raises(InternalError, match=r"the robot could not sign in: .*/signin/consent refused with 503"):
        await flow.demo(flow.DemoOptions(robot="always"), Environment(conversation=Silence(events.append)))
    assert events[-1].name() == "tunnel_closed"


# --- the summary -----------------------------------------------------------------------------------------------------

RESULT = flow.DemoResult(
    account=Account(type="builder-id", email="ada@example.com"),
    tunnels=(
        flow.Tunnel(port=3128, listen=("127.0.0.1:3128",), open_ms=90),
        flow.Tunnel(port=40123, listen=("127.0.0.1:40123",), open_ms=1250),
    ),
    requests=3,
    strays=0,
    took_s=1.96,
)


def test_the_summary_says_what_happened_and_what_it_replaced() -> None:
    text = "\n".join(summary(RESULT, "demo-host"))
    assert "Signed in as ada@example.com (AWS Builder ID) on demo-host in 2.0 s:" in text
    assert "port 3128 opened here for 90 ms, and closed" in text
    assert "port 40123 opened here for 1.2 s, and closed" in text
    assert "no stray requests answered here" in text
    assert "ssh -N -L 3128:localhost:3128 demo-host" in text
    assert "ssh -N -L 40123:localhost:40123 demo-host" in text


@pytest.mark.parametrize("change", [lambda: replace(RESULT, tunnels=()), lambda: replace(RESULT, strays=1)])
def test_the_summary_serves_every_result(change: Callable[[], flow.DemoResult]) -> None:
    assert summary(change(), "demo-host")[-1] == "    kirotunnel login my-ec2"
