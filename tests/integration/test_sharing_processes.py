"""Processes of one user that want the same port: each gets its own callbacks, whoever of them is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from integration.relay_ends import Reply, free_port, request
from kirotunnel.local.shared_port import PING_S

TESTS: Final = Path(__file__).parents[1]
PATIENCE_S: Final = 40.0


class Sharer:
    """One such process, and what it has said."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.said: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "integration.sharing_process", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]),
            },
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.said.append(json.loads(line))
                self._changed.notify_all()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self, **what: Any) -> dict[str, Any]:
        """The first thing it says that is so."""

        def found() -> dict[str, Any] | None:
            return next((said for said in self.said if said.items() >= what.items()), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None, PATIENCE_S)
            said = found()
        assert said is not None, f"{what} was never said: {self.said}"
        return said

    def lease(self, state: str, *options: str) -> dict[str, Any]:
        self.tell(" ".join(["lease", state, *options]))
        return self.hear(did="lease", state=state)

    def delivered(self, state: str) -> list[str]:
        """The requests that its remote saw."""
        said = self.hear(saw="delivered", state=state)
        assert said["error"] is None
        targets: list[str] = said["targets"]
        return targets

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        if number is signal.SIGKILL:
            self.process.wait()

    def end(self) -> None:
        """All its legs are over, and it ends by itself."""
        self.tell("end")
        assert self.process.wait(PATIENCE_S) == 0

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()


class Machine:
    """This machine: its processes, and a browser."""

    def __init__(self, stack: ExitStack) -> None:
        self.port = free_port()
        self._stack = stack

    def start(self, count: int = 1) -> list[Sharer]:
        started = [Sharer(self.port) for _ in range(count)]
        for sharer in started:
            self._stack.callback(sharer.close)
        return started

    def two(self, *options: str) -> tuple[Sharer, Sharer]:
        """The first has the port, and the second is its guest."""
        first, second = self.start(2)
        assert "listen" in first.lease("one", *options)
        assert "listen" in second.lease("two", *options)
        return first, second

    def send(self, data: bytes) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        self._stack.callback(sock.close)
        sock.sendall(data)
        return sock

    def call_back(self, state: str) -> socket.socket:
        return self.send(request(callback_of(state), self.port))

    def ask(self, target: str) -> Reply:
        return read(self.send(request(target, self.port)))

    @property
    def is_free(self) -> bool:
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    sock.bind((address, self.port))
                except OSError:
                    return False
        return True

    @property
    def remains(self) -> list[str]:
        """What lies in the meeting place."""
        return sorted(path.name for path in Path(os.environ["XDG_RUNTIME_DIR"]).glob("kirotunnel/*"))


def callback_of(state: str) -> str:
    return f"/oauth/callback?code=c&state={state}"


def read(sock: socket.socket) -> Reply:
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    reply = Reply.read(data)
    assert reply is not None, "closed without an answer"
    return reply


@pytest.fixture
def machine() -> Iterator[Machine]:
    with ExitStack() as stack:
        yield Machine(stack)


def eventually(condition: Any) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


# --- Together ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
def test_each_callback_is_its_own_processs(machine: Machine, order: tuple[str, str]) -> None:
    first, second = machine.two()
    assert first.said[0]["listen"] == second.said[0]["listen"]
    assert [machine.ask(callback_of(state)).title for state in order] == [f"Done on {state}" for state in order]
    assert (first.delivered("one"), second.delivered("two")) == ([callback_of("one")], [callback_of("two")])
    first.end()
    second.end()
    assert (machine.is_free, machine.remains) == (True, [])


def test_processes_that_come_at_once_all_have_the_port(machine: Machine) -> None:
    sharers = machine.start(5)
    for i, sharer in enumerate(sharers):
        sharer.tell(f"lease s{i}")
    for i, sharer in enumerate(sharers):
        assert "listen" in sharer.hear(did="lease", state=f"s{i}")
    for i, sharer in enumerate(sharers):
        assert machine.ask(callback_of(f"s{i}")).title == f"Done on s{i}"
        assert sharer.delivered(f"s{i}") == [callback_of(f"s{i}")]
    for sharer in sharers:
        sharer.end()
    assert (machine.is_free, machine.remains) == (True, [])


def test_pages_of_one_name_are_their_own_processs(machine: Machine) -> None:
    first, second = machine.two("page")
    locations = [machine.ask(callback_of(state)).headers["location"] for state in ("one", "two")]
    pages = [location.removeprefix(f"http://127.0.0.1:{machine.port}") for location in locations]
    assert [machine.ask(page).title for page in reversed(pages)] == ["Done on two", "Done on one"]
    assert first.delivered("one") == [callback_of("one"), "/index.html"]
    assert second.delivered("two") == [callback_of("two"), "/index.html"]


def test_strays_are_the_firsts_and_reach_nobody(machine: Machine) -> None:
    first, second = machine.two()
    assert machine.ask(callback_of("nobody")).status == 403
    assert machine.ask("/favicon.ico").status == 404
    assert first.hear(saw="stray", reason="state")
    assert first.hear(saw="stray", reason="path")
    assert [said for said in second.said if said.get("saw")] == []


@pytest.mark.parametrize(("state", "code"), [("one", "KT619"), ("-", "KT504")])
@pytest.mark.parametrize("who", ["the guest", "the first"])
def test_a_state_that_another_process_has_is_refused(machine: Machine, state: str, code: str, who: str) -> None:
    first, second = machine.start(2)
    if who == "the guest":
        first.lease(state)
        second.lease("other")
        assert second.lease(state)["error"] == code
    else:
        first.lease("other")
        second.lease(state)
        assert first.lease(state)["error"] == code
    owner = first if who == "the guest" else second
    assert machine.ask(callback_of("one")).status == 200
    assert owner.delivered(state) == [callback_of("one")]


def test_what_takes_any_callback_gets_only_what_is_nobody_elses(machine: Machine) -> None:
    first, second = machine.start(2)
    first.lease("one")
    second.lease("-")
    second.lease("two")
    for state in ("one", "two"):
        assert machine.ask(callback_of(state)).title == f"Done on {state}"
    second.tell("close two")
    second.hear(did="close")
    assert machine.ask(callback_of("two")).title == "Not part of this sign-in"
    assert machine.ask(callback_of("unknown")).title == "Done on -"
    assert second.delivered("-") == [callback_of("unknown")]


def test_a_shared_port_is_not_busy_to_others(machine: Machine) -> None:
    first, other = machine.start(2)
    first.lease("one")
    other.tell("busy")
    assert other.hear(did="busy")["ports"] == {}


def test_who_comes_while_the_first_leaves_has_the_port(machine: Machine) -> None:
    for turn in range(6):
        first, second, third = machine.start(3)
        first.lease(f"one-{turn}")
        second.lease(f"two-{turn}")
        first.tell("end")
        assert "listen" in third.lease(f"three-{turn}")
        for sharer, name in ((second, "two"), (third, "three")):
            assert machine.ask(callback_of(f"{name}-{turn}")).status == 200
            assert sharer.delivered(f"{name}-{turn}")
        second.end()
        third.end()
        first.process.wait(PATIENCE_S)
    assert (machine.is_free, machine.remains) == (True, [])


@pytest.mark.parametrize("third", ["three", "-"])
def test_a_callback_waits_for_who_has_not_come_to_the_new_first_yet(machine: Machine, third: str) -> None:
    first, second, other = machine.start(3)
    for sharer, state in ((first, "one"), (second, "two"), (other, third)):
        assert "listen" in sharer.lease(state)
    second.kill(signal.SIGSTOP)
    first.end()
    waiting = machine.call_back("two")
    other.tell("busy")
    assert other.hear(did="busy")
    time.sleep(0.5)  # for the one who has the port now to do wrong
    second.kill(signal.SIGCONT)
    assert read(waiting).title == "Done on two"
    assert second.delivered("two") == [callback_of("two")]


@pytest.mark.parametrize("who", ["the new first", "its guest"])
def test_what_takes_any_callback_is_not_given_to_another_before_all_have_come_to_the_new_first(
    machine: Machine, who: str
) -> None:
    first, second, third, fourth = machine.start(4)
    assert "listen" in first.lease("one")
    assert "listen" in second.lease("-")
    assert "listen" in third.lease("three")
    second.kill(signal.SIGSTOP)
    first.end()
    late = third
    if who == "its guest":
        late = fourth
        assert "listen" in fourth.lease("four")
    late.tell("lease -")
    time.sleep(0.5)  # for it to be given what is another's
    second.kill(signal.SIGCONT)
    assert late.hear(did="lease", state="-")["error"] == "KT504"
    assert machine.ask(callback_of("unknown")).title == "Done on -"
    assert second.delivered("-") == [callback_of("unknown")]


def test_who_was_stopped_for_so_long_that_another_has_its_port_is_told(machine: Machine) -> None:
    first, second, third = machine.start(3)
    assert "listen" in first.lease("one")
    assert "listen" in second.lease("-")
    assert "listen" in third.lease("three")
    second.kill(signal.SIGSTOP)
    first.end()
    assert "listen" in third.lease("-")
    second.kill(signal.SIGCONT)
    assert second.hear(saw="delivered", state="-")["error"] == "KT504"
    assert machine.ask(callback_of("unknown")).title == "Done on -"
    assert third.delivered("-") == [callback_of("unknown")]


# --- Sudden ends ------------------------------------------------------------------------------------------------------

SENSITIVE: Final = ["waiting", "its own callback under way", "the other's callback under way", "after its own callback"]


@pytest.mark.parametrize("moment", SENSITIVE)
@pytest.mark.parametrize("how", ["kill -9", "by itself"])
@pytest.mark.parametrize("victim", ["the first", "the guest"])
def test_whoever_ends_the_other_gets_its_callback(machine: Machine, victim: str, how: str, moment: str) -> None:
    first, second = machine.two("hold")
    dying, living = (first, second) if victim == "the first" else (second, first)
    its, the_others = ("one", "two") if victim == "the first" else ("two", "one")
    browser = None
    match moment:
        case "its own callback under way":
            machine.call_back(its)
            dying.hear(saw="callback")
        case "the other's callback under way":
            browser = machine.call_back(the_others)
            living.hear(saw="callback")
        case "after its own callback":
            dying.tell(f"free {its}")
            assert machine.ask(callback_of(its)).status == 200
            dying.delivered(its)
    if how == "kill -9":
        dying.kill()
    else:
        dying.tell(f"free {its}")
        dying.end()
    living.tell(f"free {the_others}")
    reply = read(browser or machine.call_back(the_others))
    assert reply.title == f"Done on {the_others}"
    assert living.delivered(the_others) == [callback_of(the_others)]
    living.end()
    assert (machine.is_free, machine.remains) == (True, [])


@pytest.mark.parametrize("seed", range(10))
def test_one_is_killed_at_any_moment_and_the_others_get_their_callbacks(machine: Machine, seed: int) -> None:
    dice = random.Random(seed)
    sharers = dict(enumerate(machine.start(dice.choice([2, 3]))))
    for i, sharer in sharers.items():
        sharer.tell(f"lease s{i}")
    time.sleep(dice.random() * 0.8)  # some have the port by then, or are about to, or have not even begun
    sharers.pop(dice.choice(list(sharers))).kill()
    time.sleep(dice.random() * 0.3)
    for i, sharer in sharers.items():
        assert "listen" in sharer.hear(did="lease", state=f"s{i}")
        assert machine.ask(callback_of(f"s{i}")).title == f"Done on s{i}"
        assert sharer.delivered(f"s{i}") == [callback_of(f"s{i}")]
        sharer.end()
    assert (machine.is_free, machine.remains) == (True, [])


def test_a_browser_that_comes_while_nobody_accepts_is_served_by_the_next(machine: Machine) -> None:
    first, second = machine.two()
    first.kill(signal.SIGSTOP)
    browser = machine.call_back("two")  # in the kernel's queue
    first.kill()
    assert read(browser).title == "Done on two"
    assert second.delivered("two") == [callback_of("two")]


def test_of_three_two_are_killed_one_after_the_other(machine: Machine) -> None:
    sharers = machine.start(3)
    for i, sharer in enumerate(sharers):
        sharer.lease(f"s{i}")
    sharers[0].kill()
    for i in (1, 2):
        sharers[i].lease(f"more{i}")
        assert machine.ask(callback_of(f"more{i}")).title == f"Done on more{i}"
    sharers[1].kill()
    assert machine.ask(callback_of("s2")).title == "Done on s2"
    assert machine.ask(callback_of("s1")).status == 403
    sharers[2].end()
    assert (machine.is_free, machine.remains) == (True, [])


def test_what_a_killed_process_leaves_is_cleaned_up_by_the_next(machine: Machine) -> None:
    (first,) = machine.start()
    first.lease("one")
    first.kill()
    assert machine.is_free
    assert machine.remains != []
    (second,) = machine.start()
    assert "listen" in second.lease("two")
    assert machine.ask(callback_of("two")).status == 200
    second.end()
    assert machine.remains == []


# --- Stopped by Ctrl-Z ------------------------------------------------------------------------------------------------


def test_while_the_first_is_stopped_its_guest_serves_itself_and_nothing_is_lost(machine: Machine) -> None:
    first, second = machine.two()
    first.kill(signal.SIGSTOP)
    assert "listen" in second.lease("early")
    assert read(machine.call_back("two")).title == "Done on two"
    for_first = machine.call_back("one")
    assert "listen" in second.lease("three")
    assert machine.ask(callback_of("three")).title == "Done on three"
    first.kill(signal.SIGCONT)
    assert read(for_first).title == "Done on one"
    assert first.delivered("one") == [callback_of("one")]


def test_the_first_knows_when_it_is_back_what_came_while_it_was_stopped(machine: Machine) -> None:
    first, second = machine.two()
    first.kill(signal.SIGSTOP)
    assert read(machine.call_back("two")).title == "Done on two"
    assert "listen" in second.lease("three")
    assert "listen" in second.lease("-")
    first.kill(signal.SIGCONT)
    time.sleep(2 * PING_S)  # in which its guest leaves the port to it again
    assert machine.ask(callback_of("three")).title == "Done on three"
    assert machine.ask(callback_of("unknown")).title == "Done on -"
    assert first.lease("-")["error"] == "KT504"


def test_who_comes_while_the_first_is_stopped_is_told_so_in_bounded_time(machine: Machine) -> None:
    first, second = machine.start(2)
    first.lease("one")
    first.kill(signal.SIGSTOP)
    second.tell("busy")
    assert f"pid {first.process.pid}" in second.hear(did="busy")["ports"][str(machine.port)]
    refused = second.lease("two")
    assert refused["error"] == "KT501"
    assert f"pid {first.process.pid}" in refused["message"]
    assert "does not answer" in refused["message"]
    assert f"`kill {first.process.pid}`" in refused["hint"]
    first.kill(signal.SIGCONT)
    assert machine.ask(callback_of("one")).title == "Done on one"


def test_a_stopped_guest_is_in_nobodys_way(machine: Machine) -> None:
    _, second = machine.two()
    second.kill(signal.SIGSTOP)
    waiting = machine.call_back("two")
    assert machine.ask(callback_of("one")).title == "Done on one"
    second.kill(signal.SIGCONT)
    assert read(waiting).title == "Done on two"


# --- Strangers --------------------------------------------------------------------------------------------------------


def test_somebody_elses_port_is_busy_as_ever(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", machine.port)):
        (sharer,) = machine.start()
        assert sharer.lease("one")["error"] == "KT501"
        sharer.tell("busy")
        assert f"pid {os.getpid()}" in sharer.hear(did="busy")["ports"][str(machine.port)]
    assert machine.remains == []
