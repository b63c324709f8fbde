"""The question to container engines, by the shells that may be /bin/sh; an engine that hangs is not left behind."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from e2e.harness import finish, read_event, start, wait_until
from kirotunnel.errors import EngineNotAnsweringError
from kirotunnel.ssh import container
from kirotunnel.ssh.container import find
from kirotunnel.ssh.scripts import assignments, read_script
from kirotunnel.ssh.this_machine import this_machine
from kirotunnel.wire.containers import INSPECT_FORMAT, POD_FORMAT, Container, parse_pod, read_entry
from kirotunnel.wire.records import Record, RecordReader
from lab.remote import RemoteMachine
from lab.requirements import require

NONCE = "0123456789abcdef01234567"
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "ash": ["busybox", "ash"], "zsh": ["zsh", "--emulate", "sh"]}
# What docker 28, podman 4 and kubectl 1.32 answer, and where they say it.
DOCKER = """\
case "$*" in
*" web") echo 'kirotunnel:running' ;;
*" db") echo 'kirotunnel:exited' ;;
ps*) echo "a warning" >&2; echo web; echo db ;;
*) echo "Error: No such container: $5" >&2; exit 1 ;;
esac
"""
KUBECTL = """\
case "$*" in
*"-n prod"*) echo 'Error from server (NotFound): pods "web-0" not found' >&2; exit 1 ;;
*) printf 'kirotunnel:Running||web-0 side' ;;
esac
"""
HANGS = "echo $$ >>{pids}\nexec sleep 600\n"


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Path]:
    """A directory for engines; what hangs of them is ended."""
    directory = tmp_path / "bin"
    directory.mkdir()
    yield directory
    for pid in hanging(tmp_path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def install(directory: Path, name: str, text: str) -> None:
    program = directory / name
    program.write_text(f"#!/bin/sh\n{text.replace('{pids}', str(directory.parent / 'pids'))}")
    program.chmod(0o755)


def hanging(directory: Path) -> list[int]:
    """Those that hang still."""
    file = directory / "pids"
    pids = [int(line) for line in file.read_text().split()] if file.exists() else []
    return [pid for pid in pids if "sleep" in command_line(pid)]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def question(**more: str) -> str:
    return assignments(N=NONCE, SUDO="", **more) + read_script("container.sh")


def asked(shell: str, programs: Path, text: str) -> list[Record]:
    """What the shell answers, whose input stays open as an SSH channel's does."""
    require(*SHELLS[shell][:1])
    process = subprocess.Popen(
        SHELLS[shell],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": f"{programs}:/usr/bin:/bin", "HOME": "/nowhere"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    # In two pieces, as it may come: nothing of the script may be taken for input.
    for piece in (text[:500], text[500:]):
        process.stdin.write(piece.encode())
        process.stdin.flush()
        time.sleep(0.05)
    out = process.stdout.read()
    assert process.wait(10) == 0
    assert process.stderr.read() == b""
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()
    return list(RecordReader(NONCE).feed(out))


@pytest.mark.parametrize("shell", SHELLS)
def test_a_container_is_found(shell: str, programs: Path) -> None:
    install(programs, "docker", "echo 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    install(programs, "podman", DOCKER)
    text = question(ENGINES="docker podman nerdctl", NAME="web", FORMAT=INSPECT_FORMAT)
    entry = read_entry(Container("web"), "here", asked(shell, programs, text))
    assert (entry.engine, entry.words) == ("podman", (f"{programs}/podman",))


@pytest.mark.parametrize("shell", SHELLS)
def test_names_that_are_near_come_along_without_warnings(shell: str, programs: Path) -> None:
    install(programs, "docker", DOCKER)
    text = question(ENGINES=f"{programs}/docker", NAME="wen", FORMAT=INSPECT_FORMAT)
    records = asked(shell, programs, text)
    assert [record.value.split() for record in records if record.key == "names"] == [["web", "db"]]
    assert [record.value for record in records if record.key == "words"] == ["Error: No such container: wen"]


@pytest.mark.parametrize("shell", SHELLS)
def test_both_readings_of_a_pod_are_asked_about(shell: str, programs: Path) -> None:
    install(programs, "kubectl", KUBECTL)
    pod = parse_pod("prod/web-0")
    pods = "\n".join(" ".join(reading.options) for reading in pod.readings)
    records = asked(shell, programs, question(ENGINES="kubectl", PODS=pods, FORMAT=POD_FORMAT))
    assert read_entry(pod, "here", records).name == "prod/web-0"


@pytest.mark.parametrize("shell", SHELLS)
def test_an_engine_that_hangs_ends_when_nobody_listens_any_more(shell: str, programs: Path, tmp_path: Path) -> None:
    require(*SHELLS[shell][:1])
    install(programs, "docker", HANGS)
    process = subprocess.Popen(
        SHELLS[shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PATH": f"{programs}:/usr/bin:/bin"}
    )
    assert process.stdin is not None
    process.stdin.write(question(ENGINES="docker", NAME="web", FORMAT=INSPECT_FORMAT).encode())
    process.stdin.flush()
    assert wait_until(lambda: hanging(tmp_path))
    assert process.poll() is None
    process.communicate(timeout=10)  # closes its input
    assert wait_until(lambda: hanging(tmp_path) == [])


async def test_an_engine_that_hangs_is_given_up_in_time(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(programs, "docker", HANGS)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(container, "ASK_S", 3.0)  # in which our shell must have come as far as the engine
    async with asyncio.timeout(20), this_machine() as here:
        with pytest.raises(EngineNotAnsweringError, match="docker on this machine does not answer") as caught:
            await find(here, Container("web"))
    assert "--container-engine" in caught.value.hint
    assert wait_until(lambda: hanging(tmp_path) == [])  # it is killed, and nobody waits for its end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("kind", ["sshd", "dropbear"])
def test_an_engine_that_hangs_is_not_left_on_the_host(
    request: pytest.FixtureRequest, remote: RemoteMachine, tmp_path: Path, kind: str, number: signal.Signals
) -> None:
    server = request.getfixturevalue(kind)
    remote.hide("docker", "podman", "nerdctl")
    remote.write("/usr/local/bin/docker", "#!/bin/sh\nexec sleep 600\n", mode=0o755)
    config = remote.ssh_config(tmp_path / "ssh_config", server.entry("dev-box", "bash"))
    process = start("login", "dev-box", "-F", str(config), "--container", "web", "--json")
    read_event(process, "connected")
    assert wait_until(lambda: any("sleep 600" in line for line in remote.processes()))
    process.send_signal(number)
    assert finish(process, 20).code == (-9 if number is signal.SIGKILL else 130)
    assert remote.leftovers_after(10) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_a_client_that_hangs_ends_after_its_server(shell: str, programs: Path, tmp_path: Path) -> None:
    require(*SHELLS[shell][:1])
    install(programs, "docker", HANGS)
    command = shlex.join([*SHELLS[shell], "-c", container.WATCHED, "sh", f"{programs}/docker"])
    server = subprocess.Popen(["/bin/sh", "-c", f"{command} & wait"], stdin=subprocess.PIPE)
    assert wait_until(lambda: hanging(tmp_path))
    time.sleep(2.5)  # longer than between two looks
    assert len(hanging(tmp_path)) == 1
    server.kill()
    server.communicate(timeout=10)
    assert wait_until(lambda: hanging(tmp_path) == [])
