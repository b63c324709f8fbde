"""What a person reads of a run on several targets: each line says which one it is about, and the end sums up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from kirotunnel.cli.main import colored
from kirotunnel.cli.render import JsonLines, Noticing, Screen
from kirotunnel.cli.timeline import Timeline
from kirotunnel.errors import KirotunnelError

if TYPE_CHECKING:
    from kirotunnel.flows.environment import Conversation

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
        self._views = {target: self._view(target, verbose=verbose, quiet=quiet) for target in targets}
        self._as_json = as_json
        self._quiet = quiet
        self._began = began
        self._timeline = timeline
        self._width = max(map(len, targets))
        self._color = colored()

    def _view(self, target: str, *, verbose: int, quiet: bool) -> Screen:
        return TargetLines(target, verbose=verbose, quiet=quiet)

    def conversation(self, target: str) -> Conversation:
        """Who is told of that target."""
        view = self._views[target]
        told = JsonLines(view, target, self._began) if self._as_json else view
        return Noticing(told, self._timeline.of(target)) if self._timeline is not None else told

    def ended(self, target: str, words: str, *, ok: bool) -> None:
        """One target is done, or did not work."""
        self._views[target].tell(words if ok else f"failed: {words}")

    def summary(self, ends: Sequence[tuple[str, str, KirotunnelError | None, bool]], more: str) -> None:
        """How it ended everywhere: each target with its words, its error if there was one, and whether it is well."""
        if not self._quiet:
            self._line("")
        for target, words, error, ok in ends:
            if self._quiet and error is None:
                continue
            mark, color = _MARKS[ok]
            self._line(f"{self._styled(f'{mark:<7}', color)}{target:<{self._width}}  {words}")
            if error is not None and error.hint:
                self._line(f"{'':7}{'':{self._width}}  {self._styled('hint:', 'cyan')} {error.hint}")
        if not self._quiet:
            self._line(f"\n{more}")

    def _line(self, text: str) -> None:
        click.echo(text, err=True, color=self._color)

    def _styled(self, text: str, color: str) -> str:
        return click.style(text, fg=color) if self._color else text


class TargetLines(Screen):
    """One target's sentences, each behind its name."""

    def url(self, url: str, authority: str) -> None:
        """The address, on one unwrapped line of its own; whose it is stands before it, whatever else is silenced."""
        self._line(f"The sign-in page on {authority}. If it does not come up in your browser, open this address:")
        click.echo(url, err=True)

    def _line(self, text: str) -> None:
        name = self._styled(f"{self._target}:", fg="cyan")
        for line in text.splitlines():
            super()._line(f"{name} {line}")


def words_of(error: KirotunnelError) -> str:
    """An error in one phrase."""
    return f"error[{error.code}]: {error.message}"
