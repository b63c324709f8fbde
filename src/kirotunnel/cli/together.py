"""A command on several targets side by side: what they share, who is told of what, and how it ended for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from kirotunnel import events as ev
from kirotunnel.cli.board import Board, board_for, words_of
from kirotunnel.cli.errand import Done, Errand
from kirotunnel.cli.render import Noticing
from kirotunnel.cli.running import Ending, failure
from kirotunnel.errors import KirotunnelError

if TYPE_CHECKING:
    from kirotunnel.flows.fleet import Outcome

T = TypeVar("T")
_INTERRUPTED = "interrupted"


class Together(Generic[T]):
    """One run; `chosen` are the parameters that are about all of it, `prepared` each target's options."""

    def __init__(
        self,
        errand: Errand[T],
        chosen: dict[str, Any],
        each: dict[str, dict[str, Any]],
        prepared: dict[str, T],
    ) -> None:
        self._errand = errand
        self._chosen = chosen
        self._each = each
        self._prepared = prepared
        self._over: dict[str, Outcome[Done]] = {}

    async def run(self, ending: Ending, began: float) -> int:
        """Do it; after Ctrl-C as well it is said what is done by then."""
        chosen = self._chosen
        board = board_for(
            list(self._each),
            as_json=chosen["as_json"],
            verbose=chosen["verbose"],
            quiet=chosen["quiet"],
            began=began,
            timeline=ending.timeline,
        )
        try:
            with board:
                await self._perform(board)
        finally:
            ending.outcomes = tuple(self._result(target) for target in self._each)
            self._sum_up(board)
        return 0 if all(result.ok for result in ending.outcomes) else 1

    @property
    def failed(self) -> list[str]:
        """The targets on which it is not done."""
        return [target for target in self._each if not self._result(target).ok]

    async def _perform(self, board: Board) -> None:
        from kirotunnel.flows.fleet import Turns, run_each
        from kirotunnel.local.callback_ports import CallbackPorts
        from kirotunnel.ssh.company import Company

        errand = self._errand
        company, ports, turns = Company(), CallbackPorts(), Turns(self._chosen.get("tabs") or len(self._each))

        async def one(target: str) -> Done:
            turn = turns.turn(target, held_back=lambda: board.held_back(target))
            told = board.conversation(target)
            environment = errand.environment(self._each[target], Noticing(told, turn.notice))
            environment = replace(
                environment,
                prompts=board.prompts(target, environment.prompts),
                terminal=None,  # it can be one CLI's at a time only
                company=company,
                ports=ports,
                own_pages=True,
                turn=turn if errand.takes_turns else None,
            )
            try:
                return await errand.perform(self._prepared[target], environment)
            finally:
                turn.end()

        def ended(outcome: Outcome[Done]) -> None:
            self._over[outcome.target] = outcome
            if outcome.error is not None:
                board.conversation(outcome.target).event(failure(outcome.error))
            board.ended(outcome.target, self._words(outcome.target), ok=self._result(outcome.target).ok)

        await run_each(list(self._each), one, max_parallel=self._chosen["max_parallel"], ended=ended)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _sum_up(self, board: Board) -> None:
        """Each target's end: an answer goes to stdout, all else is for the person."""
        answers = {} if self._chosen["as_json"] else self._answers()
        rows = [
            (target, self._words(target), self._error(target), self._result(target).ok)
            for target in self._each
            if target not in answers
        ]
        board.summary(rows, self._errand.sum(len(self._each) - len(self.failed), len(self._each)))
        width = max(map(len, self._each))
        for target, answer in answers.items():
            click.echo(f"{target:<{width}}  {answer}")

    def _answers(self) -> dict[str, str]:
        ends = ((target, self._over[target].done) for target in self._each if target in self._over)
        return {target: done.answer for target, done in ends if done is not None and done.answer is not None}

    def _result(self, target: str) -> ev.TargetResult:
        outcome, error = self._over.get(target), self._error(target)
        done = outcome.done if outcome is not None else None
        return ev.TargetResult(target=target, ok=done is not None and done.ok, code=error.code if error else None)

    def _error(self, target: str) -> KirotunnelError | None:
        outcome = self._over.get(target)
        return outcome.error if outcome is not None else None

    def _words(self, target: str) -> str:
        outcome = self._over.get(target)
        if outcome is None:
            return _INTERRUPTED
        if outcome.error is not None:
            return words_of(outcome.error)
        return outcome.done.words if outcome.done is not None else ""


async def show_plans(
    plan: Callable[[T], Awaitable[str]], prepared: dict[str, T], ending: Ending, *, as_json: bool
) -> int:
    """Print what would be done for each target; a target without a plan says why."""
    results: list[ev.TargetResult] = []
    for number, (target, options) in enumerate(prepared.items()):
        error: KirotunnelError | None = None
        try:
            text = await plan(options)
        except KirotunnelError as exc:
            error, text = exc, f"target    {target}\n          {words_of(exc)}"
        click.echo(("\n" if number else "") + text, err=as_json)
        results.append(ev.TargetResult(target=target, ok=error is None, code=error.code if error else None))
    ending.outcomes = tuple(results)
    return 0 if all(result.ok for result in results) else 1
