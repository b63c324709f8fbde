"""`kirotunnel explain`: the long text behind a code."""

from __future__ import annotations

import click


@click.command("explain")
@click.argument("code")
def command(code: str) -> None:
    """Say what CODE (KTnnn) means and what to do."""
    from kirotunnel.diagnose.catalogue import catalogue

    known = catalogue()
    entry = known.get(code.strip().upper())
    if entry is None:
        raise click.UsageError(f"there is no code {code!r}; the codes are {', '.join(known)}")
    click.echo(f"{entry.code}: {entry.title} ({entry.standing})\n")
    click.echo(click.wrap_text(entry.explanation, width=88))
    click.echo("\n" + click.wrap_text(f"What to do: {entry.hint}", width=88))
