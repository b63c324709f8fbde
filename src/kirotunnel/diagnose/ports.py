"""The callback ports of this machine: free or held, by whom, what that is and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from kirotunnel.diagnose.suspects import recognise
from kirotunnel.events import Port, PortOwner
from kirotunnel.local.callback_ports import shared_by_others
from kirotunnel.local.loopback import refused_ports
from kirotunnel.local.ports import PortHolder, PortTable, ReservedBy, end_process, look_up, reserved_ranges
from kirotunnel.local.proxies import ProxyFacts, look_at_proxies
from kirotunnel.wire.command_line import shown_command

_SHARED = "leave it: a port is shared among your own logins"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortFacts:
    """What there is to know, before anybody thinks about it."""

    refused: dict[int, int]
    """Ports that could not be bound, each with the errno."""
    shared: frozenset[int] = frozenset()
    """Those of them that a login of this user shares with others."""
    table: PortTable
    reserved: tuple[ReservedBy, list[tuple[int, int]]] | None
    proxies: ProxyFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class PortReport:
    """The opinion."""

    ports: tuple[Port, ...]
    notes: tuple[str, ...]
    """What concerns all of them."""

    @property
    def all_free(self) -> bool:
        """Whether a login could have any of them."""
        return all(port.state in {"free", "shared"} for port in self.ports)

    @property
    def stale(self) -> tuple[PortOwner, ...]:
        """What `--free` may end, each process once."""
        owners = {owner.pid: owner for port in self.ports for owner in port.holders if owner.stale}
        return tuple(owners.values())


def look_at_ports(ports: Sequence[int]) -> PortFacts:
    """Gather. Takes up to 100 ms, or two seconds for a port of a login that hangs: call it from a thread."""
    refused = refused_ports(ports)
    return PortFacts(
        refused=refused,
        shared=shared_by_others(refused) if refused else frozenset(),
        table=look_up(ports),
        reserved=reserved_ranges(),
        proxies=look_at_proxies(),
    )


def judge_ports(ports: Sequence[int], facts: PortFacts) -> PortReport:
    """What to make of the facts. Pure."""
    return PortReport(ports=tuple(_judge(port, facts) for port in ports), notes=tuple(_notes(facts)))


def end_stale(owners: Iterable[PortOwner]) -> list[PortOwner]:
    """Ask each of these processes to end, and wait; gives those that did not."""
    return [
        owner
        for owner in owners
        if owner.pid is not None
        and not end_process(owner.pid, datetime.fromisoformat(owner.since) if owner.since else None)
    ]


def _judge(port: int, facts: PortFacts) -> Port:
    holders = facts.table.holders.get(port, [])
    why = facts.refused.get(port)
    notes = []
    by, ranges = facts.reserved or ("ip_local_reserved_ports", [])
    reserved = any(first <= port <= last for first, last in ranges)
    if reserved and by == "excludedportrange":
        notes.append("in a range that Windows keeps for itself: `netsh interface ipv4 show excludedportrange tcp`")
    elif reserved:
        notes.append("in net.ipv4.ip_local_reserved_ports: no program gets it by chance, and a login may have it")
    if port in facts.table.lingering:
        notes.append("ended connections linger here (TIME_WAIT); they keep no login from the port")
    if why is None:
        return Port(port=port, state="free", notes=tuple(notes))
    if why != errno.EADDRINUSE:
        return Port(port=port, state="reserved", notes=tuple(notes or ["the system does not let this user have it"]))
    if not holders:
        notes.append("in use by a process that could not be seen; root sees it: `sudo lsof -nP -iTCP`")
    if port in facts.shared:
        notes.append("your next login shares this port with the one that is waiting here; there is nothing to do")
        shared = [replace(owner, advice=_SHARED, stale=False) for owner in _owners(holders)]
        return Port(port=port, state="shared", holders=tuple(shared), notes=tuple(notes))
    return Port(port=port, state="held", holders=tuple(_owners(holders)), notes=tuple(notes))


def _owners(holders: list[PortHolder]) -> Iterable[PortOwner]:
    for _, group in groupby(sorted(holders, key=_who), key=_who):
        sockets = list(group)
        first, suspect = sockets[0], recognise(sockets[0])
        yield PortOwner(
            addresses=tuple(sorted({socket.address for socket in sockets})),
            pid=first.pid,
            program=first.program,
            user=first.user,
            since=first.since.isoformat() if first.since else None,
            command=shown_command(first.command),
            what=suspect.name,
            advice=suspect.advice,
            stale=suspect.stale,
        )


def _who(holder: PortHolder) -> tuple[int, str]:
    return holder.pid or 0, holder.user or ""


def _notes(facts: PortFacts) -> Iterable[str]:
    proxies = facts.proxies
    if not facts.table.complete:
        yield "This system shows only your own sockets: who else holds a port can be seen as root."
    elif any(owner.pid is None for holders in facts.table.holders.values() for owner in holders):
        yield "The processes of other users can be seen as root only."
    if proxies.caught:
        names = " and ".join(proxies.caught)
        yield f"A proxy ({proxies.http_proxy}) would be asked for {names}: add localhost,127.0.0.1,::1 to NO_PROXY."
    if proxies.pac:
        yield "A PAC file decides about proxies: it must answer DIRECT for localhost and 127.0.0.1."
    if not proxies.loopback_works:
        yield "A connection of this machine to itself did not arrive: a firewall or a transparent proxy takes it."
