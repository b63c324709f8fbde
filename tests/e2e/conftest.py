"""Fixtures of the end-to-end tests: the services, and a remote with the stand-in CLI on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from e2e.harness import Run, Services, kirotunnel, robot
from e2e.hosts import machines as machines  # a fixture
from e2e.hosts import make_hosts as make_hosts  # another
from e2e.running_command import desk as desk  # and another
from lab.remote import RemoteMachine
from lab.requirements import require
from lab.servers import Server

if TYPE_CHECKING:
    from e2e.chromium import Chromium, Person


@pytest.fixture(scope="session")
def services(remote_machine: RemoteMachine) -> Iterator[Services]:
    running = Services.start(remote_machine)
    yield running
    running.stop()


@dataclass
class Box:
    """A remote with the stand-in CLI, and how to reach it."""

    remote: RemoteMachine
    services: Services
    config: Path
    alias: str
    user: str

    def arguments(self, *more: str) -> list[str]:
        return ["login", self.alias, "-F", str(self.config), "--json", *self.services.trust, *more]

    def login(self, method: str, *more: str, decision: str = "allow", timeout: float = 60) -> Run:
        run = kirotunnel(*self.arguments(*robot(method, decision), *more), timeout=timeout)
        # The canary of every login: what came to the listeners there is nowhere but in the address to open.
        shown = run.stdout + "".join(line for line in run.stderr.splitlines(True) if not line.startswith("http"))
        assert [secret for secret in self.secrets() if secret in shown] == []
        return run

    def log(self) -> list[dict[str, Any]]:
        return self.remote.standin_log(self.user)

    def requests(self) -> list[str]:
        """The requests that reached the CLI's listeners: `leg METHOD path`."""
        return [f"{e['leg']} {e['method']} {e['path']}" for e in self.log() if e["event"] == "request"]

    def secrets(self) -> set[str]:
        """The codes and states that came to the CLI's listeners."""
        queries = [parse_qs(str(e["query"])) for e in self.log() if e["event"] == "request"]
        return {value for query in queries for name in ("code", "state") for value in query.get(name, ())}


MakeBox = Callable[..., Box]


@pytest.fixture
def make_box(remote: RemoteMachine, services: Services, tmp_path: Path) -> MakeBox:
    def make(server: Server, user: str = "bash", *, where: str | None = None, **cli: str) -> Box:
        env = services.cli_environment(**cli)
        remote.install_cli(user, env=env) if where is None else remote.install_cli(user, f"{where}/kiro-cli", env=env)
        config = remote.ssh_config(tmp_path / "ssh_config", server.entry("dev-box", user))
        return Box(remote, services, config, "dev-box", user)

    return make


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    require("chromium")
    from e2e.chromium import Chromium  # Playwright is slow to import, and few tests want it

    browser = Chromium()
    yield browser
    browser.stop()


@pytest.fixture
def person(chromium: Chromium, tmp_path: Path) -> Iterator[Person]:
    """Somebody with a Chromium of their own."""
    with chromium.person(tmp_path / "profile") as somebody:
        yield somebody
