"""Which process of this machine holds a port, as far as this user may know. The only user of psutil."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from kirotunnel.wire.terminal import one_line

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
_LOOPBACK_AND_WILDCARD: Final = _LOOPBACK | {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound
_LISTEN, _TIME_WAIT = "LISTEN", "TIME_WAIT"
END_S: Final = 3.0
"""Seconds that a process has to end after it was told to."""


@dataclass(frozen=True, slots=True)
class PortHolder:
    """One socket that keeps a loopback port from us, and whose it is."""

    address: str
    port: int
    pid: int | None
    program: str | None
    user: str | None
    since: datetime | None = None
    """When the process began; aware, UTC."""
    command: tuple[str, ...] = ()
    """Its command line as it is: for recognising it, not for showing."""
    mine: bool = False
    """It runs in this user's name."""
    orphan: bool = False
    """Whoever started it is gone, or it is stopped: nobody waits for it."""
    listening: bool = True
    """False for a connection that took this port as its own end."""

    def describe(self) -> str:
        """`squid (pid 812, user proxy)`, or what is known of it."""
        if self.pid is None:
            return f"a process of user {self.user}" if self.user else "a process of another user"
        who = f", user {self.user}" if self.user else ""
        what = "" if self.listening else "a connection of "
        return f"{what}{self.program or 'a process'} (pid {self.pid}{who})"


@dataclass(frozen=True, slots=True)
class PortTable:
    """The sockets of this machine at some ports."""

    holders: dict[int, list[PortHolder]]
    lingering: frozenset[int]
    """Ports with ended connections in TIME_WAIT. They keep nobody from listening who asks as we do."""
    complete: bool
    """Whether the system let us see the sockets of all users."""


def holders_of(ports: Collection[int]) -> dict[int, list[PortHolder]]:
    """Who holds each of these ports; see `look_up`."""
    return look_up(ports).holders


def look_up(ports: Collection[int]) -> PortTable:
    """Who holds each of these ports, on loopback or on all addresses. Takes some 10 ms: call it from a thread.

    Without root, the processes of other users are listeners of whom at most the user is known; where the system shows
    only one's own sockets (macOS without root), theirs are not in the table at all.
    """
    sockets, complete = _sockets()
    at_ports = [sock for sock in sockets if sock.laddr and sock.laddr.port in ports]
    found = {
        (sock.laddr.port, sock.laddr.ip, sock.pid, True)
        for sock in at_ports
        if sock.status == _LISTEN and sock.laddr.ip in _LOOPBACK_AND_WILDCARD
    }
    listened = {port for port, *_ in found}
    # The kernel gives such ports to outgoing connections as well, and then nobody can listen there.
    found |= {
        (sock.laddr.port, sock.laddr.ip, sock.pid, False)
        for sock in at_ports
        if sock.status not in {_LISTEN, _TIME_WAIT, "NONE"}
        and sock.laddr.ip in _LOOPBACK
        and sock.laddr.port not in listened
    }
    owners = _socket_owners()
    holders: dict[int, list[PortHolder]] = {port: [] for port in ports}
    for port, address, pid, listening in sorted(found, key=lambda row: (row[0], row[1], row[2] or 0)):
        holder = _process(address, port, pid, listening) if pid is not None else None
        holders[port].append(
            holder or PortHolder(address, port, None, None, owners.get((address, port)), listening=listening)
        )
    lingering = frozenset(sock.laddr.port for sock in at_ports if sock.status == _TIME_WAIT)
    return PortTable(holders, lingering, complete)


def describe(holders: Iterable[PortHolder]) -> str:
    """All of them as one phrase."""
    return " and ".join(dict.fromkeys(holder.describe() for holder in holders)) or "another process"


def end_process(pid: int, began: datetime | None) -> bool:
    """Ask a process to end, and wait; whether it has. One that began at another time is another process."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if began is None or datetime.fromtimestamp(process.create_time(), UTC) != began:
            return True
        try:
            process.terminate()
            process.wait(END_S)
        except (psutil.TimeoutExpired, psutil.AccessDenied):
            return False
    return True


def _sockets() -> tuple[list[Any], bool]:
    import psutil

    try:
        return psutil.net_connections(kind="tcp"), True
    except (psutil.AccessDenied, OSError):
        pass
    sockets: list[Any] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            rows = process.net_connections("tcp") if hasattr(process, "net_connections") else process.connections("tcp")
            # These rows have no pid: they are asked of one process.
            sockets += [_Row(row.laddr, row.status, process.pid) for row in rows]
    return sockets, False


@dataclass(frozen=True, slots=True)
class _Row:
    laddr: Any
    status: str
    pid: int


def _process(address: str, port: int, pid: int, listening: bool) -> PortHolder | None:
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            user = process.username()
            own = process.uids().real == os.getuid() if sys.platform != "win32" else user == psutil.Process().username()
            return PortHolder(
                address,
                port,
                pid,
                one_line(process.name(), 60),
                user,
                datetime.fromtimestamp(process.create_time(), UTC),
                _command_line(process),
                own,
                _is_orphan(process),
                listening,
            )
    except psutil.Error:
        return PortHolder(address, port, pid, None, None, listening=listening)


def _command_line(process: Any) -> tuple[str, ...]:
    import psutil

    try:
        return tuple(process.cmdline())
    except psutil.Error:
        return ()


def _is_orphan(process: Any) -> bool:
    import psutil

    try:
        parent = process.parent()
        return (
            parent is None
            or parent.pid == 1
            or parent.name() in {"systemd", "init", "launchd"}
            or process.status() == psutil.STATUS_STOPPED
        )
    except psutil.Error:
        return False


def _socket_owners() -> dict[tuple[str, int], str]:
    """The users of all listening sockets, which Linux tells everybody, unlike their processes."""
    from kirotunnel.wire.listeners import parse_proc_users

    if not sys.platform.startswith("linux"):
        return {}
    import pwd

    lines: list[str] = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            lines += Path(table).read_text(encoding="ascii", errors="replace").splitlines()
    names: dict[tuple[str, int], str] = {}
    for address, port, uid in parse_proc_users(lines):
        try:
            names[address, port] = pwd.getpwuid(uid).pw_name
        except KeyError:
            names[address, port] = str(uid)
    return names


ReservedBy = Literal["ip_local_reserved_ports", "excludedportrange"]


def reserved_ranges() -> tuple[ReservedBy, list[tuple[int, int]]] | None:
    """Port ranges that the system keeps aside, and by which setting; None where it has no such thing.

    On Linux nobody gets them by chance, and whoever names one may have it; on Windows nobody gets them at all.
    """
    from kirotunnel.wire.listeners import parse_excluded_ranges, parse_reserved_ranges

    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            text = Path("/proc/sys/net/ipv4/ip_local_reserved_ports").read_text(encoding="ascii")
            return "ip_local_reserved_ports", parse_reserved_ranges(text)
    if sys.platform == "win32":
        import subprocess

        command = ["netsh", "interface", "ipv4", "show", "excludedportrange", "protocol=tcp"]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
            return "excludedportrange", parse_excluded_ranges(done.stdout)
    return None
