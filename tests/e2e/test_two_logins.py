"""Two `kirotunnel login` on this machine whose remotes both chose 3128: both sign in, and neither needs the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from e2e.harness import ROBOT, Run, kirotunnel, listening_here, start
from e2e.hosts import USER, Hosts, Machines
from e2e.running_login import RunningLogin

PORT: Final = 3128


class Window:
    """A terminal window in which a login to one host goes on; a person there opens its pages when told to."""

    def __init__(self, hosts: Hosts, number: int, directory: Path, *more: str) -> None:
        from e2e.chromium import Openings

        self.machine = hosts.machines[number]
        self._openings = Openings(directory / f"opened-{number}")
        options = [*self._openings.browser, "--json", *hosts.services.trust, *more]
        self._process = start(*hosts.arguments("login", f"host-{number}", *options))
        self.login = RunningLogin(self._process, self._openings)
        self._robots: list[subprocess.Popen[bytes]] = []

    def sign_in(self, method: str = "google", pages: int = 1) -> None:
        """Sign in on each of its pages."""
        for _ in range(pages):
            self._robots.append(subprocess.Popen([sys.executable, ROBOT, method, "allow", self.login.next_page()]))

    def kill(self, how: signal.Signals) -> None:
        """End it suddenly, as Ctrl-C or `kill -9` would."""
        os.killpg(self._process.pid, how)

    def close(self) -> None:
        self.login.kill()
        self._openings.close()
        for robot in self._robots:
            robot.wait(30)


MakeWindows = Callable[..., list[Window]]


@pytest.fixture
def windows(machines: Machines, tmp_path: Path) -> Iterator[MakeWindows]:
    """Both logins, waiting for their browser; nothing stays here."""
    with ExitStack() as stack:

        def make(*more: str, wait: bool = True) -> list[Window]:
            hosts = Hosts.furnish(machines.first(2), machines.services(), tmp_path)
            made = []
            for number in range(2):
                made.append(Window(hosts, number, tmp_path, *more))
                stack.callback(made[-1].close)
                if wait:  # one after the other, so that the first has the port
                    assert made[-1].login.wait_for("tunnel_opened")["port"] == PORT
            return made

        yield make
    for machine in machines.first(2):
        machine.restore()
    assert not listening_here(PORT)


def remains() -> list[str]:
    """What lies in the meeting place."""
    return sorted(path.name for path in Path(os.environ["XDG_RUNTIME_DIR"]).glob("kirotunnel/*"))


def assert_signed_in(window: Window) -> None:
    run: Run = window.login.end()
    assert run.code == 0, run.stderr
    assert [event["account"]["type"] for event in run.named("signed_in")] == ["social"]
    assert run.named("port_steered") == [], "it went another way than sharing the port"
    requests = [event for event in window.machine.standin_log(USER) if event["event"] == "request"]
    assert [request["path"] for request in requests] == ["/oauth/callback"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["the first first", "the second first"])
def test_both_sign_in(windows: MakeWindows, order: tuple[int, int]) -> None:
    both = windows()
    for number in order:
        both[number].sign_in()
        assert_signed_in(both[number])
    assert remains() == []


def test_both_at_once_by_two_pages_each(windows: MakeWindows) -> None:
    both = windows(wait=False)
    people = [threading.Thread(target=window.sign_in, args=("builder-id", 2)) for window in both]
    for person in people:
        person.start()
    for person in people:
        person.join()
    for window in both:
        run = window.login.end()
        assert run.code == 0, run.stderr
        assert run.named("tunnel_opened")[0]["port"] == PORT
    assert remains() == []


# --- One of them is killed -------------------------------------------------------------------------------------------

MOMENTS: Final = ["before its browser", "waiting", "its callback under way", "the other's callback under way", "after"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
@pytest.mark.parametrize("victim", [0, 1], ids=["the first", "the second"])
def test_one_is_killed_and_the_other_signs_in(
    windows: MakeWindows, victim: int, how: signal.Signals, moment: str
) -> None:
    both = windows(wait=moment != "before its browser")
    dying, living = both[victim], both[1 - victim]
    match moment:
        case "before its browser":
            dying.login.wait_for("login_started")
        case "its callback under way":
            dying.machine.cut()
            dying.sign_in()
            dying.login.wait_for("callback_received")
        case "the other's callback under way":
            living.machine.cut()
            living.sign_in()
            living.login.wait_for("callback_received")
        case "after":
            dying.sign_in()
            dying.login.wait_for("tunnel_closed")
    dying.kill(how)
    if moment == "the other's callback under way":
        living.machine.restore()
    else:
        living.sign_in()
    assert_signed_in(living)
    dying.login.end()


# --- What is said of it ----------------------------------------------------------------------------------------------


def test_the_port_is_named_as_one_that_is_shared(windows: MakeWindows) -> None:
    first, second = windows()
    shown = kirotunnel("ports", str(PORT))
    assert shown.code == 0, shown.stdout
    assert "shared" in shown.stdout
    assert "there is nothing to do" in shown.stdout
    (port,) = kirotunnel("ports", str(PORT), "--json").named("port")
    assert port["state"] == "shared"
    for window in (second, first):
        window.sign_in()
        assert_signed_in(window)
