"""The table of expectations itself: large enough, with codes that there are, a reason for what is lost, and shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from faults.expectations import table
from faults.faults import FAULTS
from faults.states import STATES
from kirotunnel.diagnose.catalogue import catalogue

ROOT = Path(__file__).parents[2]


def test_it_has_more_than_two_hundred_combinations_and_every_fault_and_state() -> None:
    combinations = table()
    assert len(combinations) >= 200
    assert {fault for fault, _ in combinations} == {fault.key for fault in FAULTS}
    assert {state for _, state in combinations} == {state.key for state in STATES}


def test_every_end_is_a_success_a_signal_or_a_code_that_explain_knows() -> None:
    ends = {end for expected in table().values() for end in expected.ends}
    assert {end for end in ends if end.startswith("KT")} <= set(catalogue())
    assert {end for end in ends if not end.startswith("KT")} == {"saved", "-9", "129", "130", "143"}


def test_what_is_not_saved_has_a_reason_and_what_is_saved_needs_none() -> None:
    assert [key for key, cell in table().items() if (cell.ends == ("saved",)) == bool(cell.why)] == []


def test_the_readme_and_the_page_show_what_is_expected() -> None:
    run = subprocess.run([sys.executable, "scripts/faults", "--check"], cwd=ROOT)
    assert run.returncode == 0, "run scripts/test tests/faults, then scripts/faults"
