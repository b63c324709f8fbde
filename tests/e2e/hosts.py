"""Several hosts at once, each a machine of its own: their CLIs all choose the same port, the first of the list."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import pytest

from e2e.harness import Run, Services, kirotunnel, robot
from lab.keys import ClientKeys
from lab.remote import RemoteMachine
from lab.requirements import require_laboratory
from lab.servers import HostEntry

USER: Final = "bash"
UNREACHABLE: Final = "nowhere"
"""An alias behind which nothing listens."""


class Machines:
    """Remote machines with a server and one user each, as many as are wanted."""

    def __init__(self, directory: Path, keys: ClientKeys) -> None:
        self._directory = directory
        self._keys = keys
        self._stack = contextlib.ExitStack()
        self._running: list[RemoteMachine] = []
        self._services: Services | None = None

    def first(self, count: int) -> list[RemoteMachine]:
        """So many of them, clean."""
        for machine in self._running[:count]:
            machine.reset()
        missing = range(len(self._running), count)
        with ThreadPoolExecutor(4) as pool:
            self._running += pool.map(self._start, missing)
        return self._running[:count]

    def _start(self, number: int) -> RemoteMachine:
        directory = self._directory / str(number)
        directory.mkdir()
        machine = self._stack.enter_context(RemoteMachine(directory, keys=self._keys, people=[USER]))
        machine.keep(machine.sshd())
        return machine

    def services(self) -> Services:
        """The sign-in services, where each of the machines reaches them."""
        if self._services is None:
            self._services = Services.start(self.first(1)[0], listen=["0.0.0.0"])
            self._stack.callback(self._services.stop)
        return self._services

    def stop(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory, client_keys: ClientKeys) -> Iterator[Machines]:
    require_laboratory()
    running = Machines(tmp_path_factory.mktemp("machines"), client_keys)
    yield running
    running.stop()


MakeHosts = Callable[..., "Hosts"]


@pytest.fixture
def make_hosts(machines: Machines, tmp_path: Path) -> Iterator[MakeHosts]:
    """Make hosts; the test fails if something is left on one of them."""
    made: list[Hosts] = []

    def make(count: int = 3, **cli: str) -> Hosts:
        services = machines.services()
        made.append(Hosts.furnish(machines.first(count), services, tmp_path, **cli))
        return made[-1]

    yield make
    for hosts in made:
        for machine in hosts.machines:
            assert machine.leftovers_after(15) == [], "left behind on a remote"


@dataclass
class Hosts:
    """They are called `host-0`, `host-1`, …"""

    machines: Sequence[RemoteMachine]
    services: Services
    config: Path

    @classmethod
    def furnish(cls, machines: Sequence[RemoteMachine], services: Services, directory: Path, **cli: str) -> Hosts:
        """Install the CLI on each, and write the config."""
        entries = [HostEntry(UNREACHABLE, {"HostName": "127.0.0.1", "Port": "9"})]
        for number, machine in enumerate(machines):
            base = f"http://{machine.host_address}:{services.where['port']}"
            machine.install_cli(USER, env=services.cli_environment(base, **cli))
            (server,) = machine.servers
            entries.append(server.entry(f"host-{number}", USER))
        config = directory / "ssh_config"
        config.write_text("\n".join(map(str, entries)))
        return cls(machines, services, config)

    @property
    def names(self) -> list[str]:
        return [f"host-{number}" for number in range(len(self.machines))]

    def arguments(self, command: str, *more: str) -> list[str]:
        return [command, *more, "-F", str(self.config)]

    def run(self, command: str, *more: str, timeout: float = 60) -> Run:
        return kirotunnel(*self.arguments(command, *more), timeout=timeout)

    def login(self, *more: str, method: str = "google", timeout: float = 60) -> Run:
        run = self.run("login", *more, "--json", *robot(method), *self.services.trust, timeout=timeout)
        self.assert_no_secret_shown(run)
        return run

    def assert_no_secret_shown(self, run: Run) -> None:
        shown = run.stdout + "".join(line for line in run.stderr.splitlines(True) if not line.startswith("http"))
        queries = [parse_qs(str(e["query"])) for log in self.logs() for e in log if e["event"] == "request"]
        secrets = {value for query in queries for name in ("code", "state") for value in query.get(name, ())}
        assert [secret for secret in secrets if secret in shown] == []

    def logs(self) -> list[list[dict[str, Any]]]:
        """What the CLI of each has recorded."""
        return [machine.standin_log(USER) for machine in self.machines]

    def assert_each_state_at_its_own_host(self) -> None:
        """Every listener got exactly its own callback: the state that its own CLI had put into the address."""
        states: set[str] = set()
        for log in self.logs():
            (opened,) = [event for event in log if event["event"] == "opener"]
            (wanted,) = parse_qs(str(opened["url"]).partition("?")[2])["state"]
            arrived = [parse_qs(str(event["query"])).get("state") for event in log if event["event"] == "request"]
            assert [state for state in arrived if state is not None] == [[wanted]]
            assert not [event for event in log if event["event"] == "state_mismatch"]
            states.add(wanted)
        assert len(states) == len(self.machines)


def results(run: Run) -> dict[str, tuple[bool, str | None]]:
    """How it ended for each target, by the last line."""
    return {entry["target"]: (entry["ok"], entry["code"]) for entry in run.events[-1]["targets"]}


def of_target(run: Run, target: str) -> list[str]:
    """The names of one target's events."""
    return [event["event"] for event in run.events if event["target"] == target]
