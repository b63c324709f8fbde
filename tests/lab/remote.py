"""The remote machine: its own loopback, processes, users, homes and /tmp, with real SSH servers to reach it by.

    with RemoteMachine(tmp_path) as machine:
        server = machine.sshd(extra=["AllowTcpForwarding no"])
        machine.install_cli("fish", env={"KIRO_AUTH_PORTAL_URL": portal})
        ...
        assert machine.leftovers() == []

Nothing of this machine is changed: see `namespace.py` for why nothing is left, not even after a crash.
"""

from __future__ import annotations

import errno
import glob
import ipaddress
import itertools
import json
import os
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from lab.keys import ClientKeys
from lab.namespace import Namespace, kill_all
from lab.servers import HostEntry, Server, is_server_process, start_dropbear, start_openssh
from lab.setup_script import REPOSITORY, STANDIN_DIRECTORY, STANDIN_PYTHON, setup_script
from lab.users import users

STANDIN: Final = REPOSITORY / "src" / "kirotunnel" / "sandbox" / "kiro_cli.py"
"""The stand-in for kiro-cli: one file, which a copy of the remote's Python runs there."""
_LOGS: Final = f"{STANDIN_DIRECTORY}/log"
_LOG_VARIABLE: Final = "KIRO_STANDIN_LOG"
_PROGRAM_DIRECTORIES: Final = ("/usr/bin", "/usr/sbin", "/usr/games")
_USER_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_BACK_SECONDS: Final = 5.0
_NOBODY: Final = 9
"""The discard service's port (RFC 863), on which nobody listens there."""
_SCRATCH: Final = ("/tmp", "/var/tmp", "/dev/shm")


class RemoteMachine:
    """A machine to log in to. Use it as a context manager."""

    def __init__(
        self,
        directory: Path,
        *,
        keys: ClientKeys | None = None,
        without: Sequence[str] = (),
        people: Sequence[str] | None = None,
    ) -> None:
        """The directory is for the client's files on this side. `without` are programs that the machine lacks.

        With fewer people than all it is there sooner.
        """
        self.client_directory = directory
        self.keys = keys or ClientKeys.make(directory)
        self.users = {name: user for name, user in users().items() if people is None or name in people}
        self._without = without
        self._hidden: set[str] = set()
        self._covered: list[str] = []
        self._servers: list[Server] = []
        self._kept: list[Server] = []
        self._numbers = itertools.count()
        self._is_cut = False

    # --- Its life

    def __enter__(self) -> Self:
        self.namespace = Namespace(setup_script(list(self.users.values())))
        try:
            self._furnish()
            if self._without:
                self.hide(*self._without)
        except BaseException:
            self.namespace.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for server in self._servers:
                server.stop()
        finally:
            self.namespace.close()

    def keep(self, server: Server) -> None:
        """Leave this server running at a reset."""
        self._kept.append(server)

    def reset(self) -> None:
        """Make it as it was in the beginning, but for the servers to keep: no process, no file of an earlier test."""
        self.restore()
        for server in [server for server in self._servers if server not in self._kept or not server.running]:
            server.stop()
            self._servers.remove(server)
        for server in self._servers:
            server.forget_log()
        for _ in range(10):  # what is being killed may still have been forking
            if not (strangers := self._strangers()):
                break
            kill_all(strangers)
        if self._hidden != set(self._without):
            self._uncover(_PROGRAM_DIRECTORIES)
            self._hidden.clear()
            self.hide(*self._without)
        self._uncover([path for path in self._covered if path not in _PROGRAM_DIRECTORIES])
        self._furnish()

    # --- Its servers, and how to reach them

    @property
    def servers(self) -> list[Server]:
        """Those that it has."""
        return list(self._servers)

    @property
    def address(self) -> str:
        """Where its servers listen."""
        return self.namespace.address

    @property
    def host_address(self) -> str:
        """This side, as the machine sees it: what the tests serve to the machine listens here."""
        return self.namespace.host_address

    def sshd(
        self, extra: Sequence[str] = (), *, port: int | None = None, host_keys: Sequence[str] = ("ed25519",)
    ) -> Server:
        """Start an OpenSSH server, the first on port 22. The extra lines of sshd_config(5) win over ours."""
        server = start_openssh(self, port or self._free_port(), extra, host_keys)
        self._servers.append(server)
        return server

    def dropbear(self, extra: Sequence[str] = (), *, port: int | None = None) -> Server:
        """Start a Dropbear server; extra are options of its command line."""
        server = start_dropbear(self, port or self._free_port(), extra)
        self._servers.append(server)
        return server

    def ssh_config(self, path: Path, *entries: HostEntry) -> Path:
        """Write a client's configuration file with these hosts (`server.entry(alias, user)`); for `-F`."""
        path.write_text("\n".join(map(str, entries)))
        return path

    def cut(self) -> None:
        """Drop the link: from now on packets vanish both ways, and nobody is told."""
        self.namespace.set_link("down")
        self._is_cut = True

    def restore(self) -> None:
        """Have the link again. Connections that outlived the cut go on."""
        if self._is_cut:
            self.namespace.set_link("up")
            # Who asked for the address during the cut is remembered as unreachable for a while.
            subprocess.run(["ip", "neigh", "flush", "dev", self.namespace.link], check=True)
            self._await_answer()
        self._is_cut = False

    def _await_answer(self) -> None:
        """Wait until the machine answers again: a port on which nobody listens refuses."""
        end = time.monotonic() + _BACK_SECONDS
        while time.monotonic() < end:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((str(self.address), _NOBODY)) == errno.ECONNREFUSED:
                    return
            time.sleep(0.02)
        raise TimeoutError(f"{self.address} is not back after its link was")

    # --- What is installed

    def install_cli(
        self,
        user: str,
        where: str = "~/.local/bin/kiro-cli",
        *,
        env: Mapping[str, str] | None = None,
        source: Path = STANDIN,
    ) -> str:
        """Install the stand-in CLI for a user, with these variables in its environment; gives its path there.

        A path outside the home directory, such as /usr/local/bin/kiro-cli, makes it there for everybody.
        """
        log, program = f"{_LOGS}/{user}.jsonl", f"{STANDIN_DIRECTORY}/{source.name}"
        self.write(program, source.read_text())
        self.write(log, "", mode=0o666)
        home = self.users[user].home
        path = where.replace("~", home, 1) if where.startswith("~/") else where
        exports = {_LOG_VARIABLE: log, **(env or {})}
        script = "#!/bin/sh\n"
        script += "".join(f"export {name}={shlex.quote(value)}\n" for name, value in exports.items())
        script += f'exec {STANDIN_PYTHON} {program} "$@"\n'
        self.write(path, script, mode=0o755, owner=user if path.startswith(home) else None)
        return path

    def hide(self, *programs: str) -> None:
        """Take these programs from the machine until the reset: as if they had never been installed."""
        self._uncover(_PROGRAM_DIRECTORIES)
        self._hidden |= set(programs)
        for directory in _PROGRAM_DIRECTORIES:
            found = [name for name in self._hidden if os.path.lexists(self.path(f"{directory}/{name}"))]
            if not found:
                continue
            layer = f"/run/lab/layers/{next(self._numbers)}"
            for part in ("over", "work"):
                self.path(f"{layer}/{part}").mkdir(parents=True)
            for name in found:
                # In an overlay, what is missing is a device 0:0 in the upper layer.
                os.mknod(self.path(f"{layer}/over/{name}"), stat.S_IFCHR, os.makedev(0, 0))
            options = f"lowerdir={directory},upperdir={layer}/over,workdir={layer}/work"
            self._root("mount", "-t", "overlay", "-o", options, "overlay", directory)
            self._covered.append(directory)

    def cover(self, path: str, text: str) -> None:
        """Put another text over an existing file until the reset, such as /proc/sys/kernel/osrelease."""
        cover = f"/run/lab/covers/{next(self._numbers)}"
        self.write(cover, text)
        self._root("mount", "--bind", cover, path)
        self._covered.append(path)

    def write(self, path: str, text: str, *, mode: int = 0o644, owner: str | None = None) -> None:
        """Write a file there, with the directories that are missing; root's, or that user's."""
        uid = self.users[owner].uid if owner else 0
        target = self.path(path)
        missing = [parent for parent in target.parents if not parent.exists()]
        for parent in reversed(missing):
            parent.mkdir()
            os.chown(parent, uid, uid)
        target.write_text(text)
        target.chmod(mode)
        os.chown(target, uid, uid)

    # --- What one sees from this side

    def path(self, inside: str) -> Path:
        """The path by which this side reaches a file of the machine."""
        return self.namespace.path(inside)

    def run(
        self, command: Sequence[str] | str, user: str | None = None, *, stdin: str = "", timeout: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, or a text for /bin/sh, there: as root or as that user, without SSH."""
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        return self.namespace.run([*(self._become(user) if user else []), *argv], stdin=stdin, timeout=timeout)

    def listeners(self) -> set[tuple[str, int]]:
        """The addresses and ports on which something there listens for TCP."""
        tables = [Path(f"/proc/{self.namespace.init_pid}/net/{name}") for name in ("tcp", "tcp6")]
        # Without IPv6 in the kernel there is no second table.
        lines = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()]
        listening = "0A"
        return {_endpoint(fields[1]) for fields in lines if fields[3] == listening}

    def processes(self) -> list[str]:
        """The command lines of all that runs there, but the first process."""
        return [line for line in map(_command_line, self.namespace.pids()) if line]

    def files(self, pattern: str) -> list[str]:
        """The paths there that match a glob pattern, hidden ones too; `**` goes down."""
        found = glob.glob(pattern.lstrip("/"), root_dir=self.path("/"), recursive=True, include_hidden=True)
        return sorted(f"/{path}" for path in found)

    def standin_log(self, user: str) -> list[dict[str, Any]]:
        """What the stand-in CLI of that user has recorded, oldest first."""
        log = self.path(f"{_LOGS}/{user}.jsonl")
        # Without a last line that is only half there.
        return [json.loads(line) for line in log.read_text().rpartition("\n")[0].splitlines()] if log.exists() else []

    def leftovers(self) -> list[str]:
        """What is there although nobody is logged in any more: processes, listeners, files. There should be nothing."""
        mine = {(server.host, server.port) for server in self._servers}
        running = [_command_line(pid) for pid in self._strangers() if not is_server_process(pid)]
        scratch = [path for directory in _SCRATCH for path in self.files(f"{directory}/*")]
        cached = [path for user in self.users.values() for path in self.files(f"{user.home}/.cache/*")]
        named = [path for user in self.users.values() for path in self.files(f"{user.home}/**/*kirotunnel*")]
        return [
            *(f"process: {line}" for line in running if line),
            *(f"listener: {address}:{port}" for address, port in sorted(self.listeners() - mine)),
            *(f"file: {path}" for path in sorted({*scratch, *cached, *named}) if not _is_of_a_shell(path)),
        ]

    def leftovers_after(self, seconds: float) -> list[str]:
        """The leftovers, once they have had this time to go. Returns as soon as there are none."""
        deadline = time.monotonic() + seconds
        pause = 0.02
        while (left := self.leftovers()) and time.monotonic() < deadline:
            time.sleep(pause)  # neither files nor listeners of another namespace can be awaited
            pause = min(2 * pause, 0.5)  # a look at all processes costs much, and what takes long has time
        return left

    # --- Inside

    def _strangers(self) -> list[int]:
        """The processes that are neither the first one nor a server."""
        servers = {server.pid for server in self._servers if server.running}
        return [pid for pid in self.namespace.pids() if pid not in servers]

    def _free_port(self) -> int:
        taken = {server.port for server in self._servers}
        return next(port for port in itertools.chain([22], itertools.count(2222)) if port not in taken)

    def _become(self, name: str) -> list[str]:
        """The words before a command that make it run as that user, at home, with the environment of a login."""
        user = self.users[name]
        if user.root == "/":
            drop = ["setpriv", f"--reuid={user.uid}", f"--regid={user.uid}", "--clear-groups"]
        else:
            drop = ["chroot", f"--userspec={user.uid}:{user.uid}", "--groups=", user.root]
        variables = {"HOME": user.home, "USER": name, "LOGNAME": name, "SHELL": user.shell, "PATH": _USER_PATH}
        environment = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        return [*drop, *environment, "/bin/sh", "-c", 'cd && exec "$@"', "sh"]

    def _furnish(self) -> None:
        """Empty every directory that a user can write to, and make the homes."""
        for directory in (*_SCRATCH, "/home", "/root", "/usr/local/bin", _LOGS):
            for path in self.path(directory).iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for user in self.users.values():
            self.write(f"{user.home}/.ssh/authorized_keys", self.keys.authorized_keys(), mode=0o600, owner=user.name)
            for name, text in user.dotfiles.items():
                self.write(f"{user.home}/{name}", text, owner=user.name)
            self.path(user.home).chmod(0o700)

    def _uncover(self, paths: Iterable[str]) -> None:
        """Take away what lies over these paths."""
        for path in paths:
            while path in self._covered:
                self._root("umount", "--lazy", path)
                self._covered.remove(path)

    def _root(self, *argv: str) -> None:
        done = self.namespace.run(argv)
        if done.returncode != 0:
            raise RuntimeError(f"{shlex.join(argv)} failed on the remote: {done.stderr.strip()}")


def _endpoint(word: str) -> tuple[str, int]:
    """An address and port from /proc/net/tcp: hexadecimal, in words of the machine's byte order."""
    address, port = word.split(":")
    packed = b"".join(int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8))
    return str(ipaddress.ip_address(packed)), int(port, 16)


def _command_line(pid: int) -> str:
    """The command line of a process; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _is_of_a_shell(path: str) -> bool:
    """Whether a file is what a login shell leaves by itself: some versions of fish do."""
    return Path(path).name.startswith("fish")
