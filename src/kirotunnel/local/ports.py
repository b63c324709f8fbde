"""Which process of this machine holds a port, as far as this user may know. The only user of psutil."""

from __future__ import annotations

import contextlib
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


def holders_of(port: int) -> list[PortHolder]:
    """Who listens on that port on loopback or on all addresses. Takes some 10 ms: call it from a thread.

    Without root, the processes of other users are listeners without a name; where the system shows no sockets at all
    (macOS without root), the list is empty.
    """
    import psutil

    try:
        sockets = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, OSError):
        return []
    found = {
        (sock.laddr.ip, sock.pid)
        for sock in sockets
        if sock.status == psutil.CONN_LISTEN
        and sock.laddr
        and sock.laddr.port == port
        and sock.laddr.ip in _LOOPBACK_AND_WILDCARD
    }
    return [_holder(address, port, pid) for address, pid in sorted(found, key=lambda pair: (pair[0], pair[1] or 0))]


def _holder(address: str, port: int, pid: int | None) -> PortHolder:
    import psutil

    program = user = None
    if pid is not None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            program, user = one_line(process.name(), 60), process.username()
    return PortHolder(address, port, pid, program, user)
