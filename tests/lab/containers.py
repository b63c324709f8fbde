"""Containers of the laboratory: real ones of podman, on this machine or on the remote, seen from this side.

Each has a network of its own, from which the sign-in services of the tests are reached, and the programs of this
machine below /usr; what else is in it is its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shlex
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lab.namespace import Namespace
from lab.remote import STANDIN, RemoteMachine
from lab.requirements import find, require

_LOG: Final = "/var/log/standin.jsonl"
_START_S: Final = 10.0
_SCRATCH: Final = ("/tmp", "/var/tmp", "/dev/shm", "/root/.cache")


@dataclass
class Contained:
    """What is inside of a container, by its first process."""

    name: str
    init_pid: int
    """On this side."""
    own_network: bool = True
    """What listens in another's network is not its own."""
    _pid_namespace: int = field(init=False)

    def __post_init__(self) -> None:
        self._pid_namespace = os.stat(f"/proc/{self.init_pid}/ns/pid").st_ino

    def path(self, inside: str) -> Path:
        """The path by which this side reaches a file of it. Absolute links on the way would lead back here."""
        return Path(f"/proc/{self.init_pid}/root") / inside.lstrip("/")

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file there, with the directories that are missing."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def install_cli(self, where: str = "/root/.local/bin/kiro-cli", *, env: Mapping[str, str]) -> None:
        """Install the stand-in CLI there."""
        self.write("/opt/standin/kiro_cli.py", STANDIN.read_text())
        exports = {"KIRO_STANDIN_LOG": _LOG, **env}
        script = "#!/bin/sh\n" + "".join(f"export {name}={shlex.quote(value)}\n" for name, value in exports.items())
        self.write(where, script + 'exec /usr/bin/python3 /opt/standin/kiro_cli.py "$@"\n', mode=0o755)
        self.write(_LOG, "")

    def standin_log(self) -> list[dict[str, Any]]:
        """What the stand-in CLI has recorded, oldest first."""
        return [json.loads(line) for line in self.path(_LOG).read_text().splitlines()]

    def processes(self) -> list[str]:
        """The command lines of all that runs there, but its first process."""
        return [line for pid in self.pids() if (line := _command_line(pid))]

    def listeners(self) -> list[int]:
        """The ports on which something there listens."""
        found: set[int] = set()
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.init_pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    found.add(int(fields[1].rpartition(":")[2], 16))
        return sorted(found)

    def leftovers(self) -> list[str]:
        """What is there although nobody is logged in any more: processes, listeners, files. There should be nothing."""
        directories = [self.path(directory) for directory in _SCRATCH]
        return [
            *(f"process: {line}" for line in self.processes()),
            *(f"listener: {port}" for port in self.listeners() if self.own_network),
            *(f"file: {path}" for directory in directories if directory.is_dir() for path in directory.iterdir()),
        ]

    def leftovers_after(self, seconds: float) -> list[str]:
        """The leftovers, once they have had this time to go. Returns as soon as there are none."""
        deadline = time.monotonic() + seconds
        while (left := self.leftovers()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def pids(self) -> Iterator[int]:
        """Its processes, but the first one, by their number on this side."""
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != self.init_pid:
                with contextlib.suppress(OSError):
                    if os.stat(f"/proc/{name}/ns/pid").st_ino == self._pid_namespace:
                        yield int(name)


@contextlib.contextmanager
def own_network() -> Iterator[Namespace]:
    """A network for containers, from which all addresses of this side are reached."""
    network = Namespace("")
    try:
        routed = network.run(["ip", "route", "add", "default", "via", network.host_address])
        assert routed.returncode == 0, routed.stderr
        yield network
    finally:
        network.close()


class Podman:
    """The real podman, with storage and settings of its own, which a `podman` on PATH brings along."""

    def __init__(self, directory: str, network: str, remote: RemoteMachine | None = None) -> None:
        """The directory and the network's file are paths where it runs: on the remote, or on this machine."""
        self._directory = directory
        self._network = network
        self._remote = remote
        self._path(directory).mkdir(parents=True, exist_ok=True)
        # runc, and limits below those of the machine: inside of virtual machines and containers crun and raised limits
        # are refused. Locks in files, since those in memory belong to the whole machine.
        self._write(
            "containers.conf",
            '[engine]\nlock_type = "file"\ncgroup_manager = "cgroupfs"\nruntime = "runc"\nevents_logger = "none"\n'
            f'tmp_dir = "{directory}/tmp"\n'
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n',
        )
        self._write(
            "storage.conf",
            f'[storage]\ndriver = "vfs"\ngraphroot = "{directory}/store"\nrunroot = "{directory}/run"\n',
        )
        self.program = f"{directory}/bin/podman"
        self._write(
            "bin/podman",
            f"#!/bin/sh\nexport CONTAINERS_CONF={directory}/containers.conf\n"
            f"export CONTAINERS_STORAGE_CONF={directory}/storage.conf\n"
            f'exec {find("podman")} "$@"\n',
        ).chmod(0o755)
        self._path(f"{directory}/root.tar").write_bytes(_root_with_links())
        self.run("import", f"{directory}/root.tar", "machine")

    def command(self, *arguments: str) -> list[str]:
        """The command line of this side that runs podman, as root and without SSH."""
        argv = [self.program, *arguments]
        return argv if self._remote is None else self._remote.namespace.entered(argv)

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run podman; gives what it prints."""
        if self._remote is not None:
            done = self._remote.run([self.program, *arguments])
        else:
            done = subprocess.run(
                [self.program, *arguments],
                capture_output=True,
                text=True,
                timeout=60,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        assert not check or done.returncode == 0, f"podman {arguments}: {done.stderr}"
        return done.stdout

    def start(self, name: str, *options: str) -> Contained:
        """Run a container of the image with this machine's programs."""
        # The number finds it again among this machine's processes, whose numbers are others than the remote's.
        mark = str(random.randrange(10**8, 10**9))
        if "--network" not in options:
            options = (*options, "--network", f"ns:{self._network}")
        options = (*options, "--volume", "/usr:/usr:ro")
        self.run("run", "--detach", "--name", name, *options, "localhost/machine", "sleep", mark)
        return Contained(name, _find_process(["sleep", mark]))

    def start_empty(self, name: str) -> None:
        """Run a container with one program and no shell."""
        busybox = find("busybox")
        assert busybox is not None
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(busybox, "sleep")
        self._path(f"{self._directory}/empty.tar").write_bytes(archive.getvalue())
        self.run("import", f"{self._directory}/empty.tar", "empty")
        self.run("run", "--detach", "--name", name, "--network", "none", "localhost/empty", "/sleep", "1000")

    def stop(self, name: str) -> None:
        """Stop it, and leave it there."""
        self.run("stop", "--time", "0", name)

    def restart(self, name: str) -> None:
        """Stop it and start it again, as it is."""
        self.run("restart", "--time", "0", name)

    def close(self) -> None:
        """Remove everything."""
        self.run("rm", "--all", "--force", "--time", "0", check=False)
        self.run("image", "rm", "--all", "--force", check=False)

    def _path(self, path: str) -> Path:
        return self._remote.path(path) if self._remote else Path(path)

    def _write(self, name: str, text: str) -> Path:
        path = self._path(f"{self._directory}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@contextlib.contextmanager
def podman_here(directory: Path, network: Namespace) -> Iterator[Podman]:
    """podman on this machine."""
    require("podman", "runc", "busybox")
    engine = Podman(str(directory), f"/proc/{network.init_pid}/ns/net")
    try:
        yield engine
    finally:
        engine.close()


@contextlib.contextmanager
def podman_there(remote: RemoteMachine, network: Namespace) -> Iterator[Podman]:
    """podman on the remote, on the PATH of those who log in there."""
    require("podman", "runc", "busybox")
    remote.write("/run/lab/network", "")
    descriptor = os.open(f"/proc/{network.init_pid}/ns/net", os.O_RDONLY)
    try:
        # The remote sees no process of ours, so it gets the network as a file.
        mount = remote.namespace.entered(["mount", "--bind", f"/proc/self/fd/{descriptor}", "/run/lab/network"])
        subprocess.run(mount, check=True, pass_fds=[descriptor], timeout=20)
    finally:
        os.close(descriptor)
    engine = Podman("/run/lab/podman", "/run/lab/network", remote)
    remote.path("/usr/local/bin/podman").symlink_to(engine.program)
    try:
        yield engine
    finally:
        engine.close()
        remote.run("rm -rf /run/lab/podman; umount /run/lab/network")


def _root_with_links() -> bytes:
    """A root directory as a tar archive: what is not in /usr."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:

        def add(
            name: str, *, kind: bytes = tarfile.DIRTYPE, mode: int = 0o755, to: str = "", text: bytes = b""
        ) -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.linkname, entry.size = kind, mode, to, len(text)
            tar.addfile(entry, io.BytesIO(text))

        for name in ("usr", "etc", "root", "proc", "dev", "sys", "opt", "run", "var", "var/log", "home"):
            add(name)
        add("tmp", mode=0o1777)
        add("var/tmp", mode=0o1777)
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path(f"/{name}").is_dir():
                add(name, kind=tarfile.SYMTYPE, to=f"usr/{name}")
        add("etc/passwd", kind=tarfile.REGTYPE, mode=0o644, text=b"root:x:0:0:root:/root:/bin/sh\n")
        add("etc/group", kind=tarfile.REGTYPE, mode=0o644, text=b"root:x:0:\n")
    return archive.getvalue()


def _find_process(argv: Sequence[str]) -> int:
    """The process of this machine that runs exactly this, in whatever namespace."""
    wanted = "\0".join(argv).encode() + b"\0"
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if name.isdigit() and Path(f"/proc/{name}/cmdline").read_bytes() == wanted:
                    return int(name)
        time.sleep(0.02)
    raise TimeoutError(f"{' '.join(argv)} does not run")


def _command_line(pid: int) -> str:
    """The command line of a process; nothing when it is gone, or a zombie that its parent does not reap."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
