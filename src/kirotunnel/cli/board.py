"""What a person reads of a run on several targets: each line says which one it is about, and the end sums up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final, Self

import click

from kirotunnel.cli.main import colored
from kirotunnel.cli.render import JsonLines, Noticing, Screen
from kirotunnel.cli.timeline import Timeline
from kirotunnel.errors import KirotunnelError

if TYPE_CHECKING:
    from kirotunnel.flows.environment import Conversation
    from kirotunnel.redaction import Secret
    from kirotunnel.ssh.prompts import Prompts

_MARKS: Final = {True: ("ok", "green"), False: ("failed", "red")}


class Board:
    """The person's side of several targets, as plain lines on stderr; a program's side beside it, where asked for."""

    def __init__(
        self,
        targets: Sequence[str],
        *,
        as_json: bool,
        verbose: int,
        quiet: bool,
        began: float,
        timeline: Timeline | None = None,
    ) -> None:
        self._as_json = as_json
        self._verbose = verbose
        self._quiet = quiet
        self._began = began
        self._timeline = timeline
        self._width = max(map(len, targets))
        self._color = colored()
        self._questions = 0
        self._asked = asyncio.Lock()
        self._held: list[str] = []
        """Lines that came while a question was open."""
        self._views = {target: self.view(target) for target in targets}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def view(self, target: str) -> Screen:
        """The person's side of one target."""
        return TargetLines(self, target, verbose=self._verbose, quiet=self._quiet)

    def conversation(self, target: str) -> Conversation:
        """Who is told of that target."""
        view = self._views[target]
        told = JsonLines(view, target, self._began) if self._as_json else view
        return Noticing(told, self._timeline.of(target)) if self._timeline is not None else told

    def held_back(self, target: str) -> None:
        """One target waits for its turn at the person."""

    def ended(self, target: str, words: str, *, ok: bool) -> None:
        """One target is done, or did not work."""
        self._views[target].tell(words if ok else f"failed: {words}")

    def summary(self, ends: Sequence[tuple[str, str, KirotunnelError | None, bool]], more: str) -> None:
        """How it ended everywhere: each target with its words, its error if there was one, and whether it is well."""
        if not self._quiet:
            self.line("")
        indent = " " * (9 + self._width)
        for target, words, error, ok in ends:
            if self._quiet and error is None:
                continue
            mark, color = _MARKS[ok]
            below = words.replace("\n", f"\n{indent}")
            self.line(f"{self._styled(f'{mark:<7}', color)}{target:<{self._width}}  {below}")
            if error is not None and error.hint:
                self.line(f"{indent}{self._styled('hint:', 'cyan')} {error.hint}")
        if not self._quiet:
            self.line(f"\n{more}")

    def line(self, text: str) -> None:
        """Write a line; while a question is open it waits, so that the person sees what they type."""
        if self._questions:
            self._held.append(text)
        else:
            self._write(text)

    def prompts(self, target: str, inner: Prompts) -> Prompts:
        """The same person: asked one thing at a time, for a target that is named, and not talked to meanwhile."""
        from kirotunnel.ssh.prompts import Nobody

        return inner if isinstance(inner, Nobody) else _Asking(target, inner, self)

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """While a question is open, or waits to be."""
        self._questions += 1
        if self._questions == 1:
            self.questions_begin()
        try:
            async with self._asked:
                yield
        finally:
            self._questions -= 1
            if not self._questions:
                self.questions_end()
            while self._held and not self._questions:
                self._write(self._held.pop(0))

    def questions_begin(self) -> None:
        """The terminal is for the person's answers now."""

    def questions_end(self) -> None:
        """All was answered."""

    def _write(self, text: str) -> None:
        click.echo(text, err=True, color=self._color)

    def _styled(self, text: str, color: str) -> str:
        return click.style(text, fg=color) if self._color else text


class TargetLines(Screen):
    """One target's sentences, each behind its name."""

    def __init__(self, board: Board, target: str, *, verbose: int = 0, quiet: bool = False) -> None:
        super().__init__(target, verbose=verbose, quiet=quiet)
        self._board = board

    def url(self, url: str, authority: str) -> None:
        """The address, on one unwrapped line of its own; whose it is stands before it, whatever else is silenced."""
        self._line(f"The sign-in page on {authority}. If it does not come up in your browser, open this address:")
        self._board.line(url)

    def _line(self, text: str) -> None:
        name = self._styled(f"{self._target}:", fg="cyan")
        for line in text.splitlines():
            self._board.line(f"{name} {line}")


class _Asking:
    """One target's questions."""

    def __init__(self, target: str, inner: Prompts, board: Board) -> None:
        self._target = target
        self._inner = inner
        self._board = board

    async def secret(self, question: str) -> Secret[str] | None:
        """What the person typed, unseen."""
        async with self._board.asking():
            return await self._inner.secret(f"{self._target}: {question}")

    async def answer(self, question: str) -> str | None:
        """What the person typed."""
        async with self._board.asking():
            return await self._inner.answer(f"{self._target}: {question}")

    async def confirm(self, question: str) -> bool | None:
        """Yes or no."""
        async with self._board.asking():
            return await self._inner.confirm(f"{self._target}: {question}")


def board_for(
    targets: Sequence[str],
    *,
    as_json: bool,
    verbose: int,
    quiet: bool,
    began: float,
    timeline: Timeline | None = None,
) -> Board:
    """A live table on a terminal that can show one; plain lines elsewhere, and where more or less was asked for."""
    shared_with_json = as_json and sys.stdout.isatty()
    kind: type[Board] = Board
    if colored() and os.name != "nt" and not verbose and not quiet and not shared_with_json:
        from kirotunnel.cli.live_board import LiveBoard

        kind = LiveBoard
    return kind(targets, as_json=as_json, verbose=verbose, quiet=quiet, began=began, timeline=timeline)


def words_of(error: KirotunnelError) -> str:
    """An error in one phrase."""
    return f"error[{error.code}]: {error.message}"
