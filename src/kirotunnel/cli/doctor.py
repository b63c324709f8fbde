"""`kirotunnel doctor`: the report of what can break a login, here and on a target."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from kirotunnel import events as ev
from kirotunnel.cli.completion import complete_target
from kirotunnel.cli.main import colored
from kirotunnel.cli.options import (
    container_options,
    fill_from_settings,
    inside_of,
    output_options,
    ssh_options,
    ssh_options_of,
)

if TYPE_CHECKING:
    from kirotunnel.diagnose.checks import Check
    from kirotunnel.diagnose.doctor import Report
    from kirotunnel.diagnose.findings import Finding

_COLORS: Final = {"ok": "green", "info": "cyan", "warning": "yellow", "error": "red"}
_ORDER: Final = ("error", "warning", "info")


@click.command("doctor")
@click.argument("target", required=False, shell_complete=complete_target)
@click.option("--cli", default="kiro-cli", show_default=True, metavar="COMMAND", help="The remote CLI: name or path.")
@ssh_options
@container_options
@output_options
@click.pass_context
def command(ctx: click.Context, /, target: str | None, **_: Any) -> int:
    """Check this machine, and TARGET if given, for everything that can break a login.

    Changes nothing, and never connects to a callback port. Exits with 1 when something is wrong that will break one.
    """
    chosen = ctx.params
    if target is None and (chosen["container"] or chosen["pod"]):
        target = "localhost"
    from kirotunnel.cli.running import make_conversation, run_flow
    from kirotunnel.diagnose.doctor import examine
    from kirotunnel.local.terminal import Terminal
    from kirotunnel.ssh.prompts import Nobody

    conversation = make_conversation(
        target, as_json=chosen["as_json"], verbose=chosen["verbose"], quiet=chosen["quiet"]
    )

    async def flow() -> int:
        fill_from_settings(ctx, target)
        report = await examine(
            target,
            ssh_options_of(chosen),
            inside=inside_of(ctx) if target else None,
            cli=chosen["cli"],
            prompts=Terminal.detect() or Nobody(),
            tell=conversation.tell,
        )
        if chosen["as_json"]:
            for _, found in report.findings:
                conversation.event(_event(found))
        else:
            click.echo("\n".join(report_lines(report)))
        return 0 if report.healthy else 1

    return run_flow(target, conversation, flow, verbose=chosen["verbose"])


def _event(found: Finding) -> ev.Finding:
    return ev.Finding(code=found.code, severity=found.severity, title=found.title, detail=found.detail, hint=found.hint)


def report_lines(report: Report) -> Iterable[str]:
    """The report for a person: a line for each check, its findings below it, and a sum at the end."""
    said = [found for _, found in report.findings]
    for number, section in enumerate(report.sections):
        yield ("\n" if number else "") + (section.target or "This machine")
        for check in section.checks:
            yield from _check_lines(check, said)
    counts = {severity: sum(found.severity == severity for found in said) for severity in _ORDER}
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
