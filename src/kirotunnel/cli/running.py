"""Run one flow: signals become cancellation, events go out, errors come back as an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import click

from kirotunnel import events as ev
from kirotunnel.cli.main import bug, show_error
from kirotunnel.cli.render import JsonLines, Noticing, Screen
from kirotunnel.cli.threads import DaemonThreads
from kirotunnel.cli.timeline import Timeline
from kirotunnel.errors import InternalError, KirotunnelError
from kirotunnel.flows.environment import Conversation
from kirotunnel.redaction import redacted

_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")


def make_conversation(
    target: str | None, *, as_json: bool, verbose: int, quiet: bool, timeline: Timeline | None = None
) -> Conversation:
    """Who is told, as the options say; without a target it is about this machine."""
    screen = Screen(target, verbose=verbose, quiet=quiet)
    told = JsonLines(screen, target) if as_json else screen
    return Noticing(told, timeline.of(target)) if timeline is not None else told


@dataclass
class Ending:
    """Whom a run's end is about, and who is told. A flow that learns on its way what its targets are changes it."""

    target: str | None
    conversation: Conversation
    outcomes: tuple[ev.TargetResult, ...] = ()
    """How it ended for each of several targets."""
    timeline: Timeline | None = None
    """What draws where the time went, where that was asked for."""


def run_flow(
    target: str | None,
    conversation: Conversation,
    flow: Callable[[], Awaitable[int]],
    *,
    verbose: int = 0,
    timeline: Timeline | None = None,
) -> int:
    """Run a flow for one target to its exit code, and report its failure and the result."""
    return run_to_end(Ending(target, conversation, timeline=timeline), flow, verbose=verbose)


def run_to_end(ending: Ending, flow: Callable[[], Awaitable[int]], *, verbose: int = 0) -> int:
    """Run a flow to its exit code, and report its failure and the result as `ending` says by then."""
    set_up_logging(verbose)
    failed: KirotunnelError | None = None
    try:
        code = asyncio.run(_with_signals(flow))
    except KirotunnelError as exc:
        failed, code = exc, exc.exit_code
    except click.UsageError as exc:
        exc.show()
        code = exc.exit_code
    except Exception as exc:  # the border to what nobody foresaw
        failed = bug(exc)
        code = failed.exit_code
    if failed is not None:
        ending.conversation.event(failure(failed))
        show_error(failed)
    if ending.timeline is not None:
        _draw(ending.timeline)
    outcome = ev.TargetResult(target=ending.target, ok=code == 0, code=failed.code if failed else None)
    ending.conversation.event(ev.Result(ok=code == 0, targets=ending.outcomes or (outcome,)))
    return code


def _draw(timeline: Timeline) -> None:
    """Write the picture. That it cannot be written is said, and changes nothing of how the sign-in went."""
    try:
        timeline.write()
    except OSError as exc:
        click.echo(f"warning: {timeline.file} cannot be written: {exc.strerror or exc}", err=True)


def failure(error: KirotunnelError) -> ev.Failed:
    """The event of an error; what nobody foresaw goes to the log as well."""
    if isinstance(error, InternalError):
        logging.getLogger("kirotunnel").debug("unforeseen", exc_info=error.__cause__)
    return ev.Failed(code=error.code, exit_code=error.exit_code, message=error.message, hint=error.hint)


async def _with_signals(flow: Callable[[], Awaitable[int]]) -> int:
    """Turn the first SIGINT, SIGTERM or SIGHUP into cancellation: what is open is closed, here and there.

    Further ones are passed over while that goes on, until the loop is closed; it is bounded.
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(DaemonThreads())
    task = asyncio.ensure_future(flow())
    received: list[int] = []

    def interrupt(number: int) -> None:
        if not received:
            received.append(number)
            task.cancel()

    for name in _SIGNALS:
        if number := getattr(signal, name, None):
            with contextlib.suppress(NotImplementedError):  # Windows has no such loop method
                loop.add_signal_handler(number, interrupt, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def set_up_logging(verbose: int) -> None:
    """-v: our own log; -vv: that of asyncssh and asyncio as well. What looks like a secret is masked in both."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacting("%(name)s: %(message)s"))
    for name, level in (("kirotunnel", 1), ("asyncssh", 2), ("asyncio", 2)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler] if verbose >= level else [logging.NullHandler()]
        logger.setLevel(logging.DEBUG if verbose >= level else logging.CRITICAL)
        logger.propagate = False
