"""What must come of each fault at each state of a login. A pure table: the matrix compares it with what happens.

`ok` is a login that ends signed in, as if nothing had been; a number below 200 is the exit code of a process that was
ended by a signal (`k9`: killed); any other is the KT code with which the login ends; `·` cannot be, or would be another
row again. Two codes stand for an accident of time. What is not saved has its reason below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from faults.faults import FAULTS, Fault
from faults.states import STATES, State

GRID: Final = """
                connect hands auth look steer start page wait callb answ betw leg2 prompt code whoami clean
stall            ok     ok    ok   ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
slow             ok     ok    ok   ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
pieces           ok     ok    ok   ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
reset            301    301   301  ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
closed           301    301   301  ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
corrupt          ·      ·     301  ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
silent           306    306   306  ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
silent_up        306    306   306  ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
silent_down      306    306   306  ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
outage           301    301   301  ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
flapping         301    301   301  ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
gone             301    301   301  305  305   305   305  305  305   305  305  305  305    305  305    ok
session_killed   ·      301   301  ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
sshd_restarted   ·      ·     ·    ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
reboot           ·      ·     ·    ok   ok    305   305  305  305   305  305  305  305    305  ok     ok
CLI_killed       ·      ·     ·    ·    ·     404   404  404  404   404  404  404  404    404  ·      ·
shell_killed     ·      ·     ·    308  ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
holder_killed    ·      ·     ·    ·    ·     404   404  404  404   404  404  404  404    404  ·      ·
disk_full        ·      ·     ·    ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
directory_gone   ·      ·     ·    ok   404   404   404  404  404   404  404  404  404    404  ok     ok
port_taken       ·      ·     ·    ·    ·     ·     ok   ·    ·     ·    501  ·    ·      ·    ·      ·
no_browser       ·      ·     ·    ·    ·     ok    ok   ·    ·     ·    ok   ·    ·      ·    ·      ·
twice            ·      ·     ·    ·    ·     ok    ok   ok   ·     ·    ok   ok   ·      ·    ·      ·
denied           ·      ·     ·    ·    ·     601   601  601  ·     ·    601  601  ·      603  ·      ·
storm            ·      ·     ·    ·    ·     ·     ·    ok   ok    ok   ·    ok   ·      ·    ·      ·
Ctrl-C           130    130   130  130  130   130   130  130  130   130  130  130  130    130  130    130
SIGTERM          143    143   143  143  143   143   143  143  143   143  143  143  143    143  143    143
terminal_closed  129    129   129  129  129   129   129  129  129   129  129  129  129    129  129    129
kill_-9          k9     k9    k9   k9   k9    k9    k9   k9   k9    k9   k9   k9   k9     k9   k9     k9
asleep           306    306   301  ok   ok    ok    ok   ok   ok    ok   ok   ok   ok     ok   ok     ok
"""

NOTHING_BEGUN: Final = "nothing of the sign-in had begun: ssh would have ended here as well; run the command again"
REASONS: Final = {
    "305": "the other machine was not reached again before the time was over",
}
REASONS_OF: Final = {
    "CLI_killed": "the login itself is gone, with what the person had done for it so far",
    "reboot": "nothing survives that: the CLI was gone when the machine came back",
    "holder_killed": "the CLI ends with what holds it",
    "directory_gone": "the holder keeps all that it knows there, and ends what it cannot look after",
    "shell_killed": "nothing of the sign-in had begun",
    "port_taken": "the second page's callback can come to this port only, and it is somebody else's",
    "denied": "the person said no",
    "Ctrl-C": "as asked",
    "SIGTERM": "as asked",
    "terminal_closed": "as asked",
    "kill_-9": "as asked; a killed program cannot put the terminal back, your shell or `reset` does",
}

BOUND_S: Final = 25.0
"""Seconds from the fault to the end of the login."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One cell."""

    fault: Fault
    state: State
    ends: tuple[str, ...]
    """One of these, as `Outcome.end` has it."""
    why: str
    """Why it is not saved, where it is not."""
    within_s: float = BOUND_S


def table() -> dict[tuple[str, str], Expected]:
    """Every combination that can be, by the keys of its fault and state, row by row."""
    return {(expected.fault.key, expected.state.key): expected for expected in _rows()}


def _rows() -> Iterator[Expected]:
    faults = {fault.key: fault for fault in FAULTS}
    _, _, *rows = GRID.split("\n")
    for row in rows[:-1]:
        word, *cells = row.split()
        fault = faults[word.replace("_", " ")]
        for state, cell in zip(STATES, cells, strict=True):
            if cell != "·":
                yield Expected(fault, state, tuple(map(_end, cell.split("/"))), _why(word, cell))


def _end(word: str) -> str:
    if word == "ok":
        return "saved"
    if word == "k9":
        return "-9"
    return f"KT{word}" if int(word) >= 200 else word


def _why(fault: str, cell: str) -> str:
    if cell in {"301", "306"}:
        return NOTHING_BEGUN
    return "" if cell == "ok" else REASONS_OF.get(fault) or REASONS[cell.split("/")[0]]
