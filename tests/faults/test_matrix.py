"""Every fault at every state of a login ends as the table says, in time, and leaves nothing behind."""

from __future__ import annotations

from typing import Any

import pytest

from faults.expectations import Expected, table
from faults.faults import FAULTS
from faults.lanes import Lanes
from faults.results import write_down


@pytest.mark.remote
@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", [fault.key for fault in FAULTS])
def test_what_a_fault_does_at_each_state(lanes: Lanes, fault: str) -> None:
    row = [expected for (key, _), expected in table().items() if key == fault]
    outcomes = lanes.run([(fault, expected.state.key) for expected in row])
    write_down(outcomes)
    assert [text for pair in zip(row, outcomes, strict=True) if (text := difference(*pair))] == []


def difference(expected: Expected, outcome: dict[str, Any]) -> str:
    """What is not as it should be; nothing where all is well."""
    found = [*outcome["wrong"]]
    if outcome["end"] not in expected.ends:
        found.insert(
            0, f"ended in {outcome['end']}, not {expected.ends}: {outcome.get('words')} {outcome.get('heard')}"
        )
    elif outcome["seconds"] > expected.within_s:
        found.insert(0, f"took {outcome['seconds']} s")
    return "\n".join([f"{expected.fault.key} at {expected.state.key}:", *found]) if found else ""
