"""However many strays come: none is uncounted, and few lines tell of them."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

import properties.conftest  # noqa: F401 - loads the profile: no clock, the same examples each time
from kirotunnel.events import RefusalReason, RequestRefused
from kirotunnel.flows.strays import SINGLY, Strays

REASONS: list[RefusalReason] = ["path", "state", "host", "method", "malformed", "idle"]


def test_each_of_a_few_is_reported() -> None:
    strays = Strays()
    assert strays.describe() == ""
    for _ in range(SINGLY):
        assert strays.refused(1, "path") == [RequestRefused(leg=1, reason="path")]
    assert strays.rest(1) == []
    assert strays.describe() == f"{SINGLY} other requests were refused ({SINGLY} for another path)"


def test_ten_thousand_are_reported_in_sums() -> None:
    strays = Strays()
    reports = [event for _ in range(10_000) for event in strays.refused(1, "state")]
    assert [event.count for event in reports[SINGLY:]] == [100, 200, 400, 800, 1600, 3200]
    assert strays.rest(1) == [RequestRefused(leg=1, reason="state", count=3600)]
    assert strays.rest(1) == []
    assert strays.describe() == "10000 other requests were refused (10000 with another state)"


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(REASONS), st.integers(1, 500)), max_size=20))
def test_the_sum_of_the_reports_is_what_came(batches: list[tuple[int, RefusalReason, int]]) -> None:
    strays = Strays()
    came: Counter[tuple[int, RefusalReason]] = Counter()
    told: Counter[tuple[int, RefusalReason]] = Counter()
    for leg, reason, count in batches:
        came[leg, reason] += count
        for event in [event for _ in range(count) for event in strays.refused(leg, reason)]:
            told[event.leg, event.reason] += event.count
    assert all(told[key] <= came[key] for key in came)
    for event in (event for leg in (1, 2, 3) for event in strays.rest(leg)):
        told[event.leg, event.reason] += event.count
    assert told == came
