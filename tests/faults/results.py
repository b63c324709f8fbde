"""What the runs of the matrix came to, kept in build/faults.jsonl, and the table that the README shows of them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from faults.expectations import Expected, table
from faults.faults import FAULTS
from faults.states import STATES

FILE: Final = Path(__file__).parents[2] / "build" / "faults.jsonl"
Ends = Mapping[tuple[str, str], tuple[str, ...]]
"""How each combination ended, or may end."""
KINDS: Final = {
    "way": "The connection",
    "remote": "The remote machine",
    "browser": "The browser's side",
    "process": "kirotunnel itself",
}


def write_down(outcomes: Iterable[dict[str, Any]]) -> None:
    """Add outcomes; several processes may do so at once."""
    FILE.parent.mkdir(exist_ok=True)
    text = "".join(json.dumps(outcome) + "\n" for outcome in outcomes)
    descriptor = os.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def read() -> dict[tuple[str, str], dict[str, Any]]:
    """The last outcome of each combination that was run."""
    if not FILE.exists():
        return {}
    outcomes = map(json.loads, FILE.read_text(encoding="utf-8").splitlines())
    return {(outcome["fault"], outcome["state"]): outcome for outcome in outcomes}


def as_expected() -> Ends:
    """How each should end."""
    return {key: expected.ends for key, expected in table().items()}


def as_run() -> Ends:
    """How each did end; where an accident of time decides between two ways that are both right, both."""
    outcomes = read()
    ends = {}
    for key, expected in table().items():
        outcome = outcomes.get(key)
        if outcome is None:
            raise LookupError(f"{key} was not run: scripts/test tests/faults")
        if outcome["wrong"]:
            raise LookupError(f"{key} left something: {outcome['wrong']}")
        ends[key] = expected.ends if outcome["end"] in expected.ends else (outcome["end"],)
    return ends


def grid(ends: Ends) -> Iterator[str]:
    """The lines of the table, in Markdown."""
    yield "| | " + " | ".join(state.heading for state in STATES) + " |"
    yield "|---|" + ":-:|" * len(STATES)
    for fault in FAULTS:
        yield f"| {fault.key} | " + " | ".join(_cell(ends.get((fault.key, state.key))) for state in STATES) + " |"


def page(ends: Ends) -> Iterator[str]:
    """The page that explains the table."""
    yield "# What becomes of a login when something goes wrong\n"
    saved = sum(1 for end in ends.values() if end == ("saved",))
    total = len(ends)
    yield f"""\
Each of {len(FAULTS)} faults was let loose at each of {len(STATES)} states of a login, where it can be there:
{total} combinations, of which {saved} end signed in. The others have their reason below. All run against a real
OpenSSH server on a machine of its own, through a proxy that does what networks do (`tests/faults`). After each one
no process, file or listener of ours is left there (after `kill -9`, and where the machine could not be told: once the
sign-in's time is over), and no listener, task, descriptor or changed terminal here; no callback reached the CLI twice,
and nothing that was said holds a code or a state. `scripts/faults` writes this page and the README's table from the
last run.

`✓`: signed in, as if nothing had been. `KTnnn`: ended with that error (`kirotunnel explain KTnnn`). A number: ended
by a signal, with that exit code.
"""
    yield from grid(ends)
    yield "\n## The states\n"
    for state in STATES:
        yield f"* **{state.heading}**: {state.meaning}"
    yield "\n## The faults\n"
    for kind, title in KINDS.items():
        yield f"{title}:\n"
        for fault in FAULTS:
            if fault.kind == kind:
                yield f"* **{fault.key}**: {fault.meaning}"
        yield ""
    yield "## What is not saved, and why\n"
    whys: dict[str, list[Expected]] = {}
    for expected in table().values():
        if expected.why:
            whys.setdefault(expected.why, []).append(expected)
    for why, where in whys.items():
        yield f"* {_compact(where)}: {why}"


def _compact(where: list[Expected]) -> str:
    """`reset (wait, answer), closed`: with the states where it is not all that there are for that fault."""
    states: dict[str, list[str]] = {}
    for expected in where:
        states.setdefault(expected.fault.key, []).append(expected.state.heading)
    row = Counter(fault for fault, _ in table())
    return ", ".join(
        fault if len(headings) == row[fault] else f"{fault} ({', '.join(headings)})"
        for fault, headings in states.items()
    )


def _cell(end: tuple[str, ...] | None) -> str:
    if end is None:
        return ""
    return " ".join({"saved": "✓", "-9": "137"}.get(word, word) for word in end)
