"""Run `kirotunnel` as a person does, and look at everything that it said and did."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lab.remote import RemoteMachine

ROBOT = Path(__file__).with_name("robot_browser.py")


@dataclass
class Services:
    """The sign-in services in a process of their own, reachable by the browser here and by the remote's CLI."""

    process: subprocess.Popen[str]
    where: dict[str, Any]
    remote_base: str

    @classmethod
    def start(cls, remote: RemoteMachine, *extra: str, listen: Sequence[str] = ()) -> Self:
        # Pages and callbacks are on different names of this machine: Chromium shares connections by host name, and
        # would hide what a silent one does.
        port = free_port()
        address = str(remote.host_address)
        listen = listen or ("127.0.0.1", address)
        command = [
            sys.executable, "-m", "kirotunnel.sandbox.services", "--listen", *listen, "--port", str(port),
            "--public-url", f"http://127.0.0.1:{port}", "--sso-public-url", f"http://localhost:{port}",
            "--issuer-base-for-remote", f"http://{address}:{port}", *extra,
        ]  # fmt: skip
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return cls(process, json.loads(process.stdout.readline()), f"http://{address}:{port}")

    def cli_environment(self, base: str = "", **more: str) -> dict[str, str]:
        """The variables that point the remote's CLI here; `base` where that is by another address than usual."""
        return {
            "KIRO_AUTH_PORTAL_URL": self.where["public_url"],
            "KIROTUNNEL_AUTH_SERVICE_URL": base or self.remote_base,
            "AWS_ENDPOINT_URL_SSO_OIDC": base or self.remote_base,
            "KIRO_STANDIN_SSO_AUTHORIZE_BASE": self.where["sso_public_url"],
            **more,
        }

    @property
    def trust(self) -> list[str]:
        """The options that let kirotunnel open pages here."""
        port = self.where["port"]
        return ["--trust-url-host", f"127.0.0.1:{port}", "--trust-url-host", f"localhost:{port}"]

    def stop(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@dataclass
class Run:
    """One finished `kirotunnel`."""

    code: int
    stdout: str
    stderr: str
    events: list[dict[str, Any]] = field(default_factory=list)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.events]

    @property
    def failure(self) -> str | None:
        """The KT code of the failure."""
        failed = self.named("failed")
        return failed[0]["code"] if failed else None


def robot(method: str, decision: str = "allow") -> list[str]:
    """The --browser option for the robot."""
    return ["--browser", shlex.join([sys.executable, str(ROBOT), method, decision])]


def start(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `kirotunnel` with pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "kirotunnel", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], timeout: float = 60) -> Run:
    """Wait for its end."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"kirotunnel hangs\nstdout: {out}\nstderr: {err}") from None
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return Run(process.returncode, out, err, events)


def kirotunnel(*arguments: str, env: Mapping[str, str] | None = None, timeout: float = 60) -> Run:
    """Run `kirotunnel` to its end."""
    return finish(start(*arguments, env=env), timeout)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def listening_here(port: int) -> bool:
    """Whether anybody on this machine's loopback listens on that port."""
    wanted = f":{port:04X} "
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"{fields[1]} ".endswith(wanted):
                return True
    return False


def read_event(process: subprocess.Popen[str], name: str, seen: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Read JSON lines until the event of that name."""
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if seen is not None:
            seen.append(event)
        if event["event"] == name:
            return event
    err = process.stderr.read() if process.stderr else ""
    raise AssertionError(f"{name} never came\nstderr: {err}")


def read_url(process: subprocess.Popen[str]) -> str:
    """Read stderr until the address that a person is to open."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("http"):
            return line.strip()
    raise AssertionError("no address was printed")


def wait_until(condition: Any, seconds: float = 30) -> bool:
    """Whether the condition comes true within that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


def high_water_kb(pid: int) -> int:
    """What a process has had in memory at most since its exec; `ru_maxrss` counts from before."""
    with suppress(OSError):
        _, found, rest = Path(f"/proc/{pid}/status").read_text(encoding="ascii").partition("VmHWM:")
        return int(rest.split()[0]) if found else 0
    return 0
