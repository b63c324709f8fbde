"""`kirotunnel ports`: the callback ports of this machine as a table, and the end of what was left over on them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from kirotunnel import events as ev
from kirotunnel.cli.main import colored
from kirotunnel.cli.render import write_events

if TYPE_CHECKING:
    from kirotunnel.diagnose.ports import PortReport


@click.command("ports")
@click.argument("ports", nargs=-1, type=click.IntRange(1, 65535), metavar="[PORT]...")
@click.option("--free", is_flag=True, help="End your own stale tunnels on them, after showing them and asking.")
@click.option("--yes", is_flag=True, help="With --free: do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(ports: tuple[int, ...], *, free: bool, yes: bool, as_json: bool) -> int:
    """Show who holds the callback ports, or those given, on this machine.

    For each port that is held: the process, what it is, and what to do about it. Exits with 0 when a login could have
    all of them, and with 1 when one is held by somebody else.
    """
    from kirotunnel.diagnose.ports import end_stale, judge_ports, look_at_ports
    from kirotunnel.profiles.profile import load_profile

    if yes and not free:
        raise click.UsageError("--yes goes with --free")
    began = time.monotonic()
    wanted = ports or load_profile("kiro-cli").ports
    report = judge_ports(wanted, look_at_ports(wanted))
    if free and report.stale and _agreed(report, yes=yes):
        for owner in end_stale(report.stale):
            click.echo(f"{owner.program} (pid {owner.pid}) did not end", err=True)
        report = judge_ports(wanted, look_at_ports(wanted))
    elif free and not report.stale:
        click.echo("There is no stale tunnel of yours on these ports; nothing else is ever ended.", err=True)
    if as_json:
        write_events([*report.ports, ev.Result(ok=report.all_free, targets=())], None, began)
    else:
        click.echo("\n".join(_table(report)))
    return 0 if report.all_free else 1


def _agreed(report: PortReport, *, yes: bool) -> bool:
    import asyncio

    from kirotunnel.local.terminal import Terminal

    click.echo("These are your own, and left over:\n", err=True)
    for owner in report.stale:
        click.echo(f"  {owner.what} (pid {owner.pid}, since {_when(owner.since)})\n  {owner.command}\n", err=True)
    if yes:
        return True
    terminal = Terminal.detect()
    if terminal is None:
        click.echo("Nobody can be asked here: --yes ends them.", err=True)
        return False
    return bool(asyncio.run(terminal.confirm("End them?")))


def _table(report: PortReport) -> Iterable[str]:
    for port in report.ports:
        yield f"{port.port:<7}{_state(port.state)}"
        for owner in port.holders:
            who = f"{owner.program or 'a process'} (pid {owner.pid})" if owner.pid else "a process"
            user = f", user {owner.user}" if owner.user else ", another user's"
            since = f", since {_when(owner.since)}" if owner.since else ""
            yield f"       {' '.join(owner.addresses)}  {who}{user}{since}"
            yield f"       {owner.what}" + (f": {owner.command}" if owner.command else "")
            yield f"       -> {owner.advice}"
        for note in port.notes:
            yield f"       {note}"
    for note in report.notes:
        yield f"\n{note}"


def _state(state: str) -> str:
    color = colored() and sys.stdout.isatty()
    return click.style(state, fg="green" if state in {"free", "shared"} else "red") if color else state


def _when(since: str | None) -> str:
    """The local time; with the date where it was not today."""
    if since is None:
        return "an unknown time"
    began = datetime.fromisoformat(since).astimezone()
    return f"{began:%H:%M}" if began.date() == datetime.now(UTC).astimezone().date() else f"{began:%Y-%m-%d %H:%M}"
