"""Which process of this machine holds a port, as far as this user may know. The only user of psutil."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from kirotunnel.wire.terminal import one_line

_LOOPBACK_AND_WILDCARD: Final = frozenset({"127.0.0.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"})  # noqa: S104 - compared with, not bound


@dataclass(frozen=True, slots=True)
class PortHolder:
    """One listener that keeps a loopback port from us."""

    address: str
    port: int
    pid: int | None
    program: str | None
    user: str | None

    def describe(self) -> str:
        """`squid (pid 812, user proxy)`, or what is known of it."""
        if self.pid is None:
            return "a process of another user"
        who = f", user {self.user}" if self.user else ""
        return f"{self.program or 'a process'} (pid {self.pid}{who})"


def holders_of(ports: Collection[int]) -> dict[int, list[PortHolder]]:
    """Who listens on each of these ports, on loopback or on all addresses. Takes some 10 ms: call it from a thread.

    Without root, the processes of other users are listeners without a name; where the system shows no sockets at all
    (macOS without root), the lists are empty.
    """
    import psutil

    try:
        sockets = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, OSError):
        return {port: [] for port in ports}
    found = {
        (sock.laddr.port, sock.laddr.ip, sock.pid)
        for sock in sockets
        if sock.status == psutil.CONN_LISTEN
        and sock.laddr
        and sock.laddr.port in ports
        and sock.laddr.ip in _LOOPBACK_AND_WILDCARD
    }
    holders: dict[int, list[PortHolder]] = {port: [] for port in ports}
    for port, address, pid in sorted(found, key=lambda row: (row[0], row[1], row[2] or 0)):
        holders[port].append(_holder(address, port, pid))
    return holders


def describe(holders: Iterable[PortHolder]) -> str:
    """All of them as one phrase."""
    return " and ".join(dict.fromkeys(holder.describe() for holder in holders)) or "another process"


def _holder(address: str, port: int, pid: int | None) -> PortHolder:
    import psutil

    program = user = None
    if pid is not None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            program, user = one_line(process.name(), 60), process.username()
    return PortHolder(address, port, pid, program, user)
