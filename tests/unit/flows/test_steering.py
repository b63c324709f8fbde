"""Which ports are held on the target, and when none is left."""

from __future__ import annotations

import pytest

from kirotunnel.flows.steering import (
    PortFacts,
    busy_there,
    no_port_left,
    port_table,
    ports_to_hold,
    takes_another_listed_port,
)
from kirotunnel.wire.listeners import ListeningPort

LISTED = (3128, 4649, 6588)


@pytest.mark.parametrize(
    ("here", "there", "held"),
    [
        ((), (), ()),
        ((3128,), (), (3128,)),
        ((4649, 3128), (), (3128, 4649)),
        ((), (3128,), ()),
        ((3128,), (3128,), ()),
        ((3128, 6588), (3128, 4649), (6588,)),
        ((8080,), (), ()),
    ],
    ids=["nothing", "one", "in the list's order", "busy there", "busy at both ends", "mixed", "not of the list"],
)
def test_what_is_busy_here_and_free_there_is_held(
    here: tuple[int, ...], there: tuple[int, ...], held: tuple[int, ...]
) -> None:
    facts = PortFacts(here=dict.fromkeys(here, "squid"), there=dict.fromkeys(there, "node"))
    assert ports_to_hold(LISTED, facts) == held


@pytest.mark.parametrize(
    ("here", "there", "method", "code"),
    [
        (2, 0, None, None),
        (2, 0, "google", None),
        (2, 0, "external-idp", "KT501"),
        (1, 0, "external-idp", None),
        (3, 0, None, "KT501"),
        (0, 3, None, "KT402"),
        (3, 3, None, "KT402"),
    ],
)
def test_too_few_ports_are_an_error_that_says_who_holds_them(
    here: int, there: int, method: str | None, code: str | None
) -> None:
    facts = PortFacts(here=dict.fromkeys(LISTED[:here], "squid"), there=dict.fromkeys(LISTED[:there], "node"))
    error = no_port_left(LISTED, facts, host="box", cli="kiro-cli", method=method)
    assert (error.code if error else None) == code
    if error:
        assert [line.split()[0] for line in error.message.splitlines()[1:]] == [str(port) for port in LISTED]


def test_ports_that_are_busy_at_either_end_leave_none() -> None:
    facts = PortFacts(here={3128: "squid (pid 8)", 4649: "ssh (pid 9)"}, there={6588: "node (pid 7)", 4649: "x"})
    error = no_port_left(LISTED, facts, host="box", cli="kiro-cli", method=None)
    assert error is not None
    assert error.code == "KT501"
    assert "--paste" in error.hint
    assert port_table(LISTED, facts, "box") == [
        "3128   here: squid (pid 8)",
        "4649   here: ssh (pid 9); on box: x",
        "6588   on box: node (pid 7)",
    ]


def test_only_what_keeps_the_cli_from_a_port_counts_as_busy_there() -> None:
    rows = [
        ListeningPort("127.0.0.1", 3128, 7, "node"),
        ListeningPort("::1", 4649, 8, "node"),
        ListeningPort("0.0.0.0", 6588),
        ListeningPort("127.0.0.1", 8080, 9, "node"),
    ]
    assert busy_there(rows, LISTED) == {3128: "node (pid 7)", 6588: "a process of another user"}
    assert busy_there(None, LISTED) == {}


@pytest.mark.parametrize(
    ("method", "leg", "another"),
    [(None, 1, True), ("external-idp", 1, True), ("google", 1, False), ("idc", 1, False), (None, 2, False)],
)
def test_only_an_external_provider_takes_a_second_listed_port(method: str | None, leg: int, another: bool) -> None:
    assert takes_another_listed_port(method, leg) is another
