"""What is made of a port that another login of this user has: it is shared, so nothing is in anybody's way."""

from __future__ import annotations

import errno
from typing import Final

import pytest

from kirotunnel.diagnose.ports import PortFacts, judge_ports
from kirotunnel.local.ports import PortHolder, PortTable
from unit.diagnose.test_checks import PROXIES

HOLDERS: Final = [
    PortHolder(address, 3128, 42, "kirotunnel", "ada", command=("kirotunnel", "login", "box"), mine=True, orphan=True)
    for address in ("127.0.0.1", "::1")
]


def facts(*, shared: bool) -> PortFacts:
    return PortFacts(
        refused={3128: errno.EADDRINUSE},
        shared=frozenset({3128} if shared else ()),
        table=PortTable({3128: HOLDERS}, frozenset(), True),
        reserved=None,
        proxies=PROXIES,
    )


@pytest.mark.parametrize("shared", [True, False])
def test_a_port_that_is_shared_is_no_obstacle_and_its_process_no_leftover(shared: bool) -> None:
    report = judge_ports([3128, 4649], facts(shared=shared))
    taken, free = report.ports
    assert (taken.state, free.state) == ("shared" if shared else "held", "free")
    assert report.all_free is shared
    assert bool(report.stale) is not shared
    (owner,) = taken.holders
    assert (owner.pid, owner.addresses) == (42, ("127.0.0.1", "::1"))
    assert ("leave it" in owner.advice) is shared
