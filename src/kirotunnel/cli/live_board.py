"""The live table of several targets on a terminal: one row each, those that need the person first. Drawn with rich."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kirotunnel import events as ev
from kirotunnel.cli.board import Board, TargetLines
from kirotunnel.cli.render import Screen
from kirotunnel.wire.terminal import one_line

REDRAW_S: Final = 0.1
"""Seconds between two pictures at least: fifty hosts change more often than anybody reads."""
TICK_S: Final = 1.0
"""Seconds between two pictures at most: the times in it go on."""
_SPARE_LINES: Final = 3
"""Lines of the terminal that the table leaves free."""


class Need(IntEnum):
    """What a target waits for; the smaller, the more the person should see it."""

    PERSON = 0
    FAILED = 1
    WORK = 2
    TURN = 3
    NOTHING = 4
    START = 5


_STYLES: Final = {
    Need.PERSON: "bold yellow",
    Need.FAILED: "red",
    Need.WORK: "",
    Need.TURN: "dim",
    Need.NOTHING: "green",
    Need.START: "dim",
}
_NAMES: Final = {
    Need.PERSON: "waiting for you",
    Need.FAILED: "failed",
    Need.WORK: "at work",
    Need.TURN: "waiting for their turn",
    Need.NOTHING: "done",
    Need.START: "not begun",
}


@dataclass(frozen=True, slots=True)
class Row:
    """Where one target stands."""

    target: str
    need: Need = Need.START
    words: str = ""
    began: float | None = None
    ended: float | None = None

    def seconds(self, now: float) -> int | None:
        """How long it goes on, or went."""
        return None if self.began is None else int((self.ended or now) - self.began)


def step(event: ev.Event) -> tuple[Need, str] | None:
    """What an event changes in its target's row; None for nothing."""
    match event:
        case ev.Connecting():
            return Need.WORK, "connecting"
        case ev.Connected():
            return Need.WORK, "looking around"
        case ev.RemoteCli(path=path):
            return Need.WORK, f"asks {one_line(path).rpartition('/')[2]}"
        case ev.LoginStarted():
            return Need.WORK, "begins to sign in"
        case ev.BrowserOpened(leg=leg, how=how):
            where = "open the address above" if how == "printed" else "waits for you in the browser"
            return Need.PERSON, where if leg == 1 else f"{where}, page {leg}"
        case ev.DeviceCode(user_code=code):
            return Need.PERSON, f"waits for you to confirm the code {one_line(code)}"
        case ev.CallbackReceived(outcome=outcome):
            return Need.WORK, "the browser came back" if outcome == "granted" else "denied in the browser"
        case ev.ConnectionLost():
            return Need.WORK, "connection lost"
    return None


def visible(rows: Sequence[Row], lines: int) -> tuple[list[Row], str]:
    """The rows that a table of so many lines shows, in their own order, and a last line on the others, if any."""
    if len(rows) <= lines:
        return list(rows), ""
    chosen = sorted(range(len(rows)), key=lambda index: (rows[index].need, index))[: max(lines - 1, 1)]
    shown = [rows[index] for index in sorted(chosen)]
    hidden = Counter(row.need for index, row in enumerate(rows) if index not in set(chosen))
    parts = [f"{count} {_NAMES[need]}" for need, count in sorted(hidden.items())]
    return shown, f"and {', '.join(parts)}"


class LiveBoard(Board):
    """The table, while the run goes on; the addresses and what else must stay is printed above it."""

    def __init__(self, targets: Sequence[str], **how: Any) -> None:
        self._rows = {target: Row(target) for target in targets}
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=False)
        self._live: Live | None = None
        self._due: asyncio.TimerHandle | None = None
        self._drawn = 0.0
        super().__init__(targets, **how)

    def __enter__(self) -> LiveBoard:
        self._start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop()

    def view(self, target: str) -> Screen:
        """The person's side of one target: its row."""
        return _RowView(self, target)

    def change(self, target: str, need: Need, words: str) -> None:
        """A target stands elsewhere now."""
        row = self._rows[target]
        now = time.monotonic()
        ended = now if need in {Need.FAILED, Need.NOTHING} else None
        self._rows[target] = replace(row, need=need, words=words, began=row.began or now, ended=ended)
        self._redraw_soon(REDRAW_S)

    def held_back(self, target: str) -> None:
        """One target waits for its turn at the person."""
        self.change(target, Need.TURN, "waits for its turn")

    def ended(self, target: str, words: str, *, ok: bool) -> None:
        """One target is done, or did not work."""
        self.change(target, Need.NOTHING if ok else Need.FAILED, words)

    def _write(self, text: str) -> None:
        # Live moves what is printed by its console above the table; long addresses are left to the terminal to wrap.
        if self._live is not None:
            self._console.print(Text.from_ansi(text), soft_wrap=True)
        else:
            super()._write(text)

    # --- drawing -----------------------------------------------------------------------------------------------------

    def questions_begin(self) -> None:
        """Take the table away."""
        self._stop()

    def questions_end(self) -> None:
        """Draw it again."""
        self._start()

    def _start(self) -> None:
        self._live = Live(
            self._picture(),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()
        self._redraw_soon(0)

    def _stop(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _redraw_soon(self, after: float) -> None:
        loop = asyncio.get_running_loop()
        when = max(loop.time() + after, self._drawn + REDRAW_S)
        if self._live is None or (self._due is not None and self._due.when() <= when):
            return
        if self._due is not None:
            self._due.cancel()
        self._due = loop.call_at(when, self._redraw)

    def _redraw(self) -> None:
        self._due = None
        if self._live is not None:
            self._drawn = asyncio.get_running_loop().time()
            self._live.update(self._picture(), refresh=True)
            self._redraw_soon(TICK_S)

    def _picture(self) -> Group:
        now = time.monotonic()
        rows, rest = visible(list(self._rows.values()), self._console.size.height - _SPARE_LINES)
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column(no_wrap=True, justify="right")
        for row in rows:
            seconds = row.seconds(now)
            words = row.words.partition("\n")[0]
            table.add_row(
                Text(row.target, style="cyan"),
                Text(words, style=_STYLES[row.need]),
                Text("" if seconds is None else f"{seconds} s", style="dim"),
            )
        return Group(table, Text(rest, style="dim")) if rest else Group(table)


class _RowView(TargetLines):
    """One target's side: what happens changes its row, what the person needs is printed."""

    _board: LiveBoard

    def event(self, event: ev.Event) -> None:
        """Change the row; print what is needed for longer."""
        if isinstance(event, ev.DeviceCode | ev.PortSteered):
            super().event(event)
        if (change := step(event)) is not None:
            self._board.change(self._target, *change)
