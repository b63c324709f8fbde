"""Containers and pods as they are named, and what engines answer; their words are as the engines print them."""

from __future__ import annotations

import re

import pytest

from kirotunnel.errors import (
    ContainerAmbiguousError,
    ContainerNotFoundError,
    ContainerNotRunningError,
    ContainerWithoutShellError,
    EngineNotAnsweringError,
    EngineNotFoundError,
    EngineNotPermittedError,
    KirotunnelError,
    TargetError,
)
from kirotunnel.wire.containers import (
    Container,
    Entry,
    Inside,
    PodName,
    by_hand,
    not_entered,
    parse_container,
    parse_pod,
    read_entry,
)
from kirotunnel.wire.records import Record


@pytest.mark.parametrize("name", ["web", "web-1", "my_app.1", "0f3c2a", "A" * 253])
def test_a_name_that_engines_allow(name: str) -> None:
    assert parse_container(name) == Container(name)


@pytest.mark.parametrize(
    "name", ["", "-it", "web 1", "web;id", "web$(id)", "`id`", "we'b", "web\n", "../web", "a/b", ".x", "~", "A" * 254]
)
def test_a_name_that_none_allows_goes_into_no_command(name: str) -> None:
    with pytest.raises(TargetError) as refused:
        parse_container(name)
    assert refused.value.code == "KT201"


@pytest.mark.parametrize(
    ("engine", "asked", "prefix"),
    [
        (None, ("docker", "podman", "nerdctl"), ()),
        ("podman", ("podman",), ()),
        ("/opt/bin/nerdctl", ("/opt/bin/nerdctl",), ()),
        ("sudo docker", ("docker",), ("sudo", "-n")),
    ],
)
def test_engines(engine: str | None, asked: tuple[str, ...], prefix: tuple[str, ...]) -> None:
    container = parse_container("web", engine)
    assert (container.engines, container.prefix) == (asked, prefix)


@pytest.mark.parametrize(
    "engine",
    ["lxc", "docker -H x", "/opt/it's/docker", "bin/docker", "sudo", "/bin/sh", "docker;id", "sudo -u x docker"],
)
def test_an_engine_that_is_not_known_is_refused(engine: str) -> None:
    with pytest.raises(TargetError, match="no container engine"):
        parse_container("web", engine)


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("web-0", [PodName("web-0")]),
        ("web.0", [PodName("web.0")]),
        ("prod/web", [PodName("web", namespace="prod"), PodName("prod", container="web")]),
        ("web.0/app", [PodName("web.0", container="app")]),
        ("prod/web/app", [PodName("web", namespace="prod", container="app")]),
        ("/web/app", [PodName("web", container="app")]),
    ],
)
def test_a_pod(text: str, readings: list[PodName]) -> None:
    assert list(parse_pod(text).readings) == readings


@pytest.mark.parametrize(
    "text", ["", "/", "Web", "a/b/c/d", "web;id", "-n", "web pod", "a//b", "a" * 254, "web/", "w_b"]
)
def test_what_is_no_pod(text: str) -> None:
    with pytest.raises(TargetError, match="no name of a pod"):
        parse_pod(text)


# --- what the engines answered ---------------------------------------------------------------------------------------


def said(engine: str, code: int, *words: str, index: int = 0, path: str = "") -> list[Record]:
    """The records of container.sh for one answer."""
    return [
        *(Record("words", line) for line in words),
        Record("answer", f"{engine} {index} {code} {path or f'/usr/bin/{engine}'}"),
    ]


NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
DENIED = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
    'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.50/containers/web/json": dial unix /var/run/docker.sock: '
    "connect: permission denied"
)


def test_a_running_container_is_entered_by_the_engine_that_has_it() -> None:
    entry = read_entry(
        parse_container("web"),
        "box",
        [
            *said("docker", 1, NO_DAEMON),
            *said("podman", 0, "WARN[0000] something", "kirotunnel:running", path="/opt/podman"),
        ],
    )
    assert entry.command(["/bin/sh"]) == ("/opt/podman", "exec", "-i", "web", "/bin/sh")
    assert entry.command(["/bin/sh", "/tmp/run"], terminal=True) == (
        "/opt/podman", "exec", "-it", "web", "/bin/sh", "/tmp/run",
    )  # fmt: skip
    assert entry.inside == Container("web", "/opt/podman")


def test_sudo_goes_before_the_engine() -> None:
    entry = read_entry(parse_container("web", "sudo docker"), "box", said("docker", 0, "kirotunnel:running"))
    assert entry.command(["/bin/sh"])[:3] == ("sudo", "-n", "/usr/bin/docker")


def test_a_path_that_a_shell_would_read_otherwise_is_not_used() -> None:
    found = said("docker", 0, "kirotunnel:running", path="/opt/$(id)/docker")
    assert read_entry(parse_container("web"), "box", found).words == ("docker",)


def test_a_running_one_counts_more_than_a_stopped_one_of_an_earlier_engine() -> None:
    found = [*said("docker", 0, "kirotunnel:exited"), *said("podman", 0, "kirotunnel:running")]
    assert read_entry(parse_container("web"), "box", found).engine == "podman"


@pytest.mark.parametrize(
    ("records", "error", "message", "hint"),
    [
        ([], EngineNotFoundError, "none of docker, podman, nerdctl", "install"),
        (said("docker", 1, "", NO_DAEMON), EngineNotAnsweringError, "Is the docker daemon running", "`docker ps`"),
        (said("docker", 1, DENIED), EngineNotPermittedError, "permission denied", "usermod -aG docker"),
        (
            said("docker", 1, "", "Error response from daemon: No such container: web"),
            ContainerNotFoundError,
            "docker has no container web on box",
            "`docker ps`",
        ),
        (
            said("podman", 125, "Error: inspecting object: no such container web"),
            ContainerNotFoundError,
            "podman has no container web on box",
            "`podman ps`",
        ),
        (
            [*said("docker", 1, DENIED), *said("podman", 125, "Error: no such container web")],
            EngineNotPermittedError,
            "podman has no container web",
            "'sudo docker'",
        ),
        (
            [*said("docker", 1, NO_DAEMON), *said("podman", 125, "Error: no such container web")],
            ContainerNotFoundError,
            "docker on box does not answer",
            "`podman ps`",
        ),
        (said("docker", 0, "kirotunnel:exited"), ContainerNotRunningError, "it is exited", "`docker start web`"),
        (said("podman", 0, "kirotunnel:paused"), ContainerNotRunningError, "it is paused", "`podman unpause web`"),
        (
            said("docker", 1, "sudo: a password is required"),
            EngineNotPermittedError,
            "a password is required",
            "NOPASSWD",
        ),
        (
            [*said("docker", 1, "Error: No such container: web"), Record("names", "web1 db wub")],
            ContainerNotFoundError,
            "docker has no container web",
            "did you mean",
        ),
        (said("docker", 1), EngineNotAnsweringError, "exit code 1", ""),
        # What nobody asked is no engine, and no terminal is sent its name.
        (said("\x1b]52;c;x\x07", 1), EngineNotFoundError, "has none of docker, podman, nerdctl", ""),
        (said("sh", 0, "kirotunnel:running"), EngineNotFoundError, "has none of docker, podman, nerdctl", ""),
        ([Record("answer", f"docker 0 {'9' * 5000} /usr/bin/docker")], EngineNotAnsweringError, "exit code 1", ""),
    ],
)
def test_what_is_wrong_with_a_container(
    records: list[Record], error: type[KirotunnelError], message: str, hint: str
) -> None:
    with pytest.raises(error, match=re.escape(message)) as raised:
        read_entry(parse_container("web"), "box", records)
    assert type(raised.value) is error
    assert hint in raised.value.hint


@pytest.mark.parametrize(
    ("pod", "records", "command"),
    [
        ("web", said("kubectl", 0, "kirotunnel:Running||app"), "web -c app --"),
        ("prod/web", said("kubectl", 0, "kirotunnel:Running||app"), "web -n prod -c app --"),
        ("prod/web", said("kubectl", 0, "kirotunnel:Running|app|side app"), "web -n prod -c app --"),
        ("prod/web/side", said("kubectl", 0, "kirotunnel:Running|app|side app"), "web -n prod -c side --"),
        (
            "web/side",
            [
                *said("kubectl", 1, 'Error from server (NotFound): pods "side" not found'),
                *said("kubectl", 0, "kirotunnel:Running||app side", index=1),
            ],
            "web -c side --",
        ),
    ],
)
def test_a_running_pod_is_entered(pod: str, records: list[Record], command: str) -> None:
    entry = read_entry(parse_pod(pod), "box", records)
    assert " ".join(entry.command(["/bin/sh"])) == f"/usr/bin/kubectl exec -i {command} /bin/sh"


@pytest.mark.parametrize(
    ("pod", "records", "error", "message"),
    [
        ("web", [], EngineNotFoundError, "no kubectl"),
        ("web", said("kubectl", 0, "kirotunnel:Running||app side"), ContainerAmbiguousError, "app, side"),
        ("web", said("kubectl", 0, "kirotunnel:Pending||app"), ContainerNotRunningError, "it is Pending"),
        (
            "prod/web/x",
            said("kubectl", 0, "kirotunnel:Running||app"),
            ContainerNotFoundError,
            "no container x, but app",
        ),
        (
            "web",
            said("kubectl", 1, 'Error from server (NotFound): pods "web" not found'),
            ContainerNotFoundError,
            "kubectl has no pod web",
        ),
        (
            "prod/web",
            [
                *said("kubectl", 1, 'Error from server (NotFound): namespaces "prod" not found'),
                *said("kubectl", 1, 'Error from server (NotFound): pods "prod" not found', index=1),
            ],
            ContainerNotFoundError,
            "kubectl has no pod prod/web",
        ),
        (
            "web",
            said(
                "kubectl", 1, 'Error from server (Forbidden): pods "web" is forbidden: User "ada" cannot get resource'
            ),
            EngineNotPermittedError,
            "forbidden",
        ),
        (
            "web",
            said("kubectl", 1, "E1123 memcache.go:265]", "The connection to the server localhost:8080 was refused"),
            EngineNotAnsweringError,
            "was refused",
        ),
    ],
)
def test_what_is_wrong_with_a_pod(pod: str, records: list[Record], error: type[KirotunnelError], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)) as raised:
        read_entry(parse_pod(pod), "box", records)
    assert type(raised.value) is error
    assert raised.value.hint


@pytest.mark.parametrize(
    ("code", "words", "error"),
    [
        (
            127,
            'OCI runtime exec failed: exec failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: '
            "no such file or directory: unknown",
            ContainerWithoutShellError,
        ),
        (
            127,
            'Error: runc: exec failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: no such '
            "file or directory: OCI runtime attempted to invoke a command that was not found",
            ContainerWithoutShellError,
        ),
        (126, 'exec failed: exec: "/bin/sh": permission denied: unknown', ContainerWithoutShellError),
        (126, "", ContainerWithoutShellError),
        (255, "Error: can only create exec sessions on running containers: container state improper",
         ContainerNotRunningError),
        (1, "Error response from daemon: container 0f is not running", ContainerNotRunningError),
        (1, "error: cannot exec into a container in a completed pod; current phase is Succeeded",
         ContainerNotRunningError),
        (1, 'Error from server (Forbidden): pods "web" is forbidden: cannot create resource "pods/exec"',
         EngineNotPermittedError),
        (1, "Error response from daemon: No such container: web", ContainerNotFoundError),
        (1, "error: Internal error occurred: something", EngineNotAnsweringError),
        (None, "", EngineNotAnsweringError),
    ],
)  # fmt: skip
def test_why_no_shell_speaks(code: int | None, words: str, error: type[KirotunnelError]) -> None:
    entry = Entry(inside=Container("web"), engine="docker", name="web", words=("docker",), which=("web",))
    assert type(not_entered(entry, "box", code, words)) is error


def test_the_words_of_an_engine_are_shown_as_one_harmless_line() -> None:
    with pytest.raises(EngineNotAnsweringError) as raised:
        read_entry(parse_container("web"), "box", said("docker", 1, "\x1b]0;owned\x07bad\x1b[2J \u202enews"))
    assert "\x1b" not in raised.value.message
    assert "\u202e" not in raised.value.message


@pytest.mark.parametrize(
    ("inside", "ssh", "typed"),
    [
        (
            parse_container("web"),
            (),
            "socat TCP4-LISTEN:3128,bind=127.0.0.1,fork 'SYSTEM:docker exec -i web nc 127.0.0.1 3128'",
        ),
        (
            parse_container("web", "sudo podman"),
            ("-p", "2222", "box"),
            "socat TCP4-LISTEN:3128,bind=127.0.0.1,fork "
            "'SYSTEM:ssh -p 2222 box sudo podman exec -i web nc 127.0.0.1 3128'",
        ),
        (parse_pod("prod/web"), (), "kubectl port-forward -n prod pod/web 3128:3128"),
        (parse_pod("web"), ("box",), "ssh -L 3128:127.0.0.1:3128 box kubectl port-forward pod/web 3128:3128"),
    ],
)
def test_what_a_person_would_type(inside: Inside, ssh: tuple[str, ...], typed: str) -> None:
    assert by_hand(inside, 3128, ssh) == typed
