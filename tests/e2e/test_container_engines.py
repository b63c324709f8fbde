"""docker, nerdctl and kubectl on a remote, as stand-ins that check their arguments, through every login shell.

The real podman is in test_containers; what differs from it are the arguments, the words of refusal, and kubectl.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.harness import Services, finish, kirotunnel, robot
from e2e.test_containers import SETTLING_S, Place, waiting_login
from e2e.test_login import assert_only_callbacks_arrived, assert_signed_in
from lab.engine import SOCKET, Engine, engine_on
from lab.remote import RemoteMachine
from lab.servers import Server

ENGINES = {"docker": ["--container", "web"], "nerdctl": ["--container", "web"], "kubectl": ["--pod", "prod/web-0"]}


@pytest.fixture
def engine(remote: RemoteMachine) -> Iterator[Engine]:
    remote.hide("docker", "podman", "nerdctl", "kubectl")  # this machine may have some
    with engine_on(remote) as running:
        yield running
        assert running.contained is not None
        left = running.contained.leftovers_after(SETTLING_S) if running.containers["web"] == "running" else []
        assert left == [], "left behind in the container"


MakePlace = Callable[..., Place]


@pytest.fixture
def make_place(remote: RemoteMachine, sshd: Server, engine: Engine, services: Services, tmp_path: Path) -> MakePlace:
    def make(program: str, user: str = "bash", **cli: str) -> Place:
        engine.client(program)
        config = remote.ssh_config(tmp_path / "ssh_config", sshd.entry("dev-box", user))
        assert engine.contained is not None
        engine.contained.install_cli(env=services.cli_environment(**cli))
        target = ["dev-box", "-F", str(config)]
        return Place(target, ENGINES[program], engine, engine.contained, services, {}, sshd)

    return make


@pytest.mark.parametrize("user", ["bash", "dash", "ash", "fish", "tcsh", "zsh", "noisy"])
def test_the_login_shell_of_the_host_does_not_matter(make_place: MakePlace, user: str) -> None:
    place = make_place("docker", user)
    assert_signed_in(place.login("builder-id"), "builder-id")
    assert_only_callbacks_arrived(place, "builder-id")


@pytest.mark.parametrize("program", ENGINES)
@pytest.mark.parametrize("method", ["google", "external-idp"])
def test_each_engine_is_entered(make_place: MakePlace, program: str, method: str) -> None:
    place = make_place(program)
    run = place.login(method)
    assert_signed_in(run, method)
    entered = run.named("container")[0]
    assert entered["engine"] == program
    assert entered["container"] == ("prod/web-0/app" if program == "kubectl" else "web")


@pytest.mark.parametrize("lingering", [0, 0.5])
def test_a_host_that_gives_one_session_at_a_time(
    make_place: MakePlace, remote: RemoteMachine, lingering: float
) -> None:
    place = make_place("docker")
    client, last = remote.path("/usr/local/bin/docker"), "    os._exit("
    before, _, after = client.read_text().partition(last)
    client.write_text(f"{before}    __import__('time').sleep({lingering})\n{last}{after}")
    only = remote.sshd(extra=["MaxSessions 1"])
    Path(place.target[-1]).write_text(str(only.entry("dev-box", "bash")))
    assert_signed_in(place.login("builder-id"), "builder-id")
    assert_only_callbacks_arrived(place, "builder-id")  # type: ignore[arg-type]  # it has what is asked of a Box


@pytest.mark.parametrize("program", ENGINES)
def test_a_client_that_is_killed_leaves_nothing_inside(make_place: MakePlace, program: str) -> None:
    place = make_place(program)
    with waiting_login(place, "--timeout", "12") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
        # The holder inside waits for us until the time of the sign-in is over.
        assert place.contained.leftovers_after(60) == []


@pytest.mark.parametrize("program", ["docker", "nerdctl"])
def test_a_container_that_stops_is_said(make_place: MakePlace, program: str) -> None:
    place = make_place(program)
    with waiting_login(place) as process:
        place.engine.stop("web")
        run = finish(process)
    assert (run.code, run.failure) == (5, "KT305"), run.stderr
    assert "is not running: it is exited" in run.named("failed")[0]["message"]


def test_what_the_environment_and_the_file_say_of_containers(make_place: MakePlace, scrubbed_environment: Path) -> None:
    place = make_place("docker")
    file = scrubbed_environment / ".config" / "kirotunnel" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('[target."dev-box"]\npod = "prod/web-0"\n')
    place.inside = []
    for env, container in (({"KIROTUNNEL_POD": "other"}, "pod other"), ({}, "pod prod/web-0")):
        run = kirotunnel(*place.arguments(), env=env)
        assert (run.code, run.failure) == (4, "KT213"), run.stderr
        assert "has no kubectl" in run.named("failed")[0]["message"]
        planned = kirotunnel("login", *place.target, "--dry-run", env=env)
        assert f"enter     {container}" in planned.stdout
    place.inside = ["--container", "web"]  # what the command line says of one settles the other
    assert_signed_in(place.login("google"), "google")


def test_refusals(make_place: MakePlace, engine: Engine, remote: RemoteMachine) -> None:
    place = make_place("docker")
    engine.client("kubectl")
    cases = [
        (["--container", "wen"], "KT214", "docker has no container wen", "did you mean web?"),
        (["--container", "db"], "KT215", "it is exited", "docker start db"),
        (["--container", "web", "--container-engine", "podman"], "KT213", "has no podman", ""),
        (["--pod", "prod/web-1"], "KT214", "kubectl has no pod prod/web-1", "kubectl get pods"),
        (["--pod", "two"], "KT218", "app, side", "--pod /two/app"),
        (["--pod", "prod/web-0/x"], "KT214", "no container x, but app", "--pod prod/web-0/app"),
    ]
    for inside, code, message, hint in cases:
        place.inside = inside
        run = kirotunnel(*place.arguments())
        assert (run.code, run.failure) == (4, code), run.stderr
        assert message in run.named("failed")[0]["message"]
        assert hint in run.named("failed")[0]["hint"]
    place.inside = ["--container", "web"]
    remote.path(SOCKET).chmod(0o600)
    run = kirotunnel(*place.arguments())
    assert (run.code, run.failure) == (4, "KT216")
    assert "usermod -aG docker" in run.named("failed")[0]["hint"]
    remote.path(SOCKET).chmod(0o666)
    hidden = remote.path("/run/engine.hidden")
    remote.path(SOCKET).rename(hidden)
    run = kirotunnel(*place.arguments())
    hidden.rename(remote.path(SOCKET))
    assert (run.code, run.failure) == (4, "KT217")


# As sudo with -n: no question, and the command for those whom its rules allow it without a password.
SUDO = """\
#!/bin/sh
[ "$1" = -n ] || exit 64
shift
[ -e /run/lab/allowed ] || { echo 'sudo: a password is required' >&2; exit 1; }
BY_SUDO=1 exec "$@"
"""
ONLY_BY_SUDO = """\
#!/bin/sh
[ -n "$BY_SUDO" ] || { echo 'permission denied while trying to connect to the docker API' >&2; exit 1; }
exec /opt/engine/docker "$@"
"""


def test_where_only_sudo_may(make_place: MakePlace, remote: RemoteMachine) -> None:
    place = make_place("docker")
    client = remote.path("/usr/local/bin/docker")
    remote.write("/opt/engine/docker", client.read_text(), mode=0o755)
    remote.write("/usr/local/bin/docker", ONLY_BY_SUDO, mode=0o755)
    remote.write("/usr/local/bin/sudo", SUDO, mode=0o755)
    refused = kirotunnel(*place.arguments())
    assert refused.failure == "KT216", refused.stderr
    assert "--container-engine 'sudo docker'" in refused.named("failed")[0]["hint"]
    place.inside = [*place.inside, "--container-engine", "sudo docker"]
    refused = kirotunnel(*place.arguments())
    assert refused.failure == "KT216", refused.stderr
    assert "a password is required" in refused.named("failed")[0]["message"]
    assert "NOPASSWD" in refused.named("failed")[0]["hint"]
    remote.write("/run/lab/allowed", "")
    assert_signed_in(place.login("builder-id"), "builder-id")
    remote.path("/run/lab/allowed").unlink()
    remote.path("/opt/engine/docker").unlink()


def test_a_container_without_a_shell(make_place: MakePlace, engine: Engine) -> None:
    place = make_place("docker")
    engine.no_shell = True
    run = kirotunnel(*place.arguments(*robot("google")))
    assert (run.code, run.failure) == (4, "KT219"), run.stderr
