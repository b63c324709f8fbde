"""The zoo on the remote: a creature under `kirotunnel run`, its provider, a browser, and who came to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import pexpect

from e2e.chromium import Openings
from e2e.harness import listening_here, wait_until
from integration.relay_ends import Reply, request
from lab.remote import RemoteMachine
from lab.servers import Server

ZOO: Final = Path(__file__).parent.parent / "zoo"
THERE: Final = "/opt/zoo"
PATIENCE_S: Final = 30.0
PROVIDER: Final = "provider.example"
_LOG: Final = "/opt/standin/log/zoo.jsonl"  # a folder that every reset empties
URL_FILE: Final = "/opt/standin/log/url"
_ADDRESSES: Final = ("127.0.0.1", "::1")
_REFUSED: Final = (400, 403, 404, 405)


@dataclass(frozen=True)
class Zoo:
    """The remote with the creatures on it."""

    remote: RemoteMachine
    config: Path
    alias: str = "dev-box"

    @classmethod
    def on(cls, remote: RemoteMachine, server: Server, config: Path, user: str = "bash") -> Zoo:
        for source in ZOO.glob("*.py"):
            remote.write(f"{THERE}/{source.name}", source.read_text())
        for path in (_LOG, URL_FILE):
            remote.write(path, "", mode=0o666)
        remote.ssh_config(config, server.entry(cls.alias, user))
        return cls(remote, config)

    def command(self, creature: str, *arguments: str, provider: str = f"https://{PROVIDER}") -> list[str]:
        """The words behind `--`."""
        known = {"ZOO_LOG": _LOG, "ZOO_PROVIDER": provider, "ZOO_URL_FILE": URL_FILE, "PYTHONDONTWRITEBYTECODE": "1"}
        variables = [f"{name}={value}" for name, value in known.items()]
        return ["env", *variables, "/usr/bin/python3", f"{THERE}/{creature}.py", *arguments]

    def log(self, event: str) -> list[dict[str, Any]]:
        lines = self.remote.path(_LOG).read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def requests(self) -> list[str]:
        """The requests that reached the creature: method and path."""
        return [f"{entry['method']} {urlsplit(entry['target']).path}" for entry in self.log("request")]

    def ports(self) -> set[int]:
        """The ports on which it has ever listened."""
        return {entry["port"] for entry in self.log("listening")}

    def url_in_file(self) -> str:
        """What a creature that only listens has left for the person."""
        file = self.remote.path(URL_FILE)
        assert wait_until(file.read_text, PATIENCE_S)
        return file.read_text()

    def saw_no_stranger(self, expected: Sequence[str]) -> bool:
        """Whether these requests, in this order, and no connection besides them reached the creature."""
        assert self.requests() == list(expected)
        assert len(self.log("accepted")) == len(expected)
        return True


class Running:
    """A `kirotunnel run` without a terminal, whose streams are read all the time."""

    def __init__(self, process: subprocess.Popen[str], openings: Openings) -> None:
        self.process = process
        self.openings = openings
        self._said: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._readers = [
            threading.Thread(target=self._read, args=(process.stdout, "stdout")),
            threading.Thread(target=self._read, args=(process.stderr, "stderr")),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def stdout(self) -> str:
        return "".join(self._said["stdout"])

    @property
    def stderr(self) -> str:
        return "".join(self._said["stderr"])

    def next_page(self) -> str:
        """The address that it opens next."""
        try:
            return self.openings.next(PATIENCE_S)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\nstdout: {self.stdout}\nstderr: {self.stderr}") from None

    def opened_more(self) -> bool:
        """Whether a page was opened that nobody has asked for yet."""
        return self.openings.waiting()

    def end(self, timeout: float = PATIENCE_S) -> int:
        """Its exit code, once it has ended by itself."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"kirotunnel hangs\nstdout: {self.stdout}\nstderr: {self.stderr}") from None
        for reader in self._readers:
            reader.join(timeout)
        return self.process.returncode

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for reader in self._readers:
            reader.join(PATIENCE_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _read(self, stream: IO[str], name: str) -> None:
        self._said[name].extend(stream)


def arguments(zoo: Zoo, browser: Sequence[str], *options: str, trust: Sequence[str] = (PROVIDER,)) -> list[str]:
    """The words before `--`."""
    trusted = [word for host in trust for word in ("--trust-url-host", host)]
    return ["-m", "kirotunnel", "run", zoo.alias, "-F", str(zoo.config), *browser, *trusted, *options, "--"]


@contextmanager
def running(
    zoo: Zoo, directory: Path, command: Sequence[str], *options: str, stdin: str = "", **more: Any
) -> Iterator[Running]:
    """Start a command without a terminal; the pages that it opens come to us."""
    openings = Openings(directory / "opened")
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, *arguments(zoo, openings.browser, *options, **more), *command],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    if stdin:
        process.stdin.write(stdin)
    process.stdin.close()
    run = Running(process, openings)
    try:
        yield run
    finally:
        run.kill()
        openings.close()


class AtTerminal:
    """A `kirotunnel run` on a terminal of 24 rows and 80 columns, and the person's keys."""

    def __init__(self, child: pexpect.spawn, openings: Openings) -> None:
        self.child = child
        self.openings = openings

    def next_page(self) -> str:
        """The address that it opens next, while what it says is read on."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            self.read_on()
            try:
                return self.openings.next(0.2)
            except AssertionError:
                continue
        raise AssertionError(f"nobody asked for a page to be opened\n{self.child.logfile_read.getvalue()}")

    def read_on(self) -> None:
        """Read what is there, so that the other side never waits for us."""
        self.child.expect([pexpect.TIMEOUT, pexpect.EOF], timeout=0.01)

    @property
    def shown(self) -> str:
        """All that has stood on the terminal."""
        text: str = self.child.logfile_read.getvalue()
        return text

    def end(self) -> int:
        self.child.expect(pexpect.EOF, timeout=PATIENCE_S)
        self.child.close()
        return self.child.exitstatus if self.child.exitstatus is not None else 128 + self.child.signalstatus


@contextmanager
def at_terminal(zoo: Zoo, directory: Path, command: Sequence[str], *options: str, **more: Any) -> Iterator[AtTerminal]:
    """Start a command on a terminal; the pages that it opens come to us."""
    import io

    openings = Openings(directory / "opened")
    words = [*arguments(zoo, openings.browser, *options, **more), *command]
    child = pexpect.spawn(sys.executable, words, encoding="utf-8", timeout=PATIENCE_S, dimensions=(24, 80))
    child.logfile_read = io.StringIO()
    try:
        yield AtTerminal(child, openings)
    finally:
        child.close(force=True)
        openings.close()


@dataclass(frozen=True)
class Leg:
    """Where the answer to an authorize URL goes."""

    url: str
    port: int
    path: str
    state: str
    parameters: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str) -> Leg:
        assert urlsplit(url).hostname == PROVIDER, url
        parameters = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        redirect = urlsplit(parameters["redirect_uri"])
        assert redirect.port is not None
        return cls(url, redirect.port, redirect.path or "/", parameters["state"], parameters)

    @property
    def response(self) -> str:
        return urlencode({"code": f"code-of-{self.state}", "state": self.state})

    def callback(self, response: str | None = None) -> Reply | None:
        """Come back as the provider sends the browser."""
        return visit(self.port, f"{self.path}?{response or self.response}")

    def posted(self) -> Reply | None:
        """Come back with a form."""
        form = ("Content-Type: application/x-www-form-urlencoded", f"Origin: https://{PROVIDER}")
        return visit(self.port, self.path, *form, method="POST", body=self.response)


def visit(
    port: int, target: str, *headers: str, method: str = "GET", host: str = "localhost", body: str = ""
) -> Reply | None:
    """Ask as a browser does; None where the connection is closed without a word."""
    return knock(port, request(target, port, *headers, method=method, host=host, body=body))


def knock(port: int, data: bytes, *, address: str = "127.0.0.1") -> Reply | None:
    """What is answered to these bytes."""
    with socket.create_connection((address, port), PATIENCE_S) as sock:
        sock.settimeout(PATIENCE_S * 2)
        received = bytearray()
        try:
            sock.sendall(data)
            while chunk := sock.recv(65536):
                received += chunk
        except ConnectionError:
            pass
    return Reply.read(bytes(received))


@contextmanager
def strays_around(leg: Leg, *, state_known: bool = True) -> Iterator[None]:
    """Before the right request comes all that a browser and strangers send; a silent connection stays to the end."""
    silent = [socket.create_connection((address, leg.port), PATIENCE_S) for address in _ADDRESSES]
    try:
        for address in _ADDRESSES:
            socket.create_connection((address, leg.port), PATIENCE_S).close()
            replies = {name: knock(leg.port, data, address=address) for name, data in _strays(leg, state_known).items()}
            answered = {name: reply.status if reply else None for name, reply in replies.items()}
            assert {name: status for name, status in answered.items() if status not in _REFUSED} == {}
        yield
    finally:
        for sock in silent:
            sock.close()


def _strays(leg: Leg, state_known: bool) -> dict[str, bytes]:
    port, right = leg.port, f"{leg.path}?{leg.response}"
    strays = {
        "favicon": request("/favicon.ico", port),
        "another name": request(right, port, host="rebound.example"),
        "no method of ours": request(right, port, method="PUT"),
        "fetched ahead": request(right, port, "Sec-Purpose: prefetch"),
        "an image": request(right, port, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"),
    }
    if state_known:
        strays["another state"] = request(f"{leg.path}?code=1&state=of-somebody-else", port)
        strays["no state"] = request(f"{leg.path}?code=1", port)
        strays["nothing"] = request("/nothing/of/yours", port)
    return strays


def assert_free(ports: set[int]) -> None:
    """Nothing of ours listens on these ports any more."""
    assert ports
    assert {port for port in ports if listening_here(port)} == set()
