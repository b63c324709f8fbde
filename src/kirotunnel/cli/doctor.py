"""`kirotunnel doctor`: the report of what can break a login, here and on a target."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from kirotunnel.cli.main import colored
from kirotunnel.cli.options import (
    cli_option,
    fill_from_settings,
    of_target,
    output_options,
    reaching_options,
    targets_options,
)
from kirotunnel.cli.several import (
    chosen_targets,
    conversation_about,
    names_targets,
    only_name,
    parameters_of,
)

if TYPE_CHECKING:
    from kirotunnel import events as ev
    from kirotunnel.cli.running import Ending
    from kirotunnel.diagnose.checks import Check
    from kirotunnel.diagnose.doctor import Report, Section
    from kirotunnel.diagnose.findings import Finding
    from kirotunnel.diagnose.probes import HereFacts
    from kirotunnel.flows.environment import Conversation

_COLORS: Final = {"ok": "green", "info": "cyan", "warning": "yellow", "error": "red"}
_ORDER: Final = ("error", "warning", "info")


@click.command("doctor")
@targets_options
@cli_option
@reaching_options
@output_options
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Check this machine, and each TARGET if given, for everything that can break a login.

    Changes nothing, and never connects to a callback port. Exits with 1 when something is wrong that will break one.
    """
    chosen = ctx.params
    began = time.monotonic()
    from kirotunnel import events as ev
    from kirotunnel.cli.running import Ending, run_to_end

    name = only_name(chosen) if names_targets(chosen) else None
    ending = Ending(name, conversation_about(name, chosen))

    async def flow() -> int:
        if name is not None or not names_targets(chosen):
            targets = [] if name is None else [name]
            fill_from_settings(ctx, name)
        else:
            targets = await chosen_targets(ctx, ending.conversation)
        if len(targets) == 1:
            ending.target, ending.conversation = targets[0], conversation_about(targets[0], chosen)
        report = await _examine(ctx, targets, ending.conversation)
        if chosen["as_json"]:
            _tell_events(report, ending, targets, began)
        else:
            click.echo("\n".join(report_lines(report)))
        if len(targets) > 1:
            ending.outcomes = tuple(
                ev.TargetResult(target=target, ok=report.is_healthy(section.target))
                for target, section in zip(targets, report.sections[1:], strict=True)
            )
        return 0 if report.healthy else 1

    return run_to_end(ending, flow, verbose=chosen["verbose"])


async def _examine(ctx: click.Context, targets: list[str], conversation: Conversation) -> Report:
    import asyncio

    from kirotunnel.diagnose.doctor import Report, look_here, section_here

    chosen = ctx.params
    here = asyncio.ensure_future(look_here(chosen["cli"]))
    sections = await _examine_each(ctx, targets, here, conversation) if targets else []
    return Report((section_here(await here, chosen["cli"]), *sections))


async def _examine_each(
    ctx: click.Context, targets: list[str], here: Awaitable[HereFacts], conversation: Conversation
) -> list[Section]:
    from kirotunnel.diagnose.doctor import examine
    from kirotunnel.diagnose.probes import ExamineOptions
    from kirotunnel.flows.environment import Environment, Remarks
    from kirotunnel.flows.fleet import run_each
    from kirotunnel.flows.reach import reach
    from kirotunnel.local.terminal import Terminal
    from kirotunnel.ssh.company import Company
    from kirotunnel.ssh.prompts import Nobody

    company, prompts = Company(), Terminal.detect() or Nobody()
    each = {target: parameters_of(ctx, target) for target in targets}  # a mistake in usage is nobody's finding

    async def one(target: str) -> Section:
        chosen = each[target]
        options = ExamineOptions(**of_target(chosen), cli=chosen["cli"])

        def tell(text: str) -> None:
            conversation.tell(text if len(targets) == 1 else f"{target}: {text}")

        environment = Environment(conversation=Remarks(tell), prompts=prompts, company=company)
        return await examine(options, reach(options, environment), here)

    outcomes = await run_each(targets, one, max_parallel=ctx.params["max_parallel"])
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error  # what is wrong with a target is in its section; this is something else
    return [outcome.done for outcome in outcomes if outcome.done is not None]


def _tell_events(report: Report, ending: Ending, targets: list[str], began: float) -> None:
    """One event for each finding; of several targets each has its own name, and this machine none."""
    if len(targets) <= 1:
        for _, found in report.findings:
            ending.conversation.event(_event(found))
        return
    from kirotunnel.cli.render import write_events

    names = {section.target: target for section, target in zip(report.sections[1:], targets, strict=True)}
    for where, found in report.findings:
        write_events([_event(found)], names.get(where), began)


def _event(found: Finding) -> ev.Finding:
    from kirotunnel import events as ev

    return ev.Finding(code=found.code, severity=found.severity, title=found.title, detail=found.detail, hint=found.hint)


def report_lines(report: Report) -> Iterable[str]:
    """The report for a person: a line for each check, its findings below it, and a sum at the end."""
    findings = report.findings
    for number, section in enumerate(report.sections):
        yield ("\n" if number else "") + (section.target or "This machine")
        said = [found for where, found in findings if where == section.target]
        for check in section.checks:
            yield from _check_lines(check, said)
    counts = {severity: sum(found.severity == severity for _, found in findings) for severity in _ORDER}
    words = [f"{count} {_plural(severity, count)}" for severity, count in counts.items() if count]
    yield "\n" + (", ".join(words) if words else "Nothing is wrong.")


def _check_lines(check: Check, said: list[Finding]) -> Iterable[str]:
    mine = [found for found in check.findings if found in said]
    worst = next((severity for severity in _ORDER if any(found.severity == severity for found in mine)), "ok")
    yield f"  {_styled(worst)}{check.subject:<12}{check.says}"
    for found in mine:
        yield f"           {found.code}: {found.title}"
        yield f"           {found.detail}"
        yield f"           -> {found.hint}"


def _plural(severity: str, count: int) -> str:
    word = {"info": "note"}.get(severity, severity)
    return word if count == 1 else f"{word}s"


def _styled(severity: str) -> str:
    return click.style(f"{severity:<9}", fg=_COLORS[severity]) if colored() else f"{severity:<9}"
