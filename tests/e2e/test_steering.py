"""A callback port that is busy here is kept from the remote CLI, which takes the next one that is free at both ends."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence

import pytest

from e2e.conftest import Box, MakeBox
from e2e.harness import Run, finish, read_event, start, wait_until
from e2e.test_bad_input import CALLBACK_PORTS
from e2e.test_login import assert_only_callbacks_arrived, assert_signed_in
from lab.requirements import require
from lab.servers import Server
from lab.test_lab import listening

REFUSES_REMOTE_FORWARDS = {"local only": "AllowTcpForwarding local", "no listening": "PermitListen none"}


@contextlib.contextmanager
def held_here(*places: tuple[str, int]) -> Iterator[None]:
    """Listeners of this process; `any` is one socket for all addresses of both families."""
    with contextlib.ExitStack() as stack:
        for address, port in places:
            if address == "any":
                stack.enter_context(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True))
            else:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                stack.enter_context(socket.create_server((address, port), family=family))
        yield


WAYS = {
    "v4": [("127.0.0.1", 3128)],
    "v6": [("::1", 3128)],
    "both": [("127.0.0.1", 3128), ("::1", 3128)],
    "wildcard v4": [("0.0.0.0", 3128)],
    "wildcard v6": [("::", 3128)],
    "wildcard of both": [("any", 3128)],
}


def ports_there(box: Box) -> set[int]:
    return {port for _, port in box.remote.listeners()} & set(CALLBACK_PORTS)


def assert_steered(box: Box, run: Run, method: str, *, by: str, busy: Sequence[int] = (3128,)) -> None:
    """The CLI took the ports that follow, the login succeeded, and nothing is held any more."""
    assert_signed_in(run, method)
    assert_only_callbacks_arrived(box, method)
    steered = run.named("port_steered")
    assert [(event["busy"], event["method"]) for event in steered] == [(port, by) for port in busy]
    assert all(f"pid {os.getpid()}" in event["holder"] for event in steered)
    assert run.names.index("port_steered") < run.names.index("login_started")
    free = [port for port in CALLBACK_PORTS if port not in busy]
    assert run.named("tunnel_opened")[0]["port"] == free[0]
    assert wait_until(lambda: ports_there(box) == set()), ports_there(box)


@pytest.mark.parametrize("way", WAYS)
def test_a_port_that_is_busy_here_is_held_by_forwarding(make_box: MakeBox, sshd: Server, way: str) -> None:
    box = make_box(sshd)
    with held_here(*WAYS[way]):
        run = box.login("google")
    assert_steered(box, run, "google", by="forward")


@pytest.mark.parametrize("way", ["v4", "v6", "wildcard of both"])
def test_on_dropbear_a_second_connection_holds_it(make_box: MakeBox, dropbear: Server, way: str) -> None:
    box = make_box(dropbear)
    with held_here(*WAYS[way]):
        run = box.login("builder-id")
    assert_steered(box, run, "builder-id", by="second-connection")


@pytest.mark.parametrize("setting", REFUSES_REMOTE_FORWARDS)
@pytest.mark.parametrize("way", ["v4", "v6", "both"])
def test_where_the_server_listens_for_nobody_a_program_holds_it(
    make_box: MakeBox, sshd: Server, setting: str, way: str
) -> None:
    strict = make_box(sshd).remote.sshd(extra=[REFUSES_REMOTE_FORWARDS[setting]])
    box = make_box(strict)
    with held_here(*WAYS[way]):
        run = box.login("google")
    assert_steered(box, run, "google", by="exec:python3")


@pytest.mark.parametrize("setting", ["AllowTcpForwarding no", "DisableForwarding yes"])
@pytest.mark.parametrize("way", ["v4", "v6", "both"])
def test_with_forwarding_disabled_altogether_it_is_held_and_the_callback_arrives(
    make_box: MakeBox, sshd: Server, setting: str, way: str
) -> None:
    strict = make_box(sshd).remote.sshd(extra=[setting])
    box = make_box(strict)
    with held_here(*WAYS[way]):
        run = box.login("google")
    assert_steered(box, run, "google", by="exec:python3")


def test_dropbear_without_forwarding_back_has_a_program_hold_it(make_box: MakeBox, dropbear: Server) -> None:
    strict = make_box(dropbear).remote.dropbear(extra=["-k"])
    box = make_box(strict)
    with held_here(*WAYS["v4"]):
        run = box.login("google")
    assert_steered(box, run, "google", by="exec:python3")


TOOLS = {
    "perl": ("perl", {"python3"}),
    "socat": ("socat", {"python3", "perl"}),
    "ncat": ("ncat", {"python3", "perl", "socat", "nc"}),
    "openbsd": ("nc.openbsd", {"python3", "perl", "socat", "ncat"}),
    "traditional": ("nc.traditional", {"python3", "perl", "socat", "ncat"}),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_any_program_that_can_listen_will_do(make_box: MakeBox, sshd: Server, tool: str) -> None:
    program, hidden = TOOLS[tool]
    require(program)
    strict = make_box(sshd).remote.sshd(extra=["PermitListen none"])
    box = make_box(strict)
    box.remote.hide(*hidden)
    if program.startswith("nc."):
        box.remote.write("/usr/local/bin/nc", f'#!/bin/sh\nexec {program} "$@"\n', mode=0o755)
    with held_here(*WAYS["v4"], ("127.0.0.1", 4649)):
        run = box.login("google")
    assert_steered(box, run, "google", by=f"exec:{tool}", busy=(3128, 4649))


def test_busybox_alone_will_do(make_box: MakeBox, sshd: Server) -> None:
    strict = make_box(sshd).remote.sshd(extra=["PermitListen none"])
    box = make_box(strict, "busybox")
    with held_here(*WAYS["v4"], ("127.0.0.1", 4649)):
        run = box.login("google")
    assert_steered(box, run, "google", by="exec:busybox", busy=(3128, 4649))


def test_where_nothing_can_hold_it_the_login_says_so_and_goes_on(make_box: MakeBox, sshd: Server) -> None:
    strict = make_box(sshd).remote.sshd(extra=["PermitListen none"])
    box = make_box(strict)
    box.remote.hide("python3", "perl", "socat", "ncat", "nc", "nc.openbsd", "nc.traditional", "busybox")
    with held_here(*WAYS["v4"]):
        run = box.login("google")
    assert (run.code, run.failure) == (7, "KT501")
    assert "warning: port 3128 is in use here" in run.stderr
    assert f"pid {os.getpid()}" in run.named("failed")[0]["message"]


@pytest.mark.parametrize("server", ["sshd", "dropbear"])
def test_the_second_port_of_an_external_provider_is_free_at_both_ends_too(
    request: pytest.FixtureRequest, make_box: MakeBox, server: str
) -> None:
    box = make_box(request.getfixturevalue(server))
    busy = (3128, 4649, 8008)
    with held_here(*(("127.0.0.1", port) for port in busy)):
        run = box.login("external-idp")
    method = "forward" if server == "sshd" else "second-connection"
    assert_steered(box, run, "external-idp", by=method, busy=busy)
    assert [event["port"] for event in run.named("tunnel_opened")] == [6588, 9091]


def test_a_hold_goes_as_soon_as_the_last_listed_port_is_taken(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    with held_here(*WAYS["v4"]):
        process = start(*box.arguments("--no-browser", "--method", "google"))
        read_event(process, "port_steered")
        assert 3128 in ports_there(box)
        read_event(process, "browser_opened")
        assert wait_until(lambda: ports_there(box) == {4649})
        process.terminate()
        assert finish(process).code == 143


def test_a_hold_stays_while_a_second_listed_port_may_be_wanted_and_refuses_who_comes(
    make_box: MakeBox, sshd: Server
) -> None:
    box = make_box(sshd)
    with held_here(*WAYS["v4"]):
        process = start(*box.arguments("--no-browser"))
        read_event(process, "browser_opened")
        assert ports_there(box) == {3128, 4649}
        knock = "import socket; s = socket.create_connection(('127.0.0.1', 3128)); s.settimeout(5); print(s.recv(1))"
        assert "b''" in box.remote.run(["python3", "-c", knock]).stdout
        process.terminate()
        assert finish(process).code == 143
    assert wait_until(lambda: ports_there(box) == set())


@pytest.mark.parametrize("server", ["sshd", "dropbear"])
def test_a_kill_leaves_no_hold(request: pytest.FixtureRequest, make_box: MakeBox, server: str) -> None:
    box = make_box(request.getfixturevalue(server))
    with held_here(*WAYS["v4"]):
        process = start(*box.arguments("--no-browser", "--timeout", "10"))
        read_event(process, "browser_opened")
        process.kill()
        finish(process)
    assert wait_until(lambda: ports_there(box) == {4649})  # the CLI's own, which is held until the time is over
    assert wait_until(lambda: ports_there(box) == set(), 60)


def test_a_port_that_is_busy_at_both_ends_is_left_alone(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    with held_here(*WAYS["v4"]), listening(box.remote, "127.0.0.1", 3128):
        run = box.login("google")
        assert_signed_in(run, "google")
        assert run.named("port_steered") == []
        assert run.named("tunnel_opened")[0]["port"] == 4649


def test_all_ports_busy_here_and_there_is_an_error_with_who_holds_what(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    here = [("127.0.0.1", port) for port in CALLBACK_PORTS if port != 3128]
    with held_here(*here), listening(box.remote, "127.0.0.1", 3128):
        run = box.login("google")
    assert (run.code, run.failure) == (7, "KT501")
    failed = run.named("failed")[0]
    rows = {line.split()[0]: line for line in failed["message"].splitlines()[1:]}
    assert list(rows) == [str(port) for port in CALLBACK_PORTS]
    assert "on dev-box: a process of another user" in rows["3128"]
    assert "here: " in rows["4649"]
    assert f"pid {os.getpid()}" in rows["4649"]
    assert "--paste" in failed["hint"]
    assert [event for event in box.log() if event["event"] == "bound"] == []


def test_one_free_port_is_too_few_for_an_external_provider(make_box: MakeBox, sshd: Server) -> None:
    with held_here(*(("127.0.0.1", port) for port in CALLBACK_PORTS[1:])):
        run = make_box(sshd).login("external-idp", "--method", "external-idp")
    assert (run.code, run.failure) == (7, "KT501")
    assert "takes 2" in run.named("failed")[0]["message"]
