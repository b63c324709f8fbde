"""Logins inside of containers, of the real podman: on this machine without SSH, and on a remote behind a real sshd."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from e2e.harness import Run, Services, kirotunnel, listening_here, robot
from e2e.test_login import METHODS, assert_only_callbacks_arrived, assert_signed_in
from lab.containers import Contained, Engine, own_network, podman_here, podman_there
from lab.remote import RemoteMachine
from lab.servers import Server

SETTLING_S = 8.0
"""Seconds for what runs inside to notice that nobody is there any more."""


@dataclass
class Place:
    """A container with the stand-in CLI, and how it is reached."""

    target: list[str]
    inside: list[str]
    engine: Engine
    contained: Contained
    services: Services
    env: dict[str, str]

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
            if where == "here":
                engine = stack.enter_context(podman_here(tmp_path / "podman", network))
                target, env = ["localhost"], {"PATH": f"{tmp_path}/podman/bin:{os.environ['PATH']}"}
            else:
                server: Server = request.getfixturevalue(where)
                engine = stack.enter_context(podman_there(remote, network))
                remote.write("/root/.ssh/authorized_keys", remote.keys.authorized_keys(), mode=0o600)
                config = remote.ssh_config(tmp_path / "ssh_config", server.entry("dev-box", "root"))
                target, env = ["dev-box", "-F", str(config)], {}
            contained = engine.start("web", *options)
            contained.install_cli(env=services.cli_environment(**cli))
            place = Place(target, ["--container", "web"], engine, contained, services, env)
            places.append(place)
            return place

        yield make
        left = [place.contained.leftovers_after(SETTLING_S) for place in places if alive(place.contained.init_pid)]
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
    assert_only_callbacks_arrived(place, method)  # type: ignore[arg-type]  # it has what is asked of a Box
    assert run.named("container")[0] | {"engine": "podman", "container": "web"} == run.named("container")[0]
    assert {event["via"] for event in run.named("tunnel_opened")} == {"exec"}
    assert "connecting" not in run.names or where != "here"
    for event in run.named("tunnel_opened"):
        assert not listening_here(event["port"])
