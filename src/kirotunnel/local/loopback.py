"""Listening on this machine's loopback: 127.0.0.1 and ::1 at one port, both or none.

`localhost` is two addresses, and a browser may try either first (Chromium ::1, Firefox 127.0.0.1): if only one were
ours, a stranger on the other would get the authorization code (RFC 8252 §7.3, oh-my-pi#8081).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Collection
from typing import Final

from kirotunnel.errors import LocalPortError
from kirotunnel.local.ports import PortHolder, describe, holders_of

_FAMILIES: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_NO_SUCH_FAMILY: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})
BACKLOG: Final = 1024


def bind_loopback(port: int) -> list[socket.socket]:
    """Listening, non-blocking sockets on 127.0.0.1 and ::1; only the first where this machine has no IPv6.

    Raises LocalPortError, naming the holder, when either is taken; then neither stays bound. `port` 0 takes a port
    that is free on both.
    """
    try:
        return listen_on_both(port)
    except RefusedError as exc:
        raise _port_error(exc) from exc.cause


async def listen_on_loopback(port: int) -> list[socket.socket]:
    """The same in an event loop, where only looking for the holder takes a while: who is cancelled leaves nothing."""
    try:
        return listen_on_both(port)
    except RefusedError as exc:
        raise await explained(exc) from exc.cause


async def explained(refused: RefusedError) -> LocalPortError:
    """The refusal with who has the port, whom looking for takes a while on a busy machine."""
    return await asyncio.to_thread(_port_error, refused)


def busy_on_loopback(ports: Collection[int]) -> dict[int, str]:
    """Those of the ports that could not be bound here now on both addresses, each with who has it.

    Nothing is listened on, so two of us that look at the same time do not take each other for a holder. Takes some
    50 ms where a port is busy, else one: call it from a thread.
    """
    refused = refused_ports(ports)
    holders = holders_of(refused) if refused else {}
    return {
        port: describe(holders[port]) if why == errno.EADDRINUSE else "reserved by the system"
        for port, why in refused.items()
    }


def refused_ports(ports: Collection[int]) -> dict[int, int]:
    """Those of the ports that cannot be bound here now on both addresses, each with the errno of the refusal."""
    return {port: why for port in ports if (why := _why_not(port)) is not None}


def _why_not(port: int) -> int | None:
    """The errno with which a port cannot be bound; None where it can."""
    for family, address in _FAMILIES:
        try:
            _bound(family, address, port).close()
        except OSError as exc:
            if family is not socket.AF_INET6 or exc.errno not in _NO_SUCH_FAMILY:
                return exc.errno or errno.EADDRINUSE
    return None


class RefusedError(Exception):
    """An address of a port cannot be had; nobody has looked yet who has it."""

    def __init__(self, port: int, address: str, cause: OSError) -> None:
        super().__init__(port, address)
        self.port = port
        self.address = address
        self.cause = cause


def listen_on_both(port: int) -> list[socket.socket]:
    """The same at once, raising RefusedError."""
    sockets: list[socket.socket] = []
    try:
        for family, address in _FAMILIES:
            try:
                sock = _listen(family, address, port)
            except OSError as exc:
                if family is socket.AF_INET6 and exc.errno in _NO_SUCH_FAMILY:
                    continue  # nobody else can have it either
                raise RefusedError(port, address, exc) from exc
            sockets.append(sock)
            port = port or sock.getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listen(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    sock = _bound(family, address, port)
    try:
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            # Windows lets a second socket share a port that was bound with SO_REUSEADDR, and it may get the callback.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # On Linux it only passes over connections of an earlier login that are in TIME_WAIT; on BSD and macOS it
            # also binds beside a listener on all addresses, and the more specific one, ours, gets the browser.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _port_error(refused: RefusedError) -> LocalPortError:
    port, address, cause = refused.port, refused.address, refused.cause
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    if cause.errno == errno.EACCES:
        return LocalPortError(
            f"this machine does not allow listening on {where}", "the port may be reserved by the system"
        )
    if cause.errno != errno.EADDRINUSE:
        return LocalPortError(f"cannot listen on {where}: {cause.strerror}")
    return PortInUseError(port, where, holders_of([port])[port])


class PortInUseError(LocalPortError):
    """KT501 with the processes that hold the port."""

    def __init__(self, port: int, where: str, holders: list[PortHolder]) -> None:
        by = describe(holders)
        pids = " ".join(dict.fromkeys(str(holder.pid) for holder in holders if holder.pid))
        more = f"`kirotunnel ports {port}` says what it is"
        hint = f"end {by} (`kill {pids}`), and run the command again; {more}" if pids else None
        super().__init__(f"local address {where} is already in use by {by}", hint)
        self.port = port
        self.holders = holders
