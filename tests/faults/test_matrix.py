"""Every fault at every state of a login ends as the table says, in time, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from faults.expectations import Expected, table
from faults.faults import FAULTS
from faults.lanes import Lanes
from faults.results import write_down
from kirotunnel.errors import KirotunnelError


def _classes(base: type[KirotunnelError]) -> Iterator[type[KirotunnelError]]:
    yield base
    for derived in base.__subclasses__():
        yield from _classes(derived)


EXIT_CODES: Final = {error.code: error.exit_code for error in _classes(KirotunnelError)}


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
    elif outcome["exit_code"] != exit_code(outcome["end"]):
        found.insert(0, f"ended in {outcome['end']} with exit code {outcome['exit_code']}")
    elif outcome["seconds"] > expected.within_s:
        found.insert(0, f"took {outcome['seconds']} s")
    return "\n".join([f"{expected.fault.key} at {expected.state.key}:", *found]) if found else ""


def exit_code(end: str) -> int:
    """The documented exit code of an end."""
    if end == "saved":
        return 0
    return EXIT_CODES[end] if end.startswith("KT") else int(end)
