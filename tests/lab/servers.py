"""SSH servers of the remote machine: OpenSSH and Dropbear, each with its own port, host keys and settings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lab.keys import generate, public_key
from lab.namespace import Namespace, children_of, kill_all
from lab.requirements import find
from lab.users import CHROOT

if TYPE_CHECKING:
    from lab.remote import RemoteMachine

SERVER_PROGRAMS: Final = frozenset({"sshd", "sshd-session", "sshd-auth", "dropbear"})
"""What runs on behalf of a server: not a leftover of a login."""
_START_TIMEOUT: Final = 10.0
_HOST_KEYS: Final = "/run/lab/host_keys"


@dataclass(frozen=True, slots=True)
class HostEntry:
    """One `Host` block of an ssh_config(5)."""

    alias: str
    options: Mapping[str, str]

    def __str__(self) -> str:
        return f"Host {self.alias}\n" + "".join(f"    {name} {value}\n" for name, value in self.options.items())


@dataclass(eq=False, repr=False)
class Server:
    """A running SSH server."""

    host: str
    port: int
    host_key_line: str
    """Its lines for a known_hosts file."""
    known_hosts_file: Path
    """A known_hosts file with these lines, on this side."""
    identity_file: Path
    _namespace: Namespace
    _argv: Sequence[str]
    _ready: str
    """What it says once it takes connections: a regular expression."""
    _process: subprocess.Popen[str]
    _lines: list[str] = field(default_factory=list)
    _said: threading.Condition = field(default_factory=threading.Condition)
    _reader: threading.Thread | None = None
    _log_ended: bool = False
    pid: int = 0
    """Its listening process, by the number on this side."""

    @property
    def running(self) -> bool:
        """Whether it still takes connections."""
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has said so far."""
        with self._said:
            return "\n".join(self._lines)

    def wait_for_log(self, pattern: str, *, timeout: float = 10.0) -> str:
        """The first line that matches the pattern, now or later."""
        matching = re.compile(pattern)

        def found() -> str | None:
            return next((line for line in self._lines if matching.search(line)), None)

        with self._said:
            self._said.wait_for(lambda: found() or self._log_ended, timeout)
            if (line := found()) is None:
                raise TimeoutError(f"the server never said {pattern!r}, but:\n" + "\n".join(self._lines))
            return line

    def entry(self, alias: str, user: str, **options: str) -> HostEntry:
        """The `Host` block by which ssh reaches this server as that user. Options are added, or replace ours."""
        ours = {
            "HostName": self.host,
            "Port": str(self.port),
            "User": user,
            "IdentityFile": str(self.identity_file),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.known_hosts_file),
            "GlobalKnownHostsFile": "/dev/null",
        }
        return HostEntry(alias, ours | options)

    def ssh(
        self, user: str, command: str, *, tty: bool = False, stdin: str = "", timeout: float = 20.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command through this server with OpenSSH's own client."""
        options = [f"-o{name}={value}" for name, value in self.entry("unused", user).options.items()]
        argv = ["ssh", "-F", "none", "-oBatchMode=yes", *(["-tt"] if tty else []), *options, self.host, command]
        return subprocess.run(
            argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )

    def drop_connections(self) -> None:
        """End every connection at once, as a crash on the way would. What runs there notices, or lives on."""
        for _ in range(10):  # what is being killed may still have been forking
            if not (sessions := self._sessions()):
                break
            kill_all(sessions)

    def forget_log(self) -> None:
        """Start a new log: what `wait_for_log` waits for is then not an earlier test's."""
        with self._said:
            self._lines.clear()

    def stop(self) -> None:
        """End the server and its connections."""
        if self.running and self.pid:
            kill_all([self.pid])
        self.drop_connections()
        self._process.wait(_START_TIMEOUT)
        if self._reader is not None:
            # It ends with the pipe: when the last process that holds it is gone.
            self._reader.join(_START_TIMEOUT)
        if self._process.stderr is not None and not (self._reader and self._reader.is_alive()):
            self._process.stderr.close()

    def restart(self, machine: RemoteMachine) -> None:
        """Start it again after `stop`, with the same keys and settings."""
        self._process = self._namespace.spawn(self._argv)
        self.forget_log()
        self._log_ended = False
        self._begin(machine)

    def descriptors(self) -> set[int]:
        """Those by which this process reads its log."""
        log = self._process.stderr
        return {log.fileno()} if log is not None and not log.closed else set()

    def _sessions(self) -> list[int]:
        """The server's processes that each serve one connection; orphans too, which are so when it was stopped."""
        found = [*_descendants(self.pid), *_descendants(self._namespace.init_pid)] if self.pid else []
        return [pid for pid in found if is_server_process(pid)]

    def _begin(self, machine: RemoteMachine) -> None:
        """Read its log from now on, and wait until it listens."""
        self._reader = threading.Thread(target=self._read, name=f"log of port {self.port}", daemon=True)
        self._reader.start()
        try:
            self.wait_for_log(self._ready, timeout=_START_TIMEOUT)
            (self.pid,) = children_of(self._process.pid)
            if (self.host, self.port) not in machine.listeners():
                raise RuntimeError(f"the server does not listen on {self.host}:{self.port}:\n{self.log}")
        except BaseException:
            kill_all(children_of(self._process.pid))
            self.stop()
            raise

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._said:
                self._lines.append(line.rstrip())
                self._said.notify_all()
        with self._said:
            self._log_ended = True
            self._said.notify_all()


def start_openssh(
    machine: RemoteMachine, port: int, extra: Sequence[str] = (), host_keys: Sequence[str] = ("ed25519",)
) -> Server:
    """An OpenSSH server. The extra lines of sshd_config(5) win over ours."""
    keys = [_host_key(machine, port, kind) for kind in host_keys]
    # The first value of a keyword counts, and everything after a Match belongs to it.
    first_match = next((n for n, line in enumerate(extra) if line.split()[:1] == ["Match"]), len(extra))
    lines = [
        *extra[:first_match],
        f"Port {port}",
        f"ListenAddress {machine.address}",
        *(f"HostKey {_inside(machine, key)}" for key in keys),
        "PidFile none",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "AuthorizedKeysFile .ssh/authorized_keys",
        # From 9.8 on a server makes a peer wait that failed before: here all tests are the same peer.
        *(["PerSourcePenalties no"] if _openssh_version() >= (9, 8) else []),
        *extra[first_match:],
        "Match User busybox",
        f"ChrootDirectory {CHROOT}",
    ]
    config = f"/run/lab/sshd_{port}.conf"
    machine.write(config, "\n".join(lines) + "\n")
    ready = rf"^Server listening on {re.escape(machine.address)} port {port}"
    return _spawn(machine, [_program("sshd"), "-D", "-e", "-f", config], port, keys, ready)


def start_dropbear(machine: RemoteMachine, port: int, extra: Sequence[str] = ()) -> Server:
    """A Dropbear server; extra are command line options, such as -j (no local forwarding) and -k (no remote one)."""
    key = machine.path(f"{_HOST_KEYS}/{port}_dropbear")
    key.unlink(missing_ok=True)
    made = subprocess.run(
        [_program("dropbearkey"), "-t", "ed25519", "-f", str(key)],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    public = next(line for line in made.stdout.splitlines() if line.startswith("ssh-ed25519 "))
    key.with_name(key.name + ".pub").write_text(public)
    options = ["-F", "-E", "-m", "-p", f"{machine.address}:{port}", "-r", _inside(machine, key), "-P", ""]
    passwords = [] if "--with-passwords" in extra else ["-s"]
    argv = [_program("dropbear"), *options, *passwords, *(word for word in extra if word != "--with-passwords")]
    return _spawn(machine, argv, port, [key], "Not backgrounding")


def _spawn(machine: RemoteMachine, argv: Sequence[str], port: int, host_keys: Sequence[Path], ready: str) -> Server:
    name = machine.address if port == 22 else f"[{machine.address}]:{port}"
    known = "".join(f"{name} {public_key(key)}\n" for key in host_keys)
    known_hosts = machine.client_directory / f"known_hosts_{port}"
    known_hosts.write_text(known)
    server = Server(
        host=machine.address,
        port=port,
        host_key_line=known.strip(),
        known_hosts_file=known_hosts,
        identity_file=machine.keys.plain,
        _namespace=machine.namespace,
        _argv=argv,
        _ready=ready,
        _process=machine.namespace.spawn(argv),
    )
    server._begin(machine)
    return server


def _host_key(machine: RemoteMachine, port: int, kind: str) -> Path:
    key = machine.path(f"{_HOST_KEYS}/{port}_{kind}")
    key.unlink(missing_ok=True)
    return generate(key, kind=kind)


def _inside(machine: RemoteMachine, path: Path) -> str:
    """A path of this side as the machine knows it."""
    return f"/{path.relative_to(machine.path('/'))}"


def _program(name: str) -> str:
    """The absolute path, which sshd insists on."""
    return find(name) or shutil.which(name) or name


def _openssh_version() -> tuple[int, int]:
    said = subprocess.run(["ssh", "-V"], capture_output=True, text=True, timeout=10, check=False).stderr
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _descendants(pid: int) -> list[int]:
    """Every process that comes from this one, as far as its line is unbroken."""

    def walk(parent: int) -> Iterator[int]:
        for child in children_of(parent):
            yield child
            yield from walk(child)

    return list(walk(pid))


def is_server_process(pid: int) -> bool:
    """Whether this process belongs to an SSH server: the listener, or what it has forked for one connection."""
    with suppress(OSError):
        return Path(os.readlink(f"/proc/{pid}/exe")).name in SERVER_PROGRAMS
    return False
