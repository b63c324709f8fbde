"""Who listens on which port there: what ss, /proc/net/tcp and lsof print, as values.

Listeners are looked up, never tried: a connection to the callback port would use up the CLI's one visitor.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from kirotunnel.wire.terminal import one_line


@dataclass(frozen=True, slots=True)
class ListeningPort:
    """One listening TCP socket."""

    address: str
    """An IP literal: `127.0.0.1`, `::1`, `0.0.0.0`, `::`."""
    port: int
    pid: int | None = None
    program: str | None = None

    def describe(self) -> str:
        """`node (pid 77)`, or what is known of it."""
        if self.pid is None:
            return "a process of another user"
        return f"{one_line(self.program or 'a process', 60)} (pid {self.pid})"

    @property
    def reachable_by_loopback(self) -> bool:
        """Whether a connection to 127.0.0.1 there arrives at this socket."""
        address = ipaddress.ip_address(self.address)
        if isinstance(address, ipaddress.IPv6Address):
            mapped = address.ipv4_mapped
            return address.is_unspecified or (mapped is not None and str(mapped) == "127.0.0.1")
        return address.is_unspecified or str(address) == "127.0.0.1"

    @property
    def loopback_addresses(self) -> tuple[str, ...]:
        """The loopback addresses there whose connections may arrive at this socket, as literals to dial."""
        address = ipaddress.ip_address(self.address)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_unspecified:
            # On all of IPv6, and so on IPv4 too or not (IPV6_V6ONLY), which the kernel's tables do not show.
            return ("127.0.0.1",) if address.version == 4 else ("127.0.0.1", "::1")
        return (str(address),) if address.is_loopback else ()


def dial_addresses(rows: Iterable[ListeningPort], port: int) -> tuple[str, ...]:
    """The loopback addresses to dial for that port, the likeliest first; none where nothing listens on it there."""
    found = dict.fromkeys(address for row in rows if row.port == port for address in row.loopback_addresses)
    return tuple(sorted(found, key=lambda address: {"127.0.0.1": 0, "::1": 1}.get(address, 2)))


MAX_PORT: Final = 65535
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_SS: Final = re.compile(r"^(?:LISTEN\s+)?\d+\s+\d+\s+(?P<local>\S+):(?P<port>[0-9]{1,5})\s+\S+(?:\s+(?P<rest>.*))?$")
_SS_USER: Final = re.compile(r"\(\(\"(?P<program>[^\"]*)\",pid=(?P<pid>[0-9]{1,10})\b")
_PROC: Final = re.compile(
    r"^\s*\d+: (?P<address>[0-9A-F]{8}|[0-9A-F]{32}):(?P<port>[0-9A-F]{4}) \S+ 0A "
    r"(?:\S+ ){3}\s*(?P<uid>\d{1,10})\s+\d+ (?P<inode>\d+)"
)
_SOCKET: Final = re.compile(r"^/proc/(?P<pid>[0-9]{1,10}) (?P<inode>\d+) ?(?P<program>.*)$")


def parse_ss(lines: Iterable[str]) -> Iterator[ListeningPort]:
    """Rows of `ss -ltnpH`."""
    for line in lines:
        if not (row := _SS.match(line.strip())):
            continue
        user = _SS_USER.search(row["rest"] or "")
        address = row["local"].split("%")[0].strip("[]")
        address = {"*": "::"}.get(address, address)
        if _is_address(address) and int(row["port"]) <= MAX_PORT:
            pid, program = (int(user["pid"]), user["program"]) if user else (None, None)
            yield ListeningPort(address, int(row["port"]), pid, program)


def parse_proc(lines: Iterable[str], sockets: Iterable[str] = ()) -> Iterator[ListeningPort]:
    """Rows of /proc/net/tcp and tcp6; `sockets` are rows `/proc/PID INODE PROGRAM` of the user's own processes."""
    owners = {row["inode"]: row for line in sockets if (row := _SOCKET.match(line))}
    for line in lines:
        if not (row := _PROC.match(line)):
            continue
        owner = owners.get(row["inode"])
        pid, program = (int(owner["pid"]), owner["program"] or None) if owner else (None, None)
        yield ListeningPort(_proc_address(row["address"]), int(row["port"], 16), pid, program)


def parse_proc_users(lines: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    """Address, port and user number of each listener in rows of /proc/net/tcp and tcp6."""
    for line in lines:
        if row := _PROC.match(line):
            yield _proc_address(row["address"]), int(row["port"], 16), int(row["uid"])


def parse_reserved_ranges(text: str) -> list[tuple[int, int]]:
    """Linux's ip_local_reserved_ports: `8080,9148-9150`."""
    return [(int(row[1]), int(row[2] or row[1])) for row in re.finditer(r"\b([0-9]{1,5})(?:-([0-9]{1,5}))?\b", text)]


def parse_excluded_ranges(text: str) -> list[tuple[int, int]]:
    """Windows' `netsh interface ipv4 show excludedportrange`: rows of a first and a last port, in any language."""
    rows = (re.fullmatch(r"\s*([0-9]{1,5})\s+([0-9]{1,5})\s*\*?\s*", line) for line in text.splitlines())
    return [(int(row[1]), int(row[2])) for row in rows if row]


def parse_lsof(lines: Iterable[str]) -> Iterator[ListeningPort]:
    """Fields of `lsof -nP -iTCP -sTCP:LISTEN -F pcn`: a line a field, its letter first."""
    pid: int | None = None
    program: str | None = None
    for line in lines:
        key, value = line[:1], line[1:].strip()
        if key == "p":
            pid, program = int(value) if _NUMBER.fullmatch(value) else None, None
        elif key == "c":
            program = value
        elif key == "n":
            address, _, port = value.rpartition(":")
            address = {"*": "::"}.get(address, address.strip("[]"))
            if _NUMBER.fullmatch(port) and int(port) <= MAX_PORT and _is_address(address):
                yield ListeningPort(address, int(port), pid, program)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _proc_address(text: str) -> str:
    # The kernel prints each 32-bit word in the machine's byte order: little-endian on all that kiro-cli is built for.
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    address = ipaddress.ip_address(struct.pack(f"<{len(words)}I", *words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return f"::ffff:{mapped}" if mapped else str(address)  # Python writes it so from 3.13 on
