"""Which callback port the remote CLI is led to: one that is free at both ends. Pure.

The CLI takes the first free port of a fixed list, and the number cannot be changed on the way (the sign-in service
accepts no other), so a port that is busy here must not be the one it takes. It is held there before the CLI starts.

How long a hold lasts: until the CLI has bound its last port of that list. Only an organization's identity provider has
two, the second of which is taken when the first callback has arrived. So with --method of another kind the holds go at
the first page; otherwise they go at the second page, or with the CLI. A hold refuses connections and costs nothing,
while holding again in between would delay the first callback, and on a server that lets go only with the connection
(Dropbear) it would mean one more connection to authenticate.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from kirotunnel.errors import CallbackPortError, KirotunnelError, LocalPortError
from kirotunnel.flows.login_plan import Method
from kirotunnel.wire.listeners import ListeningPort


@dataclass(frozen=True, slots=True, kw_only=True)
class PortFacts:
    """Who has which of the CLI's ports, at both ends, as a phrase for a person."""

    here: Mapping[int, str] = field(default_factory=dict)
    there: Mapping[int, str] = field(default_factory=dict)
    """Empty as well where the target has no means to tell."""


def busy_there(rows: Collection[ListeningPort] | None, ports: Collection[int]) -> dict[int, str]:
    """Which of these ports the CLI will not get on the target, and who has them."""
    return {row.port: row.describe() for row in rows or () if row.port in ports and row.reachable_by_loopback}


def ports_to_hold(listed: Sequence[int], facts: PortFacts) -> tuple[int, ...]:
    """The listed ports that the CLI could take and we could not: busy here, free there."""
    return tuple(port for port in listed if port in facts.here and port not in facts.there)


def ports_needed(method: Method | None) -> int:
    """How many listed ports a sign-in takes at least."""
    return 2 if method == "external-idp" else 1


def takes_another_listed_port(method: Method | None, leg: int) -> bool:
    """Whether the CLI may still take a port of its list after this leg."""
    return leg == 1 and method in {None, "external-idp"}


def no_port_left(
    listed: Sequence[int], facts: PortFacts, *, host: str, cli: str, method: Method | None
) -> KirotunnelError | None:
    """The error where fewer ports are free at both ends than the sign-in takes; else None, as where any will do."""
    if not listed:
        return None
    free = [port for port in listed if port not in facts.here and port not in facts.there]
    needed = ports_needed(method)
    if len(free) >= needed:
        return None
    table = "\n".join(f"  {row}" for row in port_table(listed, facts, host))
    if all(port in facts.there for port in listed):
        return CallbackPortError(f"all callback ports are in use on {host}, so {cli} cannot take one:\n{table}")
    few = "no callback port is" if not free else f"only callback port {free[0]} is"
    why = "" if needed == 1 else f", and a sign-in with {method} takes {needed}"
    return LocalPortError(
        f"{few} free both here and on {host}{why}:\n{table}",
        "end one of the processes that hold them, or sign in with --paste or --flow device, which bind no port here",
    )


def with_paste(listed: Sequence[int], facts: PortFacts, method: Method | None) -> PortFacts:
    """What counts of the facts where the person pastes the address, so that a port that is busy here will do, too.

    One that is free is still better: what listens on the other would get the browser, and with it the code.
    """
    free = [port for port in listed if port not in facts.here and port not in facts.there]
    return facts if len(free) >= ports_needed(method) else PortFacts(there=facts.there)


def port_table(listed: Sequence[int], facts: PortFacts, host: str) -> list[str]:
    """A line for each port: who holds it at which end."""
    rows = []
    for port in listed:
        ends = [f"here: {facts.here[port]}"] if port in facts.here else []
        ends += [f"on {host}: {facts.there[port]}"] if port in facts.there else []
        rows.append(f"{port:<6} {'; '.join(ends) or 'free'}")
    return rows
