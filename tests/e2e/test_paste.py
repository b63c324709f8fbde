"""--paste: nothing is listened on here; the person brings the address that the browser ended on."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pexpect
import pytest

from e2e.conftest import Box, MakeBox
from e2e.harness import Run, finish, listening_here, read_event, read_url, wait_until
from e2e.test_bad_input import CALLBACK_PORTS
from e2e.test_login import LEGS, METHODS, PEOPLE, assert_signed_in
from e2e.test_steering import held_here
from kirotunnel.sandbox import robot
from lab.servers import Server


class Copier(robot._Robot):
    """A person whose browser cannot reach localhost: walks through the pages and copies the address at the end."""

    address: str = ""

    async def _answer(self, client: httpx.AsyncClient, visit: Any) -> httpx.Response | None:
        if self._is_callback(visit.url):
            Copier.address = visit.url
            return None
        return await super()._answer(client, visit)


def final_address(url: str, method: str, decision: str = "allow") -> str:
    typed = {"start_url": "https://acme.awsapps.com/start", "region": "us-east-1"}
    wanted = (decision, "continue", "confirm", *robot._METHOD_IDS[method])

    async def walk() -> None:
        async with robot._http_client() as client:
            await Copier(url, wanted, typed).walk(client)

    Copier.address = ""
    asyncio.run(walk())
    assert Copier.address
    return Copier.address


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def begin(box: Box, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "kirotunnel", *box.arguments("--paste", "--no-browser", *more)]
        pipes: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(command, text=True, **pipes)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def paste(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()


def ended(process: subprocess.Popen[str], events: list[dict[str, Any]]) -> Run:
    read_event(process, "result", events)  # `finish` does not see what was read ahead of the line that was wanted
    run = finish(process)
    run.events[:0] = events
    return run


@pytest.mark.parametrize("server", ["sshd", "dropbear"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_signs_in_by_pasting(
    request: pytest.FixtureRequest, make_box: MakeBox, start: Start, server: str, method: str
) -> None:
    box = make_box(request.getfixturevalue(server))
    process = start(box)
    events: list[dict[str, Any]] = []
    for leg in range(1, LEGS[method] + 1):
        assert read_event(process, "tunnel_opened", events)["listen"] == []
        assert not any(listening_here(port) for port in CALLBACK_PORTS)
        paste(process, final_address(read_url(process), method))
        assert read_event(process, "callback_received", events)["leg"] == leg
    run = ended(process, events)
    assert_signed_in(run, method)
    assert len([event for event in box.log() if event["event"] == "accepted"]) == LEGS[method]


def test_a_wrong_address_is_refused_with_its_reason_and_asked_for_again(
    make_box: MakeBox, sshd: Server, start: Start
) -> None:
    box = make_box(sshd)
    process = start(box)
    read_event(process, "tunnel_opened")
    url = read_url(process)
    right = final_address(url, "google")
    wrong = [url, "hello", right.replace("3128", "3129"), right.replace("/oauth/callback", "/"), right + "x"]
    for text in wrong:
        paste(process, text)
    reasons = [read_event(process, "request_refused")["reason"] for _ in wrong]
    assert reasons == ["host", "malformed", "host", "path", "state"]
    assert box.requests() == []
    paste(process, right)
    run = finish(process)
    assert run.code == 0, run.stderr
    assert "that address belongs to another sign-in" in run.stderr
    assert "comes back to 3128" in run.stderr
    assert not [secret for secret in box.secrets() if secret in run.stderr + run.stdout]


def test_a_denial_can_be_pasted(make_box: MakeBox, sshd: Server, start: Start) -> None:
    process = start(make_box(sshd))
    read_event(process, "tunnel_opened")
    paste(process, final_address(read_url(process), "google", "deny"))
    run = finish(process)
    assert (run.code, run.failure) == (8, "KT601")


def test_the_end_of_input_is_an_error_that_says_so(make_box: MakeBox, sshd: Server, start: Start) -> None:
    process = start(make_box(sshd))
    read_event(process, "tunnel_opened")
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    run = finish(process)
    assert (run.code, run.failure) == (6, "KT406")


def test_all_ports_may_be_busy_here(make_box: MakeBox, sshd: Server, start: Start) -> None:
    with held_here(*(("127.0.0.1", port) for port in CALLBACK_PORTS)):
        process = start(make_box(sshd))
        assert read_event(process, "tunnel_opened")["port"] == 3128
        paste(process, final_address(read_url(process), "google"))
        assert finish(process).code == 0


def test_a_port_that_is_free_is_preferred_since_the_browser_goes_there(
    make_box: MakeBox, sshd: Server, start: Start
) -> None:
    with held_here(("127.0.0.1", 3128)):
        process = start(make_box(sshd))
        assert read_event(process, "tunnel_opened")["port"] == 4649
        process.terminate()
        assert finish(process).code == 143


def test_a_person_pastes_at_a_terminal_unseen(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    arguments = [argument for argument in box.arguments("--paste", "--no-browser") if argument != "--json"]
    person = pexpect.spawn(sys.executable, ["-m", "kirotunnel", *arguments], encoding="utf-8", timeout=30, echo=True)
    person.expect(r"(http://\S+redirect_from=\S+)")
    url = str(person.match[1])
    person.expect("Paste the address here")
    person.sendline("nonsense")
    person.expect("that is no address")
    person.expect("Paste the address here")
    person.sendline(final_address(url, "google"))
    person.expect(f"signed in as {PEOPLE['google']}")
    assert not [secret for secret in box.secrets() if secret in (person.before or "")]
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 0


def test_the_time_runs_out_while_nobody_pastes(make_box: MakeBox, sshd: Server, start: Start) -> None:
    process = start(make_box(sshd), "--timeout", "3")
    process.wait(20)  # with its standard input still open
    run = finish(process)
    assert (run.code, run.failure) == (9, "KT701")


def test_the_end_of_the_cli_ends_the_question(make_box: MakeBox, sshd: Server, start: Start) -> None:
    box = make_box(sshd)
    process = start(box)
    read_event(process, "browser_opened")
    box.remote.run(["pkill", "-u", box.user, "-f", "kiro_cli.py login"])
    assert process.wait(15) == 6
    assert wait_until(lambda: box.remote.leftovers() == [])


def test_paste_without_a_target_is_about_this_machines_own_sign_in() -> None:
    command = [sys.executable, "-m", "kirotunnel", "login", "--paste", "--no-browser"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 6
    assert "error[KT406]: the input ended before" in done.stderr


def test_no_port_is_bound_even_for_a_moment(make_box: MakeBox, sshd: Server, start: Start) -> None:
    process = start(make_box(sshd))
    read_event(process, "browser_opened")
    for port in CALLBACK_PORTS:
        with socket.create_server(("127.0.0.1", port)):
            pass
    process.terminate()
    assert finish(process).code == 143
