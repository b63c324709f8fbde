"""`kirotunnel doctor` on hosts with one thing wrong each: golden reports, and what it must never do.

`UPDATE_GOLDEN=1 pytest tests/e2e/test_doctor.py` writes the reports anew; look at the difference before keeping it.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import pytest

from e2e.conftest import Box, MakeBox
from e2e.harness import Run, finish, kirotunnel, read_event, start
from e2e.test_bad_input import CALLBACK_PORTS
from e2e.test_steering import held_here
from lab.servers import Server
from lab.test_lab import listening

GOLDEN = Path(__file__).parents[1] / "golden" / "doctor"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))
PROGRAM = "/usr/local/bin"


def doctor(box: Box, *more: str) -> Run:
    """Run it against the box, whose sign-in services are those of the tests."""
    base = box.services.remote_base
    env = {
        "KIRO_AUTH_PORTAL_URL": base,
        "KIROTUNNEL_AUTH_SERVICE_URL": base,
        "AWS_ENDPOINT_URL_SSO_OIDC": base,
        "BROWSER": "true",
    }
    return kirotunnel("doctor", box.alias, "-F", str(box.config), *more, env=env)


def there(run: Run) -> str:
    """The part of the report that is about the target, without what differs from run to run."""
    report = run.stdout[run.stdout.index("\ndev-box\n") + 1 :].rpartition("\n\n")[0] + "\n"
    report = re.sub(r"\(pid \d+\)", "(pid N)", report)
    report = re.sub(r"\b10\.231\.\d+\.\d+(?: port \d+)?(?::\d+)?", "ADDRESS", report)
    report = re.sub(r"http://ADDRESS\S*", "SERVICE", report)
    report = re.sub(r"SSH-2\.0-.*", "SERVER", report)
    return re.sub(r"\d+ [MG]iB free", "N free", report)


def assert_golden(name: str, run: Run, code: int) -> None:
    assert run.code == code, run.stdout + run.stderr
    file = GOLDEN / f"{name}.txt"
    if UPDATE:
        file.write_text(there(run), encoding="utf-8")
    assert there(run) == file.read_text(encoding="utf-8")


def codes(run: Run) -> dict[str, str]:
    return {event["code"]: event["severity"] for event in run.named("finding")}


@contextmanager
def read_only_home(box: Box) -> Iterator[None]:
    home = f"/home/{box.user}"
    as_root = box.remote.namespace.run
    assert as_root(["mount", "--bind", home, home]).returncode == 0
    assert as_root(["mount", "-o", "remount,bind,ro", home]).returncode == 0
    try:
        yield
    finally:
        assert as_root(["umount", "--lazy", home]).returncode == 0


@contextmanager
def no_proc(box: Box) -> Iterator[None]:
    as_root = box.remote.namespace.run
    assert as_root(["mount", "-t", "tmpfs", "lab", "/proc"]).returncode == 0
    try:
        yield
    finally:
        assert as_root(["umount", "/proc"]).returncode == 0


@contextmanager
def nothing_shows_listeners(box: Box) -> Iterator[None]:
    box.remote.hide("ss", "lsof")
    with no_proc(box):
        yield


def two_hours_off(box: Box) -> AbstractContextManager[None]:
    date = '#!/bin/sh\n[ "$1" = +%s ] || exec /bin/date "$@"\nexec echo $(($(/bin/date +%s) + 7200))\n'
    box.remote.write(f"{PROGRAM}/date", date, mode=0o755)
    return nullcontext()


@contextmanager
def held_by_another(box: Box) -> Iterator[None]:
    with listening(box.remote, "127.0.0.1", 3128):
        yield


Trouble = Callable[[Box], AbstractContextManager[None]]


def nothing(box: Box) -> AbstractContextManager[None]:
    return nullcontext()


TROUBLES: dict[str, tuple[Trouble, int]] = {
    "healthy": (nothing, 0),
    "held-by-another-user": (held_by_another, 0),
    "read-only-home": (read_only_home, 1),
    "no-proc": (no_proc, 0),
    "nothing-shows-listeners": (nothing_shows_listeners, 0),
    "two-hours-off": (two_hours_off, 1),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_a_host_with_one_trouble_gets_its_report(make_box: MakeBox, sshd: Server, name: str) -> None:
    trouble, code = TROUBLES[name]
    box = make_box(sshd, where=PROGRAM)
    with trouble(box):
        run = doctor(box)
    assert_golden(name, run, code)


def test_forwarding_off(make_box: MakeBox, sshd: Server) -> None:
    strict = make_box(sshd, where=PROGRAM).remote.sshd(extra=["AllowTcpForwarding no"])
    box = make_box(strict, where=PROGRAM)
    assert_golden("forwarding-off", doctor(box), 0)
    box.remote.hide("python3", "perl", "bash", "socat", "ncat", "nc", "busybox", "curl")
    dash = make_box(strict, "dash", where=PROGRAM)
    assert_golden("forwarding-off-nothing-else", doctor(dash), 1)


def test_forwarding_to_the_target_only(make_box: MakeBox, sshd: Server) -> None:
    strict = make_box(sshd, where=PROGRAM).remote.sshd(extra=["AllowTcpForwarding local"])
    assert_golden("forwarding-one-way", doctor(make_box(strict, where=PROGRAM)), 0)


def test_a_missing_cli(make_box: MakeBox, sshd: Server) -> None:
    assert_golden("cli-missing", doctor(make_box(sshd), "--cli", "other-cli"), 1)


def test_a_cli_that_is_not_on_path(make_box: MakeBox, sshd: Server) -> None:
    assert_golden("cli-off-path", doctor(make_box(sshd)), 0)


def test_busybox_only(make_box: MakeBox, sshd: Server) -> None:
    assert_golden("busybox-only", doctor(make_box(sshd, "busybox")), 0)


def test_dropbear(make_box: MakeBox, dropbear: Server) -> None:
    assert_golden("dropbear", doctor(make_box(dropbear, where=PROGRAM)), 0)


def test_an_unreachable_host_is_one_finding(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host closed\n  HostName 127.0.0.1\n  Port 9\n")
    run = kirotunnel("doctor", "closed", "-F", str(config), "--json")
    assert run.code == 1
    assert codes(run)["KT301"] == "error"
    assert (run.events[-1]["event"], run.events[-1]["ok"]) == ("result", False)


def test_a_key_that_is_not_taken_is_one_finding(make_box: MakeBox, sshd: Server, tmp_path: Path) -> None:
    box = make_box(sshd)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "stranger")], check=True)
    lines = [line for line in box.config.read_text().splitlines() if "IdentityFile" not in line]
    box.config.write_text("\n".join(lines))
    assert codes(doctor(box, "--json", "-i", str(tmp_path / "stranger")))["KT304"] == "error"


def test_json_has_a_line_for_each_finding(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    run = doctor(box, "--json", "--cli", "other-cli")
    assert run.code == 1
    assert codes(run)["KT401"] == "error"
    found = run.named("finding")[-1]
    assert all(found[key] for key in ("code", "severity", "title", "detail", "hint"))
    assert run.names[-1] == "result"


def test_a_waiting_login_and_leftovers_are_seen_and_left_alone(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    login = start(*box.arguments("--no-browser"))
    read_event(login, "browser_opened")
    box.remote.run(["mkdir", "-m", "700", "/tmp/kirotunnel.leftover"], user=box.user)
    run = doctor(box, "--json")
    assert codes(run).items() >= {"KT814": "info", "KT813": "warning"}.items()
    (left,) = [event for event in run.named("finding") if event["code"] == "KT813"]
    assert left["detail"] == "/tmp/kirotunnel.leftover"
    assert [event for event in box.log() if event["event"] == "accepted"] == []
    assert box.remote.files("/tmp/kirotunnel.leftover") == ["/tmp/kirotunnel.leftover"]
    box.remote.run(["rm", "-r", "/tmp/kirotunnel.leftover"])
    login.terminate()
    assert finish(login).code == 143


def test_ports_that_are_held_here_are_a_note_and_all_of_them_an_error(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    with held_here(("127.0.0.1", 3128)):
        assert codes(doctor(box, "--json"))["KT816"] == "info"
    with held_here(*(("127.0.0.1", port) for port in CALLBACK_PORTS)):
        run = doctor(box, "--json")
    assert (run.code, codes(run)["KT501"]) == (1, "error")


def test_services_that_the_target_does_not_reach(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd, where=PROGRAM)
    env = {
        "KIROTUNNEL_AUTH_SERVICE_URL": f"http://{box.remote.host_address}:9",
        "AWS_ENDPOINT_URL_SSO_OIDC": "http://127.0.0.1:9",
    }
    run = kirotunnel("doctor", box.alias, "-F", str(box.config), "--json", env=env)
    assert (run.code, codes(run)["KT811"]) == (1, "error")


def test_this_machine_alone() -> None:
    run = kirotunnel("doctor", env={"BROWSER": "true"})
    assert run.code in {0, 1}
    assert run.stdout.startswith("This machine\n")
    assert "10 of 10 callback ports are free" in run.stdout


def test_nothing_is_changed_and_no_port_is_connected_to(make_box: MakeBox, sshd: Server) -> None:
    box = make_box(sshd)
    before = box.remote.files("/home/bash/**")
    visits: list[object] = []
    with socket.create_server(("127.0.0.1", 3128)) as server:
        server.settimeout(0.1)
        doctor(box)
        with suppress(TimeoutError):
            visits.append(server.accept())
    assert visits == []
    assert box.remote.files("/home/bash/**") == before
    assert box.remote.leftovers_after(15) == []
