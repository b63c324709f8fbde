"""One set of Linux namespaces with a first process: the bare machine, before it has users or servers.

The namespaces have no name and are kept by their first process alone. That process ends when the pipe to the test
closes, which the kernel sees to even if the test process is killed. So a crash leaves nothing: processes, mounts and
the link go with the namespaces.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from lab.requirements import ADMIN_PATH, find

LINK_PREFIX: Final = "ktlab"
"""Our ends of the links are called ktlab0 … ktlab255; the number is the x of 10.231.x.0/30."""
_NETWORKS: Final = 256
_PLAIN_ENVIRONMENT: Final = {"PATH": ADMIN_PATH, "LANG": "C.UTF-8"}
_START_TIMEOUT: Final = 20.0
_END_TIMEOUT: Final = 10.0


class Namespace:
    """Own network, processes, mounts and host name, with a link to this machine."""

    def __init__(self, setup_script: str) -> None:
        """Make it. The script runs as root inside, before the first process takes over; `set -e` is in force."""
        # SIGCHLD ignored by the first process: the kernel then reaps what is orphaned inside, like an init would.
        script = f"set -eu\n{setup_script}\ntrap '' CHLD\necho ready\nexec -a /sbin/init cat >/dev/null\n"
        argv = [
            "unshare",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "bash",
            "-c",
            script,
        ]
        self._holder = subprocess.Popen(
            _resolved(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_PLAIN_ENVIRONMENT,
            text=True,
            start_new_session=True,  # Ctrl-C is for pytest, which ends the machine in order
        )
        self.link = ""
        try:
            _await_ready(self._holder)
            (self.init_pid,) = children_of(self._holder.pid)
            self._pid_namespace = os.stat(f"/proc/{self.init_pid}/ns/pid").st_ino
            self._connect()
        except BaseException:
            self.close()
            raise

    @property
    def host_address(self) -> str:
        """Our end of the link, as the machine sees it."""
        return f"10.231.{self.link.removeprefix(LINK_PREFIX)}.1"

    @property
    def address(self) -> str:
        """The machine's end of the link, as we see it."""
        return f"10.231.{self.link.removeprefix(LINK_PREFIX)}.2"

    def path(self, inside: str) -> Path:
        """The path by which this side reaches a file of the machine. Absolute links on the way would lead back here."""
        return Path(f"/proc/{self.init_pid}/root") / inside.lstrip("/")

    def entered(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs argv inside, as root."""
        flags = ["--mount", "--uts", "--ipc", "--net", "--pid"]
        return _resolved(["nsenter", "--target", str(self.init_pid), *flags, "--", *argv])

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root, with a plain environment."""
        return subprocess.run(
            self.entered(argv),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=_PLAIN_ENVIRONMENT,
            check=False,
        )

    def spawn(self, argv: Sequence[str]) -> subprocess.Popen[str]:
        """Start a server inside, as root, and give its parent, which ends with it. Its stderr is to be read."""
        return subprocess.Popen(
            self.entered(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=_PLAIN_ENVIRONMENT,
            start_new_session=True,
        )

    def pids(self) -> Iterator[int]:
        """The processes inside, but the first one, by their pid on this side."""
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit() or int(entry.name) == self.init_pid:
                continue
            try:
                if os.stat(f"/proc/{entry.name}/ns/pid").st_ino == self._pid_namespace and not _is_zombie(
                    int(entry.name)
                ):
                    yield int(entry.name)
            except OSError:
                continue  # it ended while we looked, and a zombie has no namespace any more

    def set_link(self, state: str) -> None:
        """Take the machine's end of the link `up` or `down`."""
        # The far end, not ours: ours would take its route with it, and the packets would leave by the default gateway.
        _checked(self.run(["ip", "link", "set", "eth0", state]))

    def close(self) -> None:
        """End every process inside, and with the last one everything else."""
        if self.link:
            _ip("link", "delete", self.link)  # at once; by itself the kernel would do it a little later
        for stream in (self._holder.stdin, self._holder.stdout, self._holder.stderr):
            if stream is not None:
                stream.close()
        try:
            self._holder.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            # The first process inside ends with its pipe; this is for a setup script that hangs.
            kill_all(children_of(self._holder.pid))
            self._holder.kill()
            self._holder.wait(_END_TIMEOUT)

    def _connect(self) -> None:
        """Make the link, on the first network that nobody has."""
        first = os.getpid() % _NETWORKS  # spreads the workers of a run, which have neighbouring pids
        for step in range(_NETWORKS):
            number = (first + step) % _NETWORKS
            # Names of links are unique, so making one is also the lock on its network.
            made = _ip(*f"link add {LINK_PREFIX}{number} type veth peer name eth0 netns {self.init_pid}".split())
            if made.returncode == 0:
                break
            if "File exists" not in made.stderr:
                raise RuntimeError(f"no link could be made: {made.stderr.strip()}")
        else:
            raise RuntimeError("all 256 networks of the laboratory are taken")
        self.link = f"{LINK_PREFIX}{number}"
        ours = f"address add {self.host_address}/30 dev {self.link}\nlink set {self.link} up\n"
        theirs = f"link set lo up\naddress add {self.address}/30 dev eth0\nlink set eth0 up\n"
        _checked(_ip("-batch", "-", stdin=ours))
        _checked(self.run(["ip", "-batch", "-"], stdin=theirs))


def kill_all(pids: Iterable[int], *, timeout: float = 5.0) -> None:
    """Kill these processes and wait until they are gone."""
    poll = select.poll()
    waiting: set[int] = set()
    try:
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            waiting.add(descriptor)
            poll.register(descriptor, select.POLLIN)
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            except ProcessLookupError:
                continue
        while waiting:
            ended = poll.poll(timeout * 1000)
            if not ended:
                raise RuntimeError("a killed process does not end")
            for descriptor, _ in ended:
                poll.unregister(descriptor)
                waiting.discard(descriptor)
                os.close(descriptor)
    finally:
        for descriptor in waiting:
            os.close(descriptor)


def _await_ready(holder: subprocess.Popen[str]) -> None:
    """Wait for the word of the setup script."""
    said = _line_within(holder.stdout, _START_TIMEOUT)
    if said != "ready\n":
        holder.kill() if said is None else holder.wait(_END_TIMEOUT)
        complaint = holder.stderr.read() if holder.stderr is not None and said is not None else "it hangs"
        raise RuntimeError(f"the machine could not be set up: {said or ''}{complaint.strip()}")


def _line_within(stream: IO[str] | None, seconds: float) -> str | None:
    """The next line; None when there is none in that time."""
    assert stream is not None
    ready, _, _ = select.select([stream], [], [], seconds)
    return stream.readline() if ready else None


def children_of(pid: int) -> list[int]:
    """The pids of the processes that this one has started."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _is_zombie(pid: int) -> bool:
    try:
        # The state follows the name, which is in parentheses and may itself hold spaces and parentheses.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _ip(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run `ip` on this side."""
    return subprocess.run(
        _resolved(["ip", *arguments]), input=stdin, capture_output=True, text=True, timeout=20, check=False
    )


def _checked(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != 0:
        raise RuntimeError(f"{done.args} failed: {done.stderr.strip()}")


def _resolved(argv: Sequence[str]) -> list[str]:
    """The command line with the program's path."""
    return [find(argv[0]) or argv[0], *argv[1:]]
